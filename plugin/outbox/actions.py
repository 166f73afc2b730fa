"""Changes of the outbox by hosts and people: add a batch, pause, cancel, send again. For drains see `settlements`.

Every function takes a connection inside the caller's transaction and commits nothing. Functions that change the state
of invitations lock their relay's lease until that transaction ends (see `own_smtp.outbox.leases`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, exists, func, insert, literal, null, select, update

from own_smtp.errors import ConflictError, NotFoundError
from own_smtp.i18n import gettext
from own_smtp.outbox.claims import in_chunks
from own_smtp.outbox.intake import add, hold_relay
from own_smtp.outbox.leases import lock_leases
from own_smtp.outbox.totals import move
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.states import RETRYABLE, UNFINISHED, WAITING, BatchState, State
from own_smtp.storage.bulk import among
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import (
    Attempt,
    Batch,
    Invitation,
    Relay,
)

__all__ = [
    "add",
    "cancel",
    "cancel_batch",
    "cancel_invitations",
    "cancel_project",
    "end_deleted",
    "expire_batch",
    "expired_batches",
    "orphaned_relays",
    "pause_batch",
    "postpone_fallback",
    "resume_batch",
    "retry",
    "sweep_cancelled",
]


def pause_batch(connection: Connection, batch_id: int) -> None:
    """Stop sending a batch. Invitations that a drain has already claimed are still sent."""
    batch = _lock(connection, batch_id)
    if batch.state != BatchState.OPEN:
        raise ConflictError(gettext("Only a batch that is being sent can pause."))
    _set_state(connection, batch_id, BatchState.PAUSED)


def resume_batch(connection: Connection, batch_id: int) -> None:
    """Resume a paused batch."""
    batch = _lock(connection, batch_id)
    if batch.state != BatchState.PAUSED:
        raise ConflictError(gettext("The batch is not paused."))
    _set_state(connection, batch_id, BatchState.OPEN)
    _finish(connection, batch_id)


def cancel_batch(connection: Connection, batch_id: int) -> int:
    """Cancel a batch with its waiting invitations; return their number.

    Invitations that a drain has claimed are still sent; those that it could not send are cancelled by
    `sweep_cancelled`.
    """
    batch = _lock(connection, batch_id)
    cancelled = _cancel_waiting(connection, batch_id)
    if batch.state in UNFINISHED:
        _set_state(connection, batch_id, BatchState.CANCELLED)
    return cancelled


def cancel_invitations(connection: Connection, batch_id: int, ids: Sequence[int]) -> int:
    """Cancel the given invitations that are waiting; return their number. Call it with their relay's lease locked."""
    return _cancel_waiting(connection, batch_id, [among(connection, Invitation.id, ids)])


def cancel(connection: Connection, batch_id: int, ids: Sequence[int]) -> int:
    """Cancel the given invitations of a batch that are waiting; return their number. The batch itself continues."""
    _lock(connection, batch_id)
    cancelled = sum(cancel_invitations(connection, batch_id, chunk) for chunk in in_chunks(ids))
    _finish(connection, batch_id)
    return cancelled


def cancel_project(connection: Connection, tenant_id: str, project_id: str | None) -> int:
    """Cancel the waiting invitations of a project, or of the tenant if `project_id` is `None`; return their number."""
    where = [*_of(tenant_id, project_id), Batch.state.in_(UNFINISHED)]
    batches = connection.execute(select(Batch.id, Batch.relay_id).where(*where)).all()
    lock_leases(connection, [batch.relay_id for batch in batches])
    return sum(cancel_batch(connection, batch.id) for batch in batches)


def sweep_cancelled(connection: Connection, relay_id: int) -> int:
    """Cancel invitations that a drain returned to batches cancelled meanwhile. Call it with the lease locked."""
    waits = exists().where(Invitation.batch_id == Batch.id, Invitation.state == State.QUEUED)
    batches = select(Batch.id).where(Batch.relay_id == relay_id, Batch.state == BatchState.CANCELLED, waits)
    return sum(_cancel_waiting(connection, batch_id) for batch_id in connection.scalars(batches).all())


