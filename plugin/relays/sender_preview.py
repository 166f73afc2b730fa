"""A preview of an invitation's sender, as recipients will see it."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from own_smtp.relays.platform_server import default_identity
from own_smtp.storage.models import Relay


@dataclass(frozen=True, slots=True, kw_only=True)
class Appearance:
    """The visible sender of one route."""

    sender: str
    """The From header; empty if it is not known here."""
    reply_to: str
    server: str
    """Empty for the platform's mail service."""
    envelope_sender: str = ""
    """Empty if it is not known here."""
    ehlo_name: str = ""
    message_domain: str = ""


def appearance_of(relay: Relay) -> Appearance:
    """Return the sender that recipients see of mail through a relay."""
    return Appearance(
        sender=_shown(relay.sender_name, relay.sender_address),
        reply_to=relay.reply_to or relay.sender_address,
        server=relay.host,
        envelope_sender=relay.envelope_sender or relay.sender_address,
        ehlo_name=relay.ehlo_name or "",
        message_domain=relay.sender_address.rpartition("@")[2],
    )


def platform_appearance() -> Appearance:
    """Return the sender that recipients see of the platform's mail service, according to Flask-Mail's settings."""
    identity = default_identity(current_app.config)
    sender = current_app.config.get("MAIL_DEFAULT_SENDER") or ""
    shown = _shown(identity.name, identity.address) if identity else str(sender)
    return Appearance(sender=shown, reply_to=shown, server="")


def _shown(name: str, address: str) -> str:
    """Return name and address as a mail program shows them, without encoding."""
    return f"{name} <{address}>" if name else address
