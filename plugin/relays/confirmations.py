"""The link that activates a relay: asked for, mailed, followed.

It proves that the relay takes mail for the address, and that somebody who reads there, or who runs the relay, agreed:
the mail goes through the relay itself. It proves no mailbox to the platform, whose own mail never goes there for it.

The token is made when the mail is, and only its hash is stored: no copy of it waits anywhere. A mail that is tried
again therefore carries a new link, and the one before it is dead.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import CursorResult, case, func, select, update
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError, LimitError
from own_smtp.i18n import gettext
from own_smtp.relays import lifecycle
from own_smtp.relays.confirmation_rule import addresses_to_confirm
from own_smtp.relays.store import configuration_of
from own_smtp.relays.urgent_queries import next_tasks
from own_smtp.relays.urgent_tasks import UrgentKind, UrgentTask
from own_smtp.settings import Settings
from own_smtp.smtp.values import Outcome
from own_smtp.states import RelayState, State
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.encryption import hash_token
from own_smtp.storage.models import Confirmation, Relay

RETRIES = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 30, 60, 120))
"""When a mail is tried again after a failure that may pass, such as greylisting."""

SENDING = timedelta(minutes=2)
"""After this time the attempt of a worker counts as lost, and the mail is due again."""

HOURLY_CEILING = 30
"""Confirmation mails that one tenant can cause in an hour: enough to find a typing error, too few to annoy anybody."""

PERSONAL_CEILING = 20
"""Confirmation mails that one person can cause in an hour, so that a colleague can still ask for one."""


class LinkState(StrEnum):
    """The result of following a link."""

    VALID = "valid"
    USED = "used"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """A newer mail was asked for, or the relay was changed or deleted since."""
    UNKNOWN = "unknown"


class MailState(StrEnum):
    """The state of a confirmation mail."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    RETRYING = "retrying"
    FAILED = "failed"
    EXPIRED = "expired"


def request_confirmation(
    session: Session, settings: Settings, relay: Relay, *, user_id: str, is_repeat: bool = False
) -> list[Confirmation]:
    """Ask for the confirmation mails that a relay still needs; they replace those before them.

    Call it behind `lock_tenant` and `lock_relay`; commit, then enqueue `send_confirmation` for each. Raises
    `LimitError` while the tenant or the person has caused too many of them, and for a repetition (`is_repeat`) that
    comes too soon, and `ConflictError` for one that the relay does not need.
    """
    now = read_clock(session.connection())
    if is_repeat:
        _check_cooldown(session, settings, relay, now)
    _check_limits(session, relay.tenant_id, user_id, now - timedelta(hours=1))
    _supersede(session, relay.id, now)
    addresses = addresses_to_confirm(settings.confirmation_rule, relay.sender_address, relay.confirmation_address)
    followed = _followed(session, relay.id)
    wanted = [address for address in addresses if address not in followed] or [addresses[0]]
    # The chosen address comes last: the page shows the newest.
    return [
        _add(session, relay, address, user_id=user_id, at=now, expires_at=now + settings.confirmation_lifetime)
        for address in reversed(wanted)
    ]


def _check_cooldown(session: Session, settings: Settings, relay: Relay, now: datetime) -> None:
    if relay.state != RelayState.UNCONFIRMED:
        raise ConflictError(gettext("This server is confirmed already."))
    again_at = cooldown_until(latest(session, relay.id), settings)
    if again_at is not None and again_at > now:
        raise LimitError(gettext("A mail was asked for just now. Please wait a moment."))


def _check_limits(session: Session, tenant_id: str, user_id: str, since: datetime) -> None:
    query = (
        select(func.count(Confirmation.id))
        .join(Relay, Relay.id == Confirmation.relay_id)
        .where(Relay.tenant_id == tenant_id, Confirmation.created_at > since)
    )
    by_person = query.where(Confirmation.requested_by == user_id)
    if session.scalars(query).one() >= HOURLY_CEILING or session.scalars(by_person).one() >= PERSONAL_CEILING:
        raise LimitError(gettext("Too many confirmation mails were sent within an hour. Try again later."))


