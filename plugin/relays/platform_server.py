"""The platform's own mail server, configured by Flask-Mail's settings: the fallback for tenants' servers.

It is used by the same session as a relay, with the same deadlines and verified TLS. Recipients see the platform's
address with the tenant's name; their replies go to the tenant.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from email.utils import parseaddr
from typing import Any

from own_smtp.errors import AddressError
from own_smtp.smtp.addresses import parse_address
from own_smtp.smtp.values import Credentials, Identity, Limits, RelayProfile
from own_smtp.states import Security

CONNECTIONS = 2


def can_take_over(config: Mapping[str, Any]) -> bool:
    """Return whether the platform's mail service can be used as a fallback."""
    return bool(config.get("MAIL_SERVER")) and default_sender(config) is not None


def platform_for(config: Mapping[str, Any]) -> Callable[[RelayProfile], RelayProfile | None]:
    """Return a function that replaces a relay by the platform's server; it returns `None` if none is configured.

    Reads Flask-Mail's `MAIL_SERVER`, `MAIL_PORT`, `MAIL_USE_TLS`, `MAIL_USE_SSL`, `MAIL_USERNAME`, `MAIL_PASSWORD`
    and `MAIL_DEFAULT_SENDER`.
    """

    def platform(relay: RelayProfile) -> RelayProfile | None:
        address = default_sender(config)
        if address is None or not can_take_over(config):
            return None
        tenant = relay.identity
        return replace(
            relay,
            host=str(config["MAIL_SERVER"]),
            port=int(config.get("MAIL_PORT") or 25),
            security=_security(config),
            credentials=_credentials(config),
            fingerprint=None,
            identity=Identity(address=address, name=tenant.name, reply_to=tenant.reply_to or tenant.address),
            envelope_sender=address,
            ehlo_name=None,
            limits=Limits(max_connections=CONNECTIONS),
        )

    return platform


def default_sender(config: Mapping[str, Any]) -> str | None:
    """Return the address in `MAIL_DEFAULT_SENDER`, which may be a pair of name and address; `None` if there is none."""
    sender = config.get("MAIL_DEFAULT_SENDER")
    address = sender[1] if isinstance(sender, (tuple, list)) else parseaddr(str(sender or ""))[1]
    try:
        return parse_address(address) if address else None
    except AddressError:
        return None


def default_identity(config: Mapping[str, Any]) -> Identity | None:
    """Return `MAIL_DEFAULT_SENDER` with its name, if it has one; `None` without an address."""
    address, sender = default_sender(config), config.get("MAIL_DEFAULT_SENDER")
    if address is None:
        return None
    name = sender[0] if isinstance(sender, (tuple, list)) else parseaddr(str(sender))[0]
    return Identity(address=address, name=str(name or ""))


def _security(config: Mapping[str, Any]) -> Security:
    if config.get("MAIL_USE_SSL"):
        return Security.IMPLICIT
    return Security.STARTTLS if config.get("MAIL_USE_TLS") else Security.NONE


def _credentials(config: Mapping[str, Any]) -> Credentials | None:
    username = config.get("MAIL_USERNAME")
    return Credentials(username=str(username), password=str(config.get("MAIL_PASSWORD") or "")) if username else None
