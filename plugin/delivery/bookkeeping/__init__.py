"""What runs in the process that keeps a drain's records: claims, settlements, and what the host must hear.

`bookkeeper.DatabaseBookkeeper` answers its calls, `channel` is the pipe to the process that sends, `threads` run them,
`drain_records` are one drain's transactions, `drain_events` and `status_events` tell the host. Every method blocks;
nothing here sends an invitation.
"""

__all__ = [
    "addresser",
    "bookkeeper",
    "channel",
    "drain_events",
    "drain_records",
    "status_events",
    "threads",
]
