"""Statements about sent invitations: reports, log, exports, causes, explanations, forecasts and charts.

A report claims only what can be known: "accepted by your server", never "delivered". `known_statuses` is the table of
these statuses; `error_catalogue` explains servers' refusals.

This room reads and never writes. Its queries take the same time for a hundred invitations and for a million. `__all__`
names the modules that other rooms may import.
"""

__all__ = [
    "audit_log",
    "audit_texts",
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
