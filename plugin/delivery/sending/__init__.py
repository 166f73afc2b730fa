"""What runs in the process that sends: connections, pace and journal, in one event loop and without a database.

`multi_drain` runs the drains of one job, `drain` is one relay's: it claims through the bookkeeper, fills the
`send_queue`, and the `connections` empty it. Nothing here imports SQLAlchemy, Flask, Redis or RQ.
"""

__all__ = [
    "closing",
    "composer",
    "connections",
    "drain",
    "event_loop",
    "lease_clock",
    "multi_drain",
    "send_queue",
]
