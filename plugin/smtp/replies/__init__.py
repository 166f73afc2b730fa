"""A server's replies: parsed, judged by stage and text, and turned into the outcome of an attempt.

`parser` reads them within limits, `topics` finds the subject of a refusal, `rules` is the table of verdicts on message
and relay (each a `rule`), `outcomes` applies it, `refusal_streak` detects a server that refuses all recipients, and
`queue_ids` finds the server's own id of a message. No input or output.
"""

__all__ = [
    "outcomes",
    "queue_ids",
    "refusal_streak",
    "rules",
    "topics",
]
