"""A tenant's mail servers and who uses them: the only writer of their tables.

Saved and changed (`edits`), confirmed by links (`confirmations`, `confirmation_rule`), paused and resumed
(`lifecycle`), tried out (`dry_runs`, `test_mails`), while somebody waits (`urgent_tasks`), chosen by projects
(`project_routes`, `routing`, `suggestions`), limited (`rate_limits`, `sending_windows`, `window_texts`,
`tenant_limits`) and governed by the platform's administrators (`policy`). `presets` are facts of known providers.

Nothing here commits, and nothing connects to a mail server. `__all__` names the modules that other rooms may import.
"""

__all__ = [
    "confirmation_rule",
    "confirmations",
    "dry_runs",
    "edits",
    "lifecycle",
    "own_mails",
    "platform_server",
    "policy",
    "presets",
    "project_routes",
    "rate_limits",
    "routing",
    "sender_preview",
    "sending_windows",
    "store",
    "suggestions",
    "tenant_limits",
    "test_mails",
    "urgent_tasks",
    "window_texts",
]
