"""What a recipient will see of an invitation, by the way that it leaves."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formataddr
from typing import Any

from flask import current_app

from own_smtp.storage.models import Relay


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """What a recipient will see of one way to send."""

    sender: str
    """The From header; empty when it is not known here."""
    reply_to: str
    server: str
    """Empty for the platform's own mail."""
    envelope_sender: str = ""
    """Empty where it is not ours to say."""
    ehlo_name: str = ""
    message_domain: str = ""


def appearance_of(relay: Relay) -> Appearance:
    """Return what recipients see of mail through a relay."""
    sender = formataddr((relay.sender_name, relay.sender_address)) if relay.sender_name else relay.sender_address
    return Appearance(
        sender=sender,
        reply_to=relay.reply_to or relay.sender_address,
        server=relay.host,
        envelope_sender=relay.envelope_sender or relay.sender_address,
        ehlo_name=relay.ehlo_name or "",
        message_domain=relay.sender_address.rpartition("@")[2],
    )


def platform_appearance() -> Appearance:
    """Return what recipients see of the platform's own mail, as far as Flask-Mail's settings say it."""
    sender: Any = current_app.config.get("MAIL_DEFAULT_SENDER") or ""
    shown = sender if isinstance(sender, str) else formataddr(sender)
    return Appearance(sender=shown, reply_to=shown, server="")
