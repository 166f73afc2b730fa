"""The outbox as hosts and people write it: add a batch, pause, cancel, try again. What drains write is in `ledger`.

Every function takes a connection inside a transaction of the caller's and commits nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from typing import Any

from sqlalchemy import Connection, Insert, delete, func, insert, literal, select, update
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from own_smtp.addresses import domain_of, parse_address
from own_smtp.clock import db_now, read_clock
from own_smtp.contents import store_content, store_name, store_override, store_values
from own_smtp.errors import ConflictError, ContentError
from own_smtp.hooks.events import Invitation as Invited
from own_smtp.hooks.events import InvitationBatch, LocalRefusal, Receipt
from own_smtp.ledger import inserted_id
from own_smtp.models import Attempt, Batch, BatchFile, Invitation
from own_smtp.outcomes import Stage
from own_smtp.profiles import RelayProfile
from own_smtp.states import RETRYABLE, WAITING, BatchState, Route, State

CHUNK = 1000
"""Invitations written at a time: memory stays flat however many there are."""

MAX_REFUSALS_SHOWN = 1000


@dataclass(slots=True)
class _Intake:
    """Reads a host's invitations once, in chunks, and keeps count of those that cannot be taken."""

    refused: list[LocalRefusal] = field(default_factory=list)
    refused_count: int = 0

    def rows(self, batch_id: int, invitations: Iterable[Invited], now: datetime) -> Iterator[list[dict[str, Any]]]:
        source = iter(invitations)
        while chunk := list(islice(source, CHUNK)):
            rows = [row for item in chunk if (row := self._row(batch_id, item, now)) is not None]
            if rows:
                yield rows

    def _row(self, batch_id: int, item: Invited, now: datetime) -> dict[str, Any] | None:
        try:
            return invitation_row(batch_id, item, now)
        except ContentError as error:
            self.refused_count += 1
            if len(self.refused) < MAX_REFUSALS_SHOWN:
                self.refused.append(LocalRefusal(reference=item.reference, address=item.address, reason=str(error)))
            return None


def invitation_row(batch_id: int, item: Invited, now: datetime) -> dict[str, Any]:
    """Return the columns of a new invitation. Raises `ContentError` when no server could deliver it."""
    return {
        "batch_id": batch_id,
        "reference": checked_id(item.reference),
        "address": parse_address(item.address),
        "name": store_name(item.name),
        "values": store_values(item.values) or None,
        "override": store_override(item),
        "state": State.QUEUED,
        "attempts": 0,
        "route": Route.RELAY,
        "changed_at": now,
        "next_attempt_at": now,
    }


def checked_id(text: str) -> str:
    """Return a host's id, or raise `ContentError` when it could be mistaken for another one."""
    if not text or len(text) > 255 or text != text.strip():
        raise ContentError("A reference must have 1 to 255 characters and no white space around it.")
    return text


def add(
    connection: Connection, batch: InvitationBatch, profile: RelayProfile, *, fallback_after: int | None
) -> Receipt:
    """Write a batch and its invitations into the outbox.

    Twice the same reference in a batch adds one invitation; a repeated idempotency key adds nothing. Raises
    `ContentError` when the content cannot become a message.
    """
    stored, files = store_content(batch.content)
    columns = _batch_columns(batch, profile, stored, fallback_after)
    batch_id = _insert_batch(connection, columns)
    if batch_id is None:
        return _first_receipt(connection, batch)
    if files:
        connection.execute(
            insert(BatchFile),
            [
                {
                    "batch_id": batch_id,
                    "filename": file.filename,
                    "content_type": file.content_type,
                    "content_id": file.content_id,
                    "data": file.data,
                }
                for file in files
            ],
        )
    intake = _Intake()
    now = read_clock(connection)
    statement = _insert_or_ignore(connection)
    for rows in intake.rows(batch_id, batch.invitations, now):
        connection.execute(statement, rows)
    return _close_intake(connection, batch_id, intake)


