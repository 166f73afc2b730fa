"""Figures that are kept instead of counted: how many invitations of a batch ended how, and what each hour's attempts
came to.

Whoever moves invitations into or out of a final state says so here, in the same transaction: so the figures are exact
at any time. Functions that write take a connection inside a transaction of the caller's, which holds the relay's books
already (see `own_smtp.outbox.leases`), and commit nothing.
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
"""How many of a batch's invitations wait or are being sent: what was taken, less what ended. For `select_kept`."""


class EndedCount(NamedTuple):
    """What an attempt came to, as far as figures are concerned."""

    batch_id: int
    state: State
    code: int
    """The reply's code; 0 when there was none."""


def open_counts(connection: Connection, batch_id: int) -> None:
    """Begin to count for a new batch."""
    connection.execute(insert(BatchTotals).values(batch_id=batch_id))


def move(connection: Connection, batch_id: int, changes: Mapping[State, int], *, by_platform: int = 0) -> None:
    """Add so many invitations to each final state of a batch; less than none when they left it."""
    values = {state.value: getattr(BatchTotals, state.value) + number for state, number in changes.items() if number}
    if by_platform:
        values["by_platform"] = BatchTotals.by_platform + by_platform
    if values:
        connection.execute(update(BatchTotals).where(BatchTotals.batch_id == batch_id).values(**values))


def select_kept(*columns: Any) -> Select[Any]:
    """Begin a query over batches and what is kept of them."""
    return select(*columns).select_from(Batch).join(BatchTotals, BatchTotals.batch_id == Batch.id)


def count_waiting(connection: Connection, relay_id: int) -> int:
    """Return how many invitations wait for a relay, in all its open batches."""
    return sum(waiting for waiting, _is_urgent in waiting_by_batch(connection, relay_id).values())


def waiting_by_batch(connection: Connection, relay_id: int) -> dict[int, tuple[int, bool]]:
    """Return for each open batch of a relay how many invitations wait in it, and whether it is urgent."""
    rows = connection.execute(
        select_kept(Batch.id, WAITING_NUMBER, Batch.is_urgent).where(
            Batch.relay_id == relay_id, Batch.state == BatchState.OPEN
        )
    )
    return {batch_id: (int(waiting), is_urgent) for batch_id, waiting, is_urgent in rows if waiting}


def waiting_of_relays(where: Connection | Session, *conditions: ColumnElement[bool]) -> dict[int, int]:
    """Return for relays how many invitations wait for them, in batches that meet the conditions."""
    rows = where.execute(
        select_kept(Batch.relay_id, func.sum(WAITING_NUMBER)).where(*conditions).group_by(Batch.relay_id)
    )
    return {relay_id: int(waiting) for relay_id, waiting in rows if waiting}


def add_attempts(
    connection: Connection, relay_id: int, now: datetime, ended: Mapping[EndedCount, int], *, by_platform: bool
) -> None:
    """Count so many attempts, for their batches and for this hour."""
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
