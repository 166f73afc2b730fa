"""An SMTP client: it connects where the network policy lets it, secures the connection, signs in, and sends messages.

Ask it to submit one message (`submission`), to keep a conversation and send many (`session`, `transfer`), to try a
server without sending anything (`dry_run`), or what a reply means (`replies`). It raises
`own_smtp.errors.TargetError` and `SessionError`, and bounds the time and the size of all that a server may say.

It knows no table, no Flask and no tenant's page, and could be a package of its own. `__all__` names the modules that
other rooms may import.
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
