"""An SMTP client: connects where the network policy allows it, secures the connection, signs in and sends messages.

It submits one message (`submission`), keeps a session and sends many (`session`, `transfer`), tests a server without
sending anything (`dry_run`), and interprets replies (`replies`). It raises `own_smtp.errors.TargetError` and
`SessionError`, and limits the time and the size of everything that a server sends.

It uses no table, no Flask and no page, and could be a package of its own. `__all__` names the modules that other rooms
may import.
"""

__all__ = [
    "addresses",
    "certificates",
    "dry_run",
    "hostnames",
    "network",
    "redaction",
    "replies",
    "server_info",
    "session",
    "submission",
    "trace",
    "transfer",
    "values",
    "wire_check",
]
