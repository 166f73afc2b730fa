"""A relay's states: activated by its confirmation, paused with a reason, retried, resumed. Commits nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

from sqlalchemy import Connection, CursorResult, Update, select, update
from sqlalchemy.orm import Session

from own_smtp.states import PauseReason, RelayState
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import Relay


def activate(session: Session, relay: Relay, *, user_id: str | None) -> None:
    """Activate a confirmed relay."""
    _set(relay, state=RelayState.ACTIVE, confirmed_at=read_clock(session.connection()), **NOT_PAUSED)
    session.flush()
    audit.record(session, AuditAction.RELAY_CONFIRMED, tenant_id=relay.tenant_id, user_id=user_id, relay_id=relay.id)


def _require_confirmation(relay: Relay) -> None:
    _set(relay, state=RelayState.UNCONFIRMED, confirmed_at=None, **NOT_PAUSED)


def _set(relay: Relay, **values: Any) -> None:
    for name, value in values.items():
        setattr(relay, name, value)


NOT_PAUSED: dict[str, Any] = {"pause_reason": None, "pause_text": None, "paused_at": None, "probe_at": None}
"""The columns of a relay that is not paused."""


def pause(
    where: Connection | Session,
    relay_id: int,
    reason: PauseReason,
    text: str,
    probe_at: datetime | None,
    *,
    user_id: str | None = None,
) -> bool:
    """Pause an active relay; its invitations wait.

    Return whether its owner must be notified: not if it was paused already, nor if it was only being retried (see
    `probe`) and pauses for the same reason. `text` is the server's reply with its codes, our own text, or a person's
    note. `probe_at` is the time of the automatic retry; `None` means that only a person resumes it.
    """
    query = select(Relay.pause_reason, Relay.paused_at).where(Relay.id == relay_id)
    before = where.execute(query.with_for_update(key_share=True)).first()
    # If it refuses all recipients again, the text is a new one: a person has decided on the previous text.
    is_same = before is not None and before.pause_reason == reason and reason is not PauseReason.REFUSES_ALL
    changed = _change_state(
        where,
        update(Relay).where(Relay.id == relay_id, Relay.state == RelayState.ACTIVE, Relay.deleted_at.is_(None)),
        state=RelayState.PAUSED,
        pause_reason=reason,
        pause_text=text[:600],
        paused_at=before.paused_at if before is not None and is_same else db_now(),
        probe_at=probe_at,
    )
    if changed and not is_same:
        _record_change(where, relay_id, AuditAction.RELAY_PAUSED, user_id, {"reason": (None, str(reason))})
    return changed and not is_same


def probe(where: Connection | Session, relay_id: int) -> bool:
    """Retry a paused relay; the reason is kept until the relay has accepted a message. Return whether it was paused."""
    return _change_state(
        where,
        update(Relay).where(Relay.id == relay_id, Relay.state == RelayState.PAUSED, Relay.deleted_at.is_(None)),
        state=RelayState.ACTIVE,
        probe_at=None,
    )


def accept_refusals(where: Connection | Session, relay_id: int, *, user_id: str | None = None) -> bool:
    """Resume a relay that refuses all recipients, because a person decided that the refusals concern the recipients.

    Return whether it was paused for that reason. Reason and text, and with them the decision, are kept until the relay
    has accepted a message (see `accepted_refusal`).
    """
    changed = _change_state(
        where,
        update(Relay).where(
            Relay.id == relay_id,
            Relay.state == RelayState.PAUSED,
            Relay.pause_reason == PauseReason.REFUSES_ALL,
            Relay.deleted_at.is_(None),
        ),
        state=RelayState.ACTIVE,
        probe_at=None,
    )
    if changed:
        _record_change(where, relay_id, AuditAction.RELAY_RESUMED, user_id, {})
    return changed


def accepted_refusal(where: Connection | Session, relay_id: int) -> str | None:
    """Return the server's reply that a person attributed to the recipients, with its codes; `None` if there is none."""
    return where.execute(
        select(Relay.pause_text).where(
            Relay.id == relay_id, Relay.state == RelayState.ACTIVE, Relay.pause_reason == PauseReason.REFUSES_ALL
        )
    ).scalar()


def pass_probe(where: Connection | Session, relay_id: int) -> bool:
    """Clear the pause reason after an accepted message. Return whether there was one."""
    passed = where.execute(
        update(Relay)
        .where(Relay.id == relay_id, Relay.state == RelayState.ACTIVE, Relay.pause_reason.is_not(None))
        .values(revision=Relay.revision, **NOT_PAUSED)  # running drains need not notice
    )
    if cast("CursorResult[Any]", passed).rowcount == 0:
        return False
    _record_change(where, relay_id, AuditAction.RELAY_RESUMED, None, {})
    return True


def resume(where: Connection | Session, relay_id: int, *, user_id: str | None = None) -> bool:
    """Resume a paused relay. Return whether it was paused."""
    changed = _change_state(
        where,
        update(Relay).where(Relay.id == relay_id, Relay.state == RelayState.PAUSED, Relay.deleted_at.is_(None)),
        state=RelayState.ACTIVE,
        **NOT_PAUSED,
    )
    if changed:
        _record_change(where, relay_id, AuditAction.RELAY_RESUMED, user_id, {})
    return changed


def _change_state(where: Connection | Session, statement: Update, **values: Any) -> bool:
    result = where.execute(statement.values(**values))
    return cast("CursorResult[Any]", result).rowcount == 1


def _record_change(
    where: Connection | Session, relay_id: int, action: AuditAction, user_id: str | None, changes: audit.Changes
) -> None:
    tenant_id = where.execute(select(Relay.tenant_id).where(Relay.id == relay_id)).scalar_one()
    audit.record(where, action, tenant_id=tenant_id, user_id=user_id, relay_id=relay_id, changes=changes)
