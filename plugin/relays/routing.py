"""The relay that a batch is sent through, and the senders that a "send" page can offer."""

from __future__ import annotations

from sqlalchemy.orm import Session

from own_smtp.errors import NotFoundError
from own_smtp.hooks.events import InvitationBatch, SenderChoice
from own_smtp.i18n import gettext
from own_smtp.relays import project_routes, store
from own_smtp.states import RelayState
from own_smtp.storage.models import ProjectRoute, Relay

PLATFORM = "platform"
"""The sender key of the platform's mail service."""
_RELAY = "relay:"
_DIGITS = 18
"""Ids are never longer, and SQLite raises an error for larger numbers."""


def relay_for(session: Session, batch: InvitationBatch) -> tuple[Relay, ProjectRoute | None] | None:
    """Return the relay of a batch and its project's settings; `None` means the platform's mail service.

    Raises `NotFoundError` for a sender key that names no relay of the tenant.
    """
    route = project_routes.find_route(session, batch.tenant_id, batch.project_id)
    relay = relay_named(session, batch.tenant_id, batch.project_id, batch.sender)
    return None if relay is None else (relay, route)


def relay_named(session: Session, tenant_id: str, project_id: str, sender: str | None) -> Relay | None:
    """Return the relay of a sender key, or of the project without a key; `None` means the platform's mail service.

    Raises `NotFoundError` for a key that names no relay of the tenant.
    """
    if sender == PLATFORM:
        return None
    if sender is None:
        return project_routes.relay_of(session, tenant_id, project_id)
    return store.get_relay(session, tenant_id, _relay_id(sender))


def _relay_id(key: str) -> int:
    number = key.removeprefix(_RELAY)
    if not key.startswith(_RELAY) or not number.isdecimal() or len(number) > _DIGITS:
        raise NotFoundError(f"There is no sender {key!r}.")
    return int(number)


def sender_choices(
    session: Session, tenant_id: str, project_id: str, *, suggested: Relay | None = None, only_chosen: bool = False
) -> list[SenderChoice]:
    """Return the tenant's relays: the project's own first, then `suggested`; or only the project's own."""
    chosen = project_routes.relay_of(session, tenant_id, project_id)
    found = [relay for relay in store.list_relays(session, tenant_id) if relay is chosen or not only_chosen]
    found.sort(key=lambda relay: (relay is not chosen, relay is not suggested, relay.label.casefold()))
    return [
        SenderChoice(
            key=f"{_RELAY}{relay.id}",
            label=relay.label,
            address=relay.sender_address,
            is_available=relay.state != RelayState.UNCONFIRMED,
            is_default=relay is chosen,
            reason=waits_for(relay),
            summary=_summary(relay),
        )
        for relay in found
    ]


def _summary(relay: Relay) -> str:
    """Describe what recipients will see beside the address."""
    parts = [
        gettext("Recipients see “%(name)s”.", name=relay.sender_name) if relay.sender_name else "",
        gettext("Replies go to %(address)s.", address=relay.reply_to) if relay.reply_to else "",
        gettext("It leaves through %(host)s.", host=relay.host),
    ]
    return " ".join(part for part in parts if part)


def waits_for(relay: Relay) -> str | None:
    """Return why a relay is not sending at the moment; `None` if it is."""
    match relay.state:
        case RelayState.UNCONFIRMED:
            return gettext("The mail server “%(label)s” has not been confirmed yet.", label=relay.label)
        case RelayState.PAUSED:
            return gettext("The mail server “%(label)s” is paused.", label=relay.label)
        case _:
            return None
