"""Statements about what was sent: reports, log, exports, causes, explanations, forecasts and charts.

A report tells only what can be known: "accepted by your server", never "delivered". `known_statuses` is the table of
it, `error_catalogue` holds the sentences that explain a server's refusal.

It reads and never writes, and its queries take the same time for a hundred invitations and for a million. `__all__`
names the modules that other rooms may import.
"""

__all__ = [
    "audit_log",
    "chart_texts",
    "charts",
    "delivery_log",
    "estimates",
    "explanations",
    "exports",
    "failure_causes",
    "forecast",
    "hourly_stats",
    "known_statuses",
    "limit_texts",
    "progress",
    "relay_health",
    "relay_lists",
    "reports",
    "state_counts",
]
