"""What a drain may send: invitations marked as its own before any of their bytes leave.

Every function takes a connection inside a transaction of the caller's, which holds the relay's books already (see
`own_smtp.outbox.leases`), and commits nothing.

An invitation is *claimed* by the drain's token when it is loaded, many in one commit. From then on only that drain, or
the recovery of its journal, may change it: whatever another worker, machine or stalled process believes, its writes
find no row. That makes a claim the mark that must stand before a final dot is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, or_, select, update

from own_smtp.outbox.values import Claim, Claimed, Taken
from own_smtp.states import BatchState, RelayState, Route, State
from own_smtp.storage.bulk import among
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Batch, Invitation, Relay

Conditions = tuple[ColumnElement[bool], ...]


def claim(
    connection: Connection, taken: Taken, count: int, *, after_batch: int = 0, route: Route = Route.RELAY
) -> Claim:
    """Claim up to `count` invitations that are due, urgent ones first, then fairly from every open batch.

    Call it behind `renew_lease` in the same transaction. `after_batch` is the batch served last; the next one comes
    first now. For the platform's own mail those are due whose time for the relay is over, whatever state it is in.
    An invitation is claimed once by a drain, also when a person queued it again meanwhile, so that the journal's last
    word on it is the true one.
    """
    now = read_clock(connection)
    relay = connection.execute(
        select(Relay.revision, Relay.state, Relay.deleted_at).where(Relay.id == taken.relay_id)
    ).first()
    if relay is None or relay.deleted_at is not None or (route is Route.RELAY and relay.state != RelayState.ACTIVE):
        return Claim(now, relay.revision if relay else 0, False, [])
    if route is Route.RELAY:
        found = _find_due(connection, _batches_of(taken, after_batch), count, _is_due(taken.token, now))
    else:
        batches = _batches_of(taken, after_batch).where(Batch.fallback_at <= now)
        found = _find_due(connection, batches, count, _is_left_to_platform(taken.token, now))
    return Claim(now, relay.revision, True, _mark(connection, taken.token, found, now))


def _batches_of(taken: Taken, after_batch: int) -> Any:
    return (
        select(Batch.id, Batch.is_urgent)
        .where(Batch.relay_id == taken.relay_id, Batch.state == BatchState.OPEN)
        .order_by(Batch.is_urgent.desc(), Batch.id <= after_batch, Batch.id)
    )


def _find_due(connection: Connection, query: Select[Any], count: int, is_due: Conditions) -> list[Claimed]:
    # A scalar subquery, because PostgreSQL turns EXISTS into a join that may read all that waits in every batch.
    due = select(Invitation.id).where(Invitation.batch_id == Batch.id, *is_due).limit(1)
    has_due = due.correlate(Batch).scalar_subquery().is_not(None)
    batches = connection.execute(query.where(has_due).limit(count)).all()
    found: list[Claimed] = []
    for position, batch in enumerate(batches):
        left = count - len(found)
        if left <= 0:
            break
        share = left if batch.is_urgent else -(-left // (len(batches) - position))
        found += _due_in_batch(connection, batch.id, share, is_due)
    return found


def _is_left_to_platform(token: int, now: datetime) -> Conditions:
    """Due for the platform's own mail; what that has tried already waits for its next attempt."""
    return (
        Invitation.state == State.QUEUED,
        or_(Invitation.route != Route.PLATFORM, Invitation.next_attempt_at <= now),
        or_(Invitation.token.is_(None), Invitation.token != token),
    )


def _is_due(token: int, now: datetime) -> Conditions:
    return (
        Invitation.state == State.QUEUED,
        Invitation.next_attempt_at <= now,
        or_(Invitation.token.is_(None), Invitation.token != token),
    )


def _due_in_batch(connection: Connection, batch_id: int, count: int, is_due: Conditions) -> list[Claimed]:
    rows = connection.execute(
        select(
            Invitation.id,
            Invitation.batch_id,
            Invitation.reference,
            Invitation.address,
            Invitation.name,
            Invitation.values,
            Invitation.override,
            Invitation.attempts,
            Invitation.first_failure_at,
        )
        .where(Invitation.batch_id == batch_id, *is_due)
        .order_by(Invitation.next_attempt_at, Invitation.id)
        .limit(count)
    )
    return [Claimed._make(row) for row in rows.all()]


def _mark(connection: Connection, token: int, found: list[Claimed], now: datetime) -> list[Claimed]:
    marked = 0
    for some in in_chunks([invitation.id for invitation in found]):
        marked += connection.execute(
            update(Invitation)
            .where(among(connection, Invitation.id, some), Invitation.state == State.QUEUED)
            .values(state=State.SENDING, token=token, changed_at=now)
        ).rowcount
    if marked == len(found):
        return found
    # Somebody wrote without holding the books, a person at the database's console for example.
    mine = still_ours(connection, token, [invitation.id for invitation in found], State.SENDING)
    return [invitation for invitation in found if invitation.id in mine]


def release(connection: Connection, token: int, ids: Sequence[int]) -> None:
    """Give claimed invitations back, of which no end was written."""
    for some in in_chunks(ids):
        connection.execute(
            update(Invitation)
            .where(among(connection, Invitation.id, some), Invitation.token == token, Invitation.state == State.SENDING)
            .values(state=State.QUEUED, token=None)
        )


def still_ours(connection: Connection, token: int, ids: Sequence[int], state: State) -> set[int]:
    """Return which of these carry the token in this state."""
    where = [Invitation.token == token, Invitation.state == state]
    found: set[int] = set()
    for some in in_chunks(ids):
        found.update(connection.scalars(select(Invitation.id).where(among(connection, Invitation.id, some), *where)))
    return found


def claimed_by(connection: Connection, relay_id: int, token: int) -> dict[int, int]:
    """Return all that the drain with this token has claimed and not settled yet: ids, and the batch of each."""
    rows = connection.execute(
        select(Invitation.id, Invitation.batch_id)
        .join(Batch, Batch.id == Invitation.batch_id)
        .where(
            Batch.relay_id == relay_id,
            Batch.state != BatchState.DONE,
            Invitation.state == State.SENDING,
            Invitation.token == token,
        )
    )
    return {row.id: row.batch_id for row in rows}


def in_chunks(ids: Sequence[int], size: int = 500) -> Iterable[Sequence[int]]:
    """Cut a list to what one statement takes."""
    return (ids[start : start + size] for start in range(0, len(ids), size))
