"""Words by which servers say that an answer is about the account or the platform, and not about a recipient.

Regular expressions, in small letters. Each alternative is as special as servers' real answers allow: too general a one
would pause a mail server for the sake of one recipient.
"""

from __future__ import annotations

QUOTA_WORDS = (
    r"(daily|hourly|sending|submission|message|recipient)\b(?!.{0,40}\bsize\b).{0,40}\b(quota|limit)\b.{0,20}exceed"
    r"|exceeded(?!.{0,40}\bsize\b).{0,40}(quota|limit)"
)
"""No more for now. What is said of a message's size is about that message."""

RELAY_WORDS = (
    r"relay(ing)? (access )?(denied|not permitted|prohibited)|unable to relay|not allowed to relay|cannot relay"
)
"""It passes on nothing for this account."""

SENDER_WORDS = (
    r"sender address (rejected|is not allowed)|not owned by user|sendasdenied|permissions? to send (as|on behalf of)"
    r"|relaying disallowed as|envelope sender not allowed|match a verified sender identity"
    r"|email address is not verified|not authorized to perform .?ses:"
)
"""Not with this sender address."""

ACCOUNT_WORDS = (
    r"sending paused for this account|outboundspamexception|access denied, (banned sender\b(?! ip)|spam abuse detected)"
    r"|tenant has exceeded threshold|from unregistered domains|unusual sending activity detected"
    r"|storedrv\.submission\.exception:quotaexceeded"
)
"""The provider has blocked the account, or its own mailbox is full."""

CLIENT_WORDS = (
    r"(client host|helo command) rejected|^service unavailable; client host"
    r"|^access denied, (banned sending ip|traffic not accepted)"
)
"""Not from the platform's address. What another server said of the relay's is quoted, and begins otherwise."""