def _batch_columns(
    batch: InvitationBatch, profile: RelayProfile, stored: dict[str, Any], fallback_after: int | None
) -> dict[str, Any]:
    return {
        "tenant_id": checked_id(batch.tenant_id),
        "project_id": checked_id(batch.project_id),
        "relay_id": profile.relay_id,
        "kind": batch.kind,
        "idempotency_key": batch.idempotency_key,
        "content": stored,
        "message_key": secrets.token_hex(12),
        "message_domain": domain_of(profile.identity.address),
        "fallback_after": fallback_after,
        "expires_at": batch.expires_at,
        "created_by": batch.created_by,
    }


def _insert_batch(connection: Connection, columns: dict[str, Any]) -> int | None:
    """Return the new batch's id, or `None` when its idempotency key was there before."""
    try:
        with connection.begin_nested():
            return inserted_id(connection, insert(Batch).values(**columns))
    except IntegrityError:
        if columns["idempotency_key"] is None:
            raise
        return None


def _insert_or_ignore(connection: Connection) -> Insert:
    """An insert that passes over references that the batch has already."""
    match connection.dialect.name:
        case "postgresql":
            return postgresql.insert(Invitation).on_conflict_do_nothing(index_elements=["batch_id", "reference"])
        case "sqlite":
            return sqlite.insert(Invitation).on_conflict_do_nothing(index_elements=["batch_id", "reference"])
        case _:
            statement = mysql.insert(Invitation)
            return statement.on_duplicate_key_update(reference=statement.inserted.reference)


def _close_intake(connection: Connection, batch_id: int, intake: _Intake) -> Receipt:
    taken = _count(connection, batch_id)
    state = BatchState.OPEN if taken else BatchState.DONE
    connection.execute(
        update(Batch).where(Batch.id == batch_id).values(refused_count=intake.refused_count, state=state)
    )
    return Receipt(batch_id=batch_id, taken=taken, refused=tuple(intake.refused), refused_count=intake.refused_count)


def _first_receipt(connection: Connection, batch: InvitationBatch) -> Receipt:
    first = connection.execute(
        select(Batch.id, Batch.refused_count).where(
            Batch.tenant_id == batch.tenant_id,
            Batch.project_id == batch.project_id,
            Batch.idempotency_key == batch.idempotency_key,
        )
    ).one()
    taken = _count(connection, first.id)
    return Receipt(batch_id=first.id, taken=taken, refused_count=first.refused_count, repeated=True)


def _count(connection: Connection, batch_id: int) -> int:
    return connection.execute(
        select(func.count()).select_from(Invitation).where(Invitation.batch_id == batch_id)
    ).scalar_one()


def count_waiting(connection: Connection, relay_id: int) -> int:
    """Return how many invitations wait for a relay, in all its open batches."""
    return connection.execute(
        select(func.count())
        .select_from(Invitation)
        .join(Batch, Batch.id == Invitation.batch_id)
        .where(Batch.relay_id == relay_id, Batch.state == BatchState.OPEN, Invitation.state.in_(WAITING))
    ).scalar_one()


# What people do with batches


def pause_batch(connection: Connection, batch_id: int) -> None:
    """Stop sending a batch. What a drain has claimed already still goes out."""
    _move_batch(
        connection, batch_id, {BatchState.OPEN}, BatchState.PAUSED, "Only a batch that is being sent can pause."
    )


def resume_batch(connection: Connection, batch_id: int) -> None:
    """Go on with a paused batch."""
    _move_batch(connection, batch_id, {BatchState.PAUSED}, BatchState.OPEN, "The batch is not paused.")


def cancel_batch(connection: Connection, batch_id: int) -> int:
    """Withdraw what waits in a batch, and return how many those were. What a drain has claimed still goes out."""
    cancelled = _cancel_where(connection, Invitation.batch_id == batch_id)
    connection.execute(
        update(Batch)
        .where(Batch.id == batch_id, Batch.state.in_([BatchState.OPEN, BatchState.PAUSED]))
        .values(state=BatchState.CANCELLED)
    )
    return cancelled


def cancel_project(connection: Connection, tenant_id: str, project_id: str | None) -> int:
    """Withdraw what waits in all batches of a project, or of the tenant when `project_id` is `None`."""
    where = [Batch.tenant_id == tenant_id, Batch.state.in_([BatchState.OPEN, BatchState.PAUSED])]
    if project_id is not None:
        where.append(Batch.project_id == project_id)
    batches = connection.scalars(select(Batch.id).where(*where)).all()
    return sum(cancel_batch(connection, batch_id) for batch_id in batches)


