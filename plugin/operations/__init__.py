"""Work for operators and the law: alerts and events of relays, erasure, retention, keys, health, metrics and logs.

`relay_events` and `relay_alerts` see to it that a relay's owner hears once of a pause or a failure, `retention` and
`erasure` forget, `key_rotation` and `after_restore` are for the days when something went wrong, `health`, `status` and
`metrics` say how things are.

`relay_service`, `trial_service`, `batch_service` and `project_service` are what people do to servers, sendings and
projects: one function for an act (`acts`), whether a page, a command or a job asks for it.

Its functions may be run by any number of machines at a time. `__all__` names the modules that other rooms may import.
"""

__all__ = [
    "acts",
    "after_restore",
    "batch_service",
    "erasure",
    "health",
    "json_logs",
    "key_rotation",
    "metrics",
    "notice_limit",
    "notice_mails",
    "policy_service",
    "project_service",
    "relay_alerts",
    "relay_events",
    "relay_service",
    "retention",
    "status",
    "trial_service",
]
