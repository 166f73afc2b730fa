"""Work for operators and the law: alerts and events of relays, erasure, retention, keys, health, metrics and logs.

`relay_events` and `relay_alerts` see to it that a relay's owner hears once of a pause or a failure, `retention` and
`erasure` forget, `key_rotation` and `after_restore` are for the days when something went wrong, `health`, `status` and
`metrics` say how things are.

Its functions may be run by any number of machines at a time. `__all__` names the modules that other rooms may import.
"""

__all__ = [
    "after_restore",
    "erasure",
    "health",
    "json_logs",
    "key_rotation",
    "metrics",
    "notice_mails",
    "relay_alerts",
    "relay_events",
    "retention",
    "status",
]
