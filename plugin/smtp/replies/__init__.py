"""A server's replies: read from the wire, judged by stage and words, and turned into the outcome of an attempt.

`parser` reads them in bounds, `topics` finds what a refusal is about, `rules` is the table that decides what becomes of
the message and of the relay, `outcomes` applies it, `refusal_streak` notices a server that refuses everybody, and
`queue_ids` finds the server's own id for a message. No input or output.
"""

__all__ = [
    "outcomes",
    "queue_ids",
    "refusal_streak",
    "rules",
    "topics",
]
