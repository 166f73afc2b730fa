"""Tasks for operators and the law: relay alerts and events, erasure, retention, keys, health, metrics and logs.

`relay_events` and `relay_alerts` notify a relay's owner once of a pause or a failure; `retention` and `erasure` delete
personal data; `key_rotation` and `after_restore` help after an incident; `health`, `status` and `metrics` report the
platform's state.

`relay_service`, `trial_service`, `batch_service` and `project_service` hold the acts of people on servers, batches and
projects: one function for each act (`acts`), whether a page, a command or a job requests it.

Any number of machines may run these functions at the same time. `__all__` names the modules that other rooms may
import.
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
