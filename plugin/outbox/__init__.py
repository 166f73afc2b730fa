"""Batches and invitations from the host's "send" to the last outcome: the only writer of their tables.

`intake` adds a batch, `leases` and `claims` give due invitations to one drain, `settlements` writes their outcomes,
`closing` ends its claims, `journal` is the file that survives a killed process (`journal_lines` is its format),
`actions` and `bulk_actions` perform people's decisions, `reroute` moves waiting invitations to another relay, `query`
and `statuses` read in order.

Every function takes a connection inside the caller's transaction and commits nothing. None does network I/O. `values`
needs no database, because the sending process has none. `__all__` names the modules that other rooms may import.
"""

__all__ = [
    "actions",
    "bulk_actions",
    "claims",
    "closing",
    "intake",
    "journal",
    "journal_lines",
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
