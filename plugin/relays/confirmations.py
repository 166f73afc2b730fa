"""The link that proves that a relay works and that its sender agrees: asked for, mailed, followed.

The token is made when the mail is, and only its hash is stored: no copy of it waits anywhere. A mail that is tried
again therefore carries a new link, and the one before it is dead.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, cast

from sqlalchemy import CursorResult, func, select, update
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError
from own_smtp.i18n import gettext
from own_smtp.relays import lifecycle
from own_smtp.relays.store import configuration_of
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
"""After this, a worker that took a mail and was not heard of again is given up."""

HOURLY_CEILING = 30
"""Confirmation mails that one tenant can cause in an hour: enough to find a typing error, too few to annoy anybody."""


class LinkState(StrEnum):
    """What following a link comes to."""

    VALID = "valid"
    USED = "used"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"
    """A newer mail was asked for, or the relay was changed or deleted since."""
    UNKNOWN = "unknown"


class MailState(StrEnum):
    """What became of a confirmation mail so far."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    RETRYING = "retrying"
    FAILED = "failed"
    EXPIRED = "expired"


def request_confirmation(session: Session, settings: Settings, relay: Relay, *, user_id: str) -> Confirmation:
    """Ask for a confirmation mail; it replaces those before it. Commit, then enqueue `send_confirmation`.

    Raises `ConflictError` while the tenant has caused too many of them.
    """
    now = read_clock(session.connection())
    if _requested_since(session, relay.tenant_id, now - timedelta(hours=1)) >= HOURLY_CEILING:
        raise ConflictError(gettext("Too many confirmation mails were sent within an hour. Try again later."))
    _supersede(session, relay.id, now)
    confirmation = Confirmation(
        relay_id=relay.id,
        configuration=configuration_of(relay),
        address=relay.confirmation_address or relay.sender_address,
        requested_by=user_id,
        created_at=now,
        expires_at=now + settings.confirmation_lifetime,
        attempts=0,
        next_attempt_at=now,
    )
    session.add(confirmation)
    session.flush()
    audit.record(
        session,
        AuditAction.CONFIRMATION_REQUESTED,
        tenant_id=relay.tenant_id,
        user_id=user_id,
        relay_id=relay.id,
        changes={"address": (None, confirmation.address)},
    )
    return confirmation


def latest(session: Session, relay_id: int) -> Confirmation | None:
    """Return the relay's newest confirmation, whatever became of it."""
    return session.scalars(
        select(Confirmation).where(Confirmation.relay_id == relay_id).order_by(Confirmation.id.desc()).limit(1)
    ).one_or_none()


def cooldown_until(confirmation: Confirmation | None, settings: Settings) -> datetime | None:
    """Return from when on the mail can be asked for again; `None` when nothing was sent yet."""
    return confirmation.created_at + settings.confirmation_cooldown if confirmation else None


def mail_state(confirmation: Confirmation, now: datetime) -> MailState:
    """Return what became of the mail, for its page."""
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


def look_up(session: Session, token: str, *, lock: bool = False) -> tuple[LinkState, Confirmation | None]:
    """Return what following the link with `token` comes to now, without changing anything."""
    query = select(Confirmation).where(Confirmation.token_hash == hash_token(token))
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    confirmation = session.scalars(query).one_or_none()
    if confirmation is None:
        return LinkState.UNKNOWN, None
    relay = _relay_of(session, confirmation, lock=lock)
    return _link_state(confirmation, relay, read_clock(session.connection())), confirmation


def confirm(session: Session, token: str) -> tuple[LinkState, Confirmation | None]:
    """Follow the link: a valid one activates its relay and is used up. Returns the state that was found."""
    state, confirmation = look_up(session, token, lock=True)
    if state is not LinkState.VALID or confirmation is None:
        return state, confirmation
    if not _use_up(session, confirmation):
        return LinkState.USED, confirmation
    lifecycle.activate(session, _relay_of(session, confirmation), user_id=None)
    return state, confirmation


def _link_state(confirmation: Confirmation, relay: Relay, now: datetime) -> LinkState:
    if confirmation.used_at is not None:
        return LinkState.USED
    is_current = relay.deleted_at is None and configuration_of(relay) == confirmation.configuration
    if confirmation.superseded_at is not None or not is_current or relay.state != RelayState.UNCONFIRMED:
        return LinkState.SUPERSEDED
    return LinkState.EXPIRED if confirmation.expires_at <= now else LinkState.VALID


def _relay_of(session: Session, confirmation: Confirmation, *, lock: bool = False) -> Relay:
    query = select(Relay).where(Relay.id == confirmation.relay_id)
    if lock:
        query = query.with_for_update().execution_options(populate_existing=True)
    return session.scalars(query).one()


def _use_up(session: Session, confirmation: Confirmation) -> bool:
    # Two clicks at once: the database lets one of them through.
    return _changed_one(
        session,
        update(Confirmation)
        .where(Confirmation.id == confirmation.id, Confirmation.used_at.is_(None))
        .values(used_at=db_now(), next_attempt_at=None),
    )


# Sending the mail


def unsent(session: Session, limit: int = 100) -> list[int]:
    """Return the confirmations whose mail is due, for the dispatcher."""
    return list(session.scalars(select(Confirmation.id).where(*_due()).order_by(Confirmation.id).limit(limit)))


def claim_mail(session: Session, confirmation_id: int, token: str) -> Confirmation | None:
    """Take a mail that is due, with the token that it will carry. `None` when it is not, or another worker was first.

    Commit before the mail is sent.
    """
    now = read_clock(session.connection())
    taken = _changed_one(
        session,
        update(Confirmation)
        .where(Confirmation.id == confirmation_id, *_due())
        .values(
            token_hash=hash_token(token), attempts=Confirmation.attempts + 1, next_attempt_at=now + SENDING, stage=None
        ),
    )
    return session.get_one(Confirmation, confirmation_id, populate_existing=True) if taken else None


def settle_mail(session: Session, confirmation: Confirmation, outcome: Outcome) -> None:
    """Keep what became of the mail."""
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
    """Only what may pass by itself is tried again: an answer about the settings needs a person."""
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


def _requested_since(session: Session, tenant_id: str, since: datetime) -> int:
    return session.scalars(
        select(func.count(Confirmation.id))
        .join(Relay, Relay.id == Confirmation.relay_id)
        .where(Relay.tenant_id == tenant_id, Confirmation.created_at > since)
    ).one()


def _changed_one(session: Session, statement: Any) -> bool:
    return cast("CursorResult[Any]", session.execute(statement)).rowcount == 1