def _followed(session: Session, relay_id: int) -> set[str]:
    """Return the addresses that confirmed the relay as it is now."""
    is_good = (Confirmation.used_at.is_not(None), Confirmation.superseded_at.is_(None))
    return set(session.scalars(select(Confirmation.address).where(Confirmation.relay_id == relay_id, *is_good)))


def _add(
    session: Session, relay: Relay, address: str, *, user_id: str, at: datetime, expires_at: datetime
) -> Confirmation:
    confirmation = Confirmation(
        relay_id=relay.id,
        configuration=configuration_of(relay),
        address=address,
        requested_by=user_id,
        created_at=at,
        expires_at=expires_at,
        attempts=0,
        next_attempt_at=at,
    )
    session.add(confirmation)
    session.flush()
    audit.record(
        session,
        AuditAction.CONFIRMATION_REQUESTED,
        tenant_id=relay.tenant_id,
        user_id=user_id,
        relay_id=relay.id,
        changes={"address": (None, address)},
    )
    return confirmation


def latest(session: Session, relay_id: int) -> Confirmation | None:
    """Return the relay's newest confirmation, whatever became of it; of several that are needed one that is open."""
    is_open = Confirmation.used_at.is_(None) & Confirmation.superseded_at.is_(None)
    rank = case((is_open, 0), else_=1)
    return session.scalars(
        select(Confirmation).where(Confirmation.relay_id == relay_id).order_by(rank, Confirmation.id.desc()).limit(1)
    ).one_or_none()


def open_addresses(session: Session, relay_id: int) -> tuple[str, ...]:
    """Return the addresses whose links the relay still waits for."""
    is_open = (Confirmation.used_at.is_(None), Confirmation.superseded_at.is_(None))
    return tuple(session.scalars(select(Confirmation.address).where(Confirmation.relay_id == relay_id, *is_open)))


def cooldown_until(confirmation: Confirmation | None, settings: Settings) -> datetime | None:
    """Return from when on the mail can be asked for again; `None` when nothing was sent yet."""
    return confirmation.created_at + settings.confirmation_cooldown if confirmation else None


def mail_state(confirmation: Confirmation, now: datetime) -> MailState:
    """Return the state of the mail, for its page."""
    if confirmation.expires_at <= now:
        return MailState.EXPIRED
    if confirmation.sent_at is not None:
        return MailState.SENT
    if confirmation.next_attempt_at is None:
        return MailState.FAILED
    if confirmation.stage is not None:
        return MailState.RETRYING
    return MailState.SENDING if confirmation.attempts else MailState.WAITING


# Following the link


def look_up(session: Session, token: str) -> tuple[LinkState, Confirmation | None]:
    """Return the result of following the link with `token`, without changing anything."""
    confirmation = _with_token(session, token)
    if confirmation is None:
        return LinkState.UNKNOWN, None
    relay = session.scalars(select(Relay).where(Relay.id == confirmation.relay_id)).one()
    return _link_state(confirmation, relay, read_clock(session.connection())), confirmation


def confirm(session: Session, token: str) -> tuple[LinkState, Confirmation | None]:
    """Follow the link: a valid one is used up, and the last one that its relay needs activates it.

    Returns the state that was found. The relay is locked before the confirmation, and both are read anew behind that:
    an edit at the same moment comes before or after, and never between.
    """
    found = _with_token(session, token)
    if found is None:
        return LinkState.UNKNOWN, None
    relay = session.get_one(Relay, found.relay_id, with_for_update={"key_share": True}, populate_existing=True)
    confirmation = session.get_one(Confirmation, found.id, with_for_update=True, populate_existing=True)
    if confirmation.token_hash != hash_token(token):
        return LinkState.UNKNOWN, None  # the mail was tried again, with another link
    state = _link_state(confirmation, relay, read_clock(session.connection()))
    if state is LinkState.VALID:
        confirmation.used_at, confirmation.next_attempt_at = read_clock(session.connection()), None
        session.flush()
        if not open_addresses(session, relay.id):
            lifecycle.activate(session, relay, user_id=None)
    return state, confirmation