def sweep_cancelled(connection: Connection, relay_id: int) -> int:
    """Withdraw what came back from a drain into batches that were cancelled meanwhile."""
    batches = select(Batch.id).where(Batch.relay_id == relay_id, Batch.state == BatchState.CANCELLED)
    return _cancel_where(connection, Invitation.batch_id.in_(batches.scalar_subquery()))


EXPIRED = "The time for sending was over before it could be sent."


def expire(connection: Connection) -> int:
    """Give up what still waits in batches whose time is over, and return how many those are."""
    now = read_clock(connection)
    over = connection.execute(
        select(Batch.id, Batch.relay_id).where(
            Batch.state.in_([BatchState.OPEN, BatchState.PAUSED]), Batch.expires_at <= now
        )
    ).all()
    return sum(_expire_batch(connection, batch.id, batch.relay_id, now) for batch in over)


def _expire_batch(connection: Connection, batch_id: int, relay_id: int, now: datetime) -> int:
    given_up = connection.execute(
        update(Invitation)
        .where(Invitation.batch_id == batch_id, Invitation.state == State.QUEUED)
        .values(state=State.FAILED, changed_at=now, untold_since=now)
    ).rowcount
    if given_up:
        columns = {"relay_id": relay_id, "at": now, "state": State.FAILED, "stage": Stage.LOCAL, "text": EXPIRED}
        constants = (literal(value, Attempt.__table__.c[name].type) for name, value in columns.items())
        rows = select(Invitation.id, Invitation.route, *constants).where(
            Invitation.batch_id == batch_id, Invitation.state == State.FAILED, Invitation.changed_at == now
        )
        connection.execute(insert(Attempt).from_select(["invitation_id", "route", *columns], rows))
    return given_up


def retry(connection: Connection, batch_id: int, states: Iterable[State], ids: Sequence[int] | None = None) -> int:
    """Queue again what ended in `states`, all of the batch or only `ids`, and return how many those are.

    `unknown` may be among the states: the caller has warned a person that a copy may exist. `accepted` never.
    """
    wanted = set(states)
    if not wanted <= RETRYABLE | {State.UNKNOWN}:
        raise ConflictError("Only refused, failed, cancelled and unknown invitations can be sent again.")
    where = [Invitation.batch_id == batch_id, Invitation.state.in_(wanted)]
    if ids is not None:
        where.append(Invitation.id.in_(ids))
    queued = connection.execute(
        update(Invitation)
        .where(*where)
        .values(state=State.QUEUED, token=None, first_failure_at=None, changed_at=db_now(), next_attempt_at=db_now())
    ).rowcount
    if queued:
        connection.execute(update(Batch).where(Batch.id == batch_id).values(state=BatchState.OPEN))
    return queued


def _cancel_where(connection: Connection, condition: Any) -> int:
    return connection.execute(
        update(Invitation)
        .where(condition, Invitation.state == State.QUEUED)
        .values(state=State.CANCELLED, changed_at=db_now(), untold_since=db_now())
    ).rowcount


def _move_batch(
    connection: Connection, batch_id: int, before: set[BatchState], after: BatchState, problem: str
) -> None:
    moved = connection.execute(update(Batch).where(Batch.id == batch_id, Batch.state.in_(before)).values(state=after))
    if moved.rowcount == 0:
        raise ConflictError(problem)


def forget(connection: Connection, tenant_id: str, project_id: str | None) -> None:
    """Delete what is kept of a project, or of the whole tenant when `project_id` is `None`.

    What waits is cancelled by it. A message that is on the wire at this moment may still arrive.
    """
    where = [Batch.tenant_id == tenant_id] + ([] if project_id is None else [Batch.project_id == project_id])
    batches = select(Batch.id).where(*where).scalar_subquery()
    invitations = select(Invitation.id).where(Invitation.batch_id.in_(batches)).scalar_subquery()
    connection.execute(delete(Attempt).where(Attempt.invitation_id.in_(invitations)))
    connection.execute(delete(Invitation).where(Invitation.batch_id.in_(batches)))
    connection.execute(delete(BatchFile).where(BatchFile.batch_id.in_(batches)))
    connection.execute(delete(Batch).where(*where))