EXPIRED = "The time for sending was over before it could be sent."
DELETED = "The mail server was deleted before it could be sent."


def expired_batches(connection: Connection) -> list[int]:
    """Return the unfinished batches whose deadline has passed."""
    over = select(Batch.id).where(Batch.state.in_(UNFINISHED), Batch.expires_at <= db_now()).order_by(Batch.id)
    return list(connection.scalars(over))


def expire_batch(connection: Connection, batch_id: int) -> int:
    """Fail the waiting invitations of a batch; return their number. The batch ends once no claimed ones are left."""
    return _give_up(connection, _lock(connection, batch_id), EXPIRED)


def orphaned_relays(connection: Connection) -> list[int]:
    """Return the deleted relays for which invitations are still waiting."""
    waits = exists().where(Invitation.batch_id == Batch.id, Invitation.state == State.QUEUED)
    found = (
        select(Batch.relay_id)
        .join(Relay, Relay.id == Batch.relay_id)
        .where(Relay.deleted_at.is_not(None), Batch.state.in_(UNFINISHED), waits)
    )
    return list(connection.scalars(found.distinct().order_by(Batch.relay_id)))


def end_deleted(connection: Connection, relay_id: int) -> int:
    """Fail the invitations that wait for a deleted relay; return their number. Claimed ones are left to their drain.

    The host is notified of each, as of any other failure.
    """
    lock_leases(connection, [relay_id])
    # Locked, because MariaDB would otherwise show the table as it was when the caller's transaction began.
    batches = select(Batch.id).where(Batch.relay_id == relay_id, Batch.state.in_(UNFINISHED)).order_by(Batch.id)
    found = list(connection.scalars(batches.with_for_update()))
    return sum(_give_up(connection, _lock(connection, batch_id), DELETED) for batch_id in found)


def _give_up(connection: Connection, batch: Any, text: str) -> int:
    now = read_clock(connection)
    given_up = connection.execute(
        update(Invitation)
        .where(Invitation.batch_id == batch.id, Invitation.state == State.QUEUED)
        .values(state=State.FAILED, changed_at=now, untold_since=now)
    ).rowcount
    if given_up:
        move(connection, batch.id, {State.FAILED: given_up})
        _record_given_up(connection, batch.id, batch.relay_id, now, text)
    _finish(connection, batch.id)
    return given_up


def _record_given_up(connection: Connection, batch_id: int, relay_id: int, now: datetime, text: str) -> None:
    columns = {"relay_id": relay_id, "at": now, "state": State.FAILED, "stage": Stage.LOCAL, "text": text}
    constants = (literal(value, Attempt.__table__.c[name].type) for name, value in columns.items())
    rows = select(Invitation.id, Invitation.route, *constants).where(
        Invitation.batch_id == batch_id, Invitation.state == State.FAILED, Invitation.changed_at == now
    )
    connection.execute(insert(Attempt).from_select(["invitation_id", "route", *columns], rows))


def retry(connection: Connection, batch_id: int, states: Iterable[State], ids: Sequence[int] | None = None) -> int:
    """Queue invitations that ended in `states` again, all of the batch or only `ids`; return their number.

    Invitations whose recipients were erased on request are skipped. `states` may include `unknown` after the caller has
    warned a person that a copy may exist, but never `accepted`. Raises `ConflictError`, with a text for people, if the
    batch cannot be sent any more.
    """
    wanted = set(states)
    if not wanted <= RETRYABLE | {State.UNKNOWN}:
        raise ConflictError(gettext("Only refused, failed, cancelled and unknown invitations can be sent again."))
    batch = _lock(connection, batch_id)
    _check_retry(connection, batch)
    chunks = [None] if ids is None else list(in_chunks(ids))
    queued = sum(_queue_again(connection, batch_id, state, chunk) for state in sorted(wanted) for chunk in chunks)
    if queued and batch.state != BatchState.PAUSED:
        _set_state(connection, batch_id, BatchState.OPEN)
    return queued


