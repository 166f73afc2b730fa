"""What a recipient will see of an invitation, by the way that it leaves."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from own_smtp.relays.platform_server import default_identity
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
    return Appearance(
        sender=_shown(relay.sender_name, relay.sender_address),
        reply_to=relay.reply_to or relay.sender_address,
        server=relay.host,
        envelope_sender=relay.envelope_sender or relay.sender_address,
        ehlo_name=relay.ehlo_name or "",
        message_domain=relay.sender_address.rpartition("@")[2],
    )


def platform_appearance() -> Appearance:
    """Return what recipients see of the platform's own mail, as far as Flask-Mail's settings say it."""
    identity = default_identity(current_app.config)
    sender = current_app.config.get("MAIL_DEFAULT_SENDER") or ""
    shown = _shown(identity.name, identity.address) if identity else str(sender)
    return Appearance(sender=shown, reply_to=shown, server="")


def _shown(name: str, address: str) -> str:
    """Return both as a mail program shows them: this is for people, and encodes nothing."""
    return f"{name} <{address}>" if name else address
