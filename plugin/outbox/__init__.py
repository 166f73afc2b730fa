"""Batches and invitations from the host's "send" to the last outcome: the only writer of their tables.

`intake` takes a batch in, `leases` and `claims` let one drain have what is due, `settlements` writes what came of it,
`closing` ends its claims, `journal` is the file that outlives a killed process, `actions` and `bulk_actions` do what a
person decides, `reroute` moves what waits to another relay, `query` and `statuses` read in order.

Every function takes a connection inside the caller's transaction and commits nothing. None does network I/O. `values`
needs no database, because the process that sends has none. `__all__` names the modules that other rooms may import.
"""

__all__ = [
    "actions",
    "bulk_actions",
    "claims",
    "closing",
    "intake",
    "journal",
    "last_answers",
    "leases",
    "query",
    "recipient_search",
    "reroute",
    "settlements",
    "statuses",
    "totals",
    "values",
]