def _check_retry(connection: Connection, batch: Any) -> None:
    if not hold_relay(connection, batch.relay_id):
        raise ConflictError(gettext("The mail server of this batch was deleted. Send the invitations as a new batch."))
    if batch.is_over:
        raise ConflictError(gettext("The time for sending this batch is over."))
    if connection.scalar(select(Batch.id).where(Batch.id == batch.id, Batch.content.is_(null()))) is not None:
        raise ConflictError(gettext("What this batch said was deleted after its time. Send it as a new batch."))
    if batch.state == BatchState.CANCELLED:
        _cancel_waiting(connection, batch.id)
        on_the_wire = select(Invitation.id).where(Invitation.batch_id == batch.id, Invitation.state == State.SENDING)
        if connection.execute(on_the_wire.limit(1).with_for_update()).first() is not None:
            # If the batch were reopened, cancelled invitations that a drain returns would be sent.
            raise ConflictError(gettext("Some of this batch is still being sent. Try again in a minute."))


def _queue_again(connection: Connection, batch_id: int, state: State, ids: Sequence[int] | None) -> int:
    now = db_now()
    chosen = [] if ids is None else [among(connection, Invitation.id, ids)]
    queued = connection.execute(
        update(Invitation)
        .where(Invitation.batch_id == batch_id, Invitation.state == state, Invitation.address != "", *chosen)
        # The token stays: the drain that ended them does not claim them again, or its recovery would find old records.
        .values(
            state=State.QUEUED,
            first_failure_at=None,
            changed_at=now,
            next_attempt_at=now,
            untold_since=now,
        )
    ).rowcount
    move(connection, batch_id, {state: -queued})
    return queued


def _of(tenant_id: str, project_id: str | None) -> list[ColumnElement[bool]]:
    return [Batch.tenant_id == tenant_id] + ([] if project_id is None else [Batch.project_id == project_id])


def _lock(connection: Connection, batch_id: int) -> Any:
    """Lock the lease of the batch's relay and the batch, and return the batch. Raises `NotFoundError`."""
    relay_id = connection.scalar(select(Batch.relay_id).where(Batch.id == batch_id))
    if relay_id is not None:
        lock_leases(connection, [relay_id])
    is_over = func.coalesce(Batch.expires_at <= db_now(), False).label("is_over")
    columns = select(Batch.id, Batch.relay_id, Batch.state, is_over).where(Batch.id == batch_id)
    batch = connection.execute(columns.with_for_update()).first()
    if batch is None:
        raise NotFoundError(f"There is no batch {batch_id}.")
    return batch


def _set_state(connection: Connection, batch_id: int, state: BatchState) -> None:
    connection.execute(update(Batch).where(Batch.id == batch_id).values(state=state))


def _finish(connection: Connection, batch_id: int) -> None:
    """Mark the batch as done unless invitations are waiting in it."""
    waiting = exists().where(Invitation.batch_id == batch_id, Invitation.state.in_(WAITING))
    connection.execute(
        update(Batch).where(Batch.id == batch_id, Batch.state.in_(UNFINISHED), ~waiting).values(state=BatchState.DONE)
    )


def _cancel_waiting(connection: Connection, batch_id: int, chosen: Iterable[ColumnElement[bool]] = ()) -> int:
    cancelled = connection.execute(
        update(Invitation)
        .where(Invitation.batch_id == batch_id, Invitation.state == State.QUEUED, *chosen)
        .values(state=State.CANCELLED, changed_at=db_now(), untold_since=db_now())
    ).rowcount
    move(connection, batch_id, {State.CANCELLED: cancelled})
    return cancelled


def postpone_fallback(connection: Connection, relay_id: int, by: timedelta) -> None:
    """Postpone the fallback of open batches by `by`, because the platform's mail service fails as well."""
    now = read_clock(connection)
    connection.execute(
        update(Batch)
        .where(Batch.relay_id == relay_id, Batch.state == BatchState.OPEN, Batch.fallback_at <= now)
        .values(fallback_at=now + by)
    )
