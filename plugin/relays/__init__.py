"""A tenant's mail servers and their use: the only writer of their tables.

Relays are saved and changed (`edits`), confirmed by links (`confirmations`, `confirmation_rule`), paused and resumed
(`lifecycle`), tested (`dry_runs`, `test_mails`), chosen for projects (`project_routes`, `routing`, `suggestions`),
limited (`rate_limits`, `sliding_window`, `sending_windows`, `window_texts`, `tenant_limits`) and subject to the
platform's policy (`policy`). `urgent_tasks` are the tests and mails that a person is waiting for. `presets` has the
settings of known providers.

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
    "sliding_window",
    "store",
    "suggestions",
    "tenant_limits",
    "test_mails",
    "urgent_tasks",
    "window_texts",
]
