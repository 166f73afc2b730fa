"""Maintained totals: a batch's invitations by final state, and the attempts of each hour.

Code that moves invitations into or out of a final state updates them in the same transaction, so they are always exact.
Functions that write take a connection inside the caller's transaction, in which the relay's lease is locked already
(see `own_smtp.outbox.leases`), and commit nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, func, insert, literal, select, update
from sqlalchemy.orm import Session

from own_smtp.states import FINAL, BatchState, State
from own_smtp.storage.bulk import insert_or_add
from own_smtp.storage.models import Batch, BatchTotals, HourlyStat

WAITING_NUMBER: ColumnElement[int] = Batch.taken_count - sum(
    (getattr(BatchTotals, state.value) for state in sorted(FINAL)), literal(0)
)
"""Waiting invitations of a batch, claimed ones included: waiting = taken - finished. For `select_totals`."""


class EndedCount(NamedTuple):
    """The key by which attempts are counted."""

    batch_id: int
    state: State
    code: int
    """The reply's code; 0 if there was none."""


def open_counts(connection: Connection, batch_id: int) -> None:
    """Insert the totals of a new batch."""
    connection.execute(insert(BatchTotals).values(batch_id=batch_id))


def move(connection: Connection, batch_id: int, changes: Mapping[State, int], *, by_platform: int = 0) -> None:
    """Add numbers of invitations to a batch's final states; negative numbers if they left a state."""
    values = {state.value: getattr(BatchTotals, state.value) + number for state, number in changes.items() if number}
    if by_platform:
        values["by_platform"] = BatchTotals.by_platform + by_platform
    if values:
        connection.execute(update(BatchTotals).where(BatchTotals.batch_id == batch_id).values(**values))


def select_totals(*columns: Any) -> Select[Any]:
    """Return a query of batches joined with their totals."""
    return select(*columns).select_from(Batch).join(BatchTotals, BatchTotals.batch_id == Batch.id)


def count_waiting(connection: Connection, relay_id: int) -> int:
    """Return the number of waiting invitations in all open batches of a relay."""
    return sum(waiting for waiting, _is_urgent in waiting_by_batch(connection, relay_id).values())


def waiting_by_batch(connection: Connection, relay_id: int) -> dict[int, tuple[int, bool]]:
    """Return the number of waiting invitations in each open batch of a relay, and whether the batch is urgent."""
    rows = connection.execute(
        select_totals(Batch.id, WAITING_NUMBER, Batch.is_urgent).where(
            Batch.relay_id == relay_id, Batch.state == BatchState.OPEN
        )
    )
    return {batch_id: (int(waiting), is_urgent) for batch_id, waiting, is_urgent in rows if waiting}


def waiting_of_relays(where: Connection | Session, *conditions: ColumnElement[bool]) -> dict[int, int]:
    """Return the number of waiting invitations by relay, in batches that meet the conditions."""
    rows = where.execute(
        select_totals(Batch.relay_id, func.sum(WAITING_NUMBER)).where(*conditions).group_by(Batch.relay_id)
    )
    return {relay_id: int(waiting) for relay_id, waiting in rows if waiting}


def add_attempts(
    connection: Connection, relay_id: int, now: datetime, ended: Mapping[EndedCount, int], *, by_platform: bool
) -> None:
    """Add attempts to the totals of their batches and of the current hour."""
    moved: dict[int, Counter[State]] = {}
    for (batch_id, state, _code), number in ended.items():
        if state in FINAL:
            moved.setdefault(batch_id, Counter())[state] += number
    for batch_id in sorted(moved):
        changes = moved[batch_id]
        move(connection, batch_id, changes, by_platform=changes[State.ACCEPTED] if by_platform else 0)
    hour = now.replace(minute=0, second=0, microsecond=0)
    rows = [{"relay_id": relay_id, "hour": hour, **key._asdict(), "count": ended[key]} for key in sorted(ended)]
    if rows:
        connection.execute(insert_or_add(connection, HourlyStat, "count"), rows)
