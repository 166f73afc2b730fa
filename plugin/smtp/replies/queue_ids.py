"""The id that a server gave a message in its own queue, extracted from the text of the reply that accepted it.

Email administrators find the message by it in the server's log. It is not stored, but extracted when it is shown.
"""

from __future__ import annotations

import re

_ID = r"([A-Za-z0-9][A-Za-z0-9._+/=-]{3,79})"

# In the order in which they are tried. Each begins with fixed text of one server and reads a word of limited length
# behind it, so that none backtracks.
_PATTERNS = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        rf"\bqueued as <?{_ID}",  # Postfix, Haraka, MailHog and many that follow Postfix
        r"\[InternalId=([0-9]{1,20})\b",  # Exchange, and Exchange Online
        rf"^OK id={_ID}",  # Exim
        rf"^(?:\S{{1,40}} )?{_ID} Message accepted for delivery",  # Sendmail: "2.0.0 x1 Message accepted for delivery"
        r"^OK +[0-9]{9,11} ([A-Za-z0-9._-]{8,80}) - gsmtp",  # Gmail
        r"^Ok ([0-9a-f]{8,20}-[0-9a-f]{4,12}(?:-[0-9a-f]{4,12}){0,6})\b",  # Amazon SES
        rf"^(?:OK:?|Accepted|Requested mail action okay, completed:) (?:queued |id[=:] ?){_ID}",  # others of that kind
        r"^Ok:? \(?([0-9A-F]{10,20})\)?$",
    )
)


def queue_id(text: str) -> str | None:
    """Return the id in the text of a reply that accepted a message; `None` if no known pattern matches.

    `text` has no reply codes, as attempts store it.
    """
    for pattern in _PATTERNS:
        if match := pattern.search(text):
            return match[1].rstrip(".")
    return None