def withdraw(session: Session, relay_id: int) -> None:
    """Make all links of a relay void, those that were followed included. Call it behind `lock_relay`."""
    session.execute(
        update(Confirmation)
        .where(Confirmation.relay_id == relay_id, Confirmation.superseded_at.is_(None))
        .values(superseded_at=db_now(), next_attempt_at=None)
    )


def _with_token(session: Session, token: str) -> Confirmation | None:
    return session.scalars(select(Confirmation).where(Confirmation.token_hash == hash_token(token))).one_or_none()


def _link_state(confirmation: Confirmation, relay: Relay, now: datetime) -> LinkState:
    if confirmation.used_at is not None:
        return LinkState.USED
    is_current = relay.deleted_at is None and configuration_of(relay) == confirmation.configuration
    if confirmation.superseded_at is not None or not is_current or relay.state != RelayState.UNCONFIRMED:
        return LinkState.SUPERSEDED
    return LinkState.EXPIRED if confirmation.expires_at <= now else LinkState.VALID


# Sending the mail


def unsent(session: Session, passed_over: Collection[str] = ()) -> list[UrgentTask]:
    """Return mails that are due, a few of each tenant, without those of the tenants `passed_over`."""
    due = select(Confirmation.id, Relay.tenant_id).join(Relay, Relay.id == Confirmation.relay_id).where(*_due())
    return next_tasks(session, UrgentKind.CONFIRMATION, due, passed_over)


def claim_mail(session: Session, confirmation_id: int, token: str) -> Confirmation | None:
    """Take a mail that is due, with the token that it will carry. `None` when it is not, or another worker was first.

    Commit before the mail is sent.
    """
    now = read_clock(session.connection())
    taken = session.execute(
        update(Confirmation)
        .where(Confirmation.id == confirmation_id, *_due())
        .values(
            token_hash=hash_token(token), attempts=Confirmation.attempts + 1, next_attempt_at=now + SENDING, stage=None
        )
    )
    if cast("CursorResult[Any]", taken).rowcount != 1:
        return None
    return session.get_one(Confirmation, confirmation_id, populate_existing=True)


def settle_mail(session: Session, confirmation: Confirmation, outcome: Outcome) -> None:
    """Record the outcome of an attempt."""
    accepted = outcome.state is State.ACCEPTED
    now = read_clock(session.connection())
    confirmation.sent_at = now if accepted else None
    confirmation.next_attempt_at = None if accepted else _next_attempt(confirmation, outcome, now)
    confirmation.server = outcome.server
    confirmation.stage = None if accepted else outcome.stage
    confirmation.code = outcome.reply.code if outcome.reply else None
    confirmation.enhanced = outcome.reply.enhanced if outcome.reply else None
    confirmation.pause_reason = outcome.pause
    confirmation.error = None if accepted else outcome.words[:600]
    session.flush()


def _next_attempt(confirmation: Confirmation, outcome: Outcome, now: datetime) -> datetime | None:
    """Retry temporary failures only: a reply about the settings needs a person."""
    if outcome.state is not State.QUEUED or outcome.pause is not None or confirmation.attempts > len(RETRIES):
        return None
    return now + RETRIES[confirmation.attempts - 1]


def _due() -> tuple[Any, ...]:
    return (
        Confirmation.next_attempt_at <= db_now(),
        Confirmation.sent_at.is_(None),
        Confirmation.used_at.is_(None),
        Confirmation.superseded_at.is_(None),
        Confirmation.expires_at > db_now(),
    )


def _supersede(session: Session, relay_id: int, now: datetime) -> None:
    session.execute(
        update(Confirmation)
        .where(Confirmation.relay_id == relay_id, Confirmation.used_at.is_(None), Confirmation.superseded_at.is_(None))
        .values(superseded_at=now, next_attempt_at=None)
    )
