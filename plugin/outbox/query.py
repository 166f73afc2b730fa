"""The delivery log in its order, paged by keyset in both directions.

The order is by batch, then by the time at which an invitation was last due, then by id. The index by which drains
claim, `(batch_id, state, next_attempt_at, id)`, has the same order, so the log needs no index of its own, which every
change of a state would have to write at full sending speed. For each requested state the next few rows are read from
that index and merged: a page costs the same at the beginning and behind a million others.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, func, literal, or_, select, tuple_, union_all
from sqlalchemy.orm import Session

from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.recipient_search import is_recipient
from own_smtp.states import State
from own_smtp.storage.clock import UTCDateTime
from own_smtp.storage.models import Attempt, Batch, BigId, Invitation

CHUNK = 500
"""Invitations or batches that are read at a time."""

READ_AHEAD = 1000
"""Ids that are read at a time if nothing else is read."""

INDEX = "ix_own_smtp_invitation_batch_id_state_next_attempt_at_id"
"""The index that the log is read from."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_POSITION = re.compile(r"(\d{1,18})-(\d{1,18})-(\d{1,18})")
_REPLY = re.compile(r"[2-5][0-9]{0,2}|[245]\.[0-9]{1,3}\.[0-9]{1,3}")


class Position(NamedTuple):
    """The position of an invitation in the log."""

    batch_id: int
    due: datetime
    id: int

    def __str__(self) -> str:
        return f"{self.batch_id}-{(self.due - _EPOCH) // _MICROSECOND}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Parse the result of `str`. Raises `ValueError` for any other text."""
        if match := _POSITION.fullmatch(text):
            batch_id, due, id_ = map(int, match.groups())
            try:
                return cls(batch_id, _EPOCH + due * _MICROSECOND, id_)
            except OverflowError:
                pass
        raise ValueError(f"{text!r} is not a position in a delivery log.")


@dataclass(frozen=True, slots=True, kw_only=True)
class LogScope:
    """The invitations that a log covers."""

    tenant_id: str
    project_ids: frozenset[str] | None = None
    """`None` means all projects."""
    relay_id: int | None = None
    """`None` means all relays."""

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions for their batches."""
        where = [Batch.tenant_id == self.tenant_id]
        if self.project_ids is not None:
            where.append(Batch.project_id.in_(sorted(self.project_ids)))
        if self.relay_id is not None:
            where.append(Batch.relay_id == self.relay_id)
        return where


def walk(
    where: Connection | Session, scope: LogScope, wanted: StatusFilter, *, size: int = CHUNK, backwards: bool = False
) -> Iterator[Position]:
    """Yield the positions of the invitations that match `wanted`, in their order, beginning behind `wanted.after`.

    `size` of them are read at a time. `backwards` yields those before `wanted.after`, the nearest first. The caller
    applies the filter's `limit`. Raises `ValueError` for an invalid `after` or `reply`.
    """
    check(wanted)
    start = Position.parse(wanted.after) if wanted.after else None
    is_rising = wanted.oldest_first != backwards
    dialect = _dialect(where)
    for batch_id in batches(where, scope, wanted, start, is_rising=is_rising):
        begin = start if start and start.batch_id == batch_id else None
        while found := where.execute(page_of(dialect, batch_id, wanted, begin, size, is_rising=is_rising)).all():
            yield from (Position(batch_id, row.next_attempt_at, row.id) for row in found)
            if len(found) < size:
                break
            begin = Position(batch_id, found[-1].next_attempt_at, found[-1].id)


def listed(where: Connection | Session, scope: LogScope, wanted: StatusFilter) -> Iterator[array[int]]:
    """Yield the ids of the matching invitations in the log's order, one array for each batch.

    For files: each batch is listed by one statement, so that no invitation is duplicated or missing, even if they
    change during the download. Each takes eight octets of memory. Between two batches no cursor is open: the caller may
    end the transaction. The filter applies as in `walk`.
    """
    check(wanted)
    start = Position.parse(wanted.after) if wanted.after else None
    due, id_ = Invitation.next_attempt_at, Invitation.id
    for batch_id in batches(where, scope, wanted, start, is_rising=wanted.oldest_first):
        query = _hinted(select(id_)).where(Invitation.batch_id == batch_id, *conditions(wanted))
        if start and start.batch_id == batch_id:
            query = query.where(or_(*(and_(*arm) for arm in _beyond("", start, is_rising=wanted.oldest_first))))
        query = query.order_by(*_ordered(due, id_, is_rising=wanted.oldest_first))
        yield array("q", where.scalars(query, execution_options={"yield_per": READ_AHEAD}))


def _dialect(where: Connection | Session) -> str:
    return (where.connection() if isinstance(where, Session) else where).dialect.name


def check(wanted: StatusFilter) -> None:
    """Raise `ValueError` for a filter with an invalid `reply`."""
    if wanted.reply and not _REPLY.fullmatch(wanted.reply):
        raise ValueError(
            f"{wanted.reply!r} is neither a reply code, such as 550 or 5, nor an enhanced one, such as 5.1.1."
        )


def count(where: Connection | Session, scope: LogScope, wanted: StatusFilter) -> dict[State, int]:
    """Return the number of matching invitations by state."""
    query = (
        select(Invitation.state, func.count())
        .join(Batch, Batch.id == Invitation.batch_id)
        .where(*scope.conditions(), *_of_batch(wanted), *conditions(wanted))
        .group_by(Invitation.state)
    )
    return {State(state): number for state, number in where.execute(query)}


def conditions(wanted: StatusFilter) -> list[ColumnElement[bool]]:
    """Return the filter's conditions for invitations."""
    return [Invitation.state.in_(states_of(wanted)), *_rest(wanted)]


def states_of(wanted: StatusFilter) -> list[State]:
    """Return the possible states of matching invitations: the class of a filter's `reply` excludes some."""
    states = set(wanted.states) or set(State)
    if wanted.reply:
        states &= {State.ACCEPTED} if wanted.reply.startswith("2") else set(State) - {State.ACCEPTED}
    return sorted(states)


def batches(
    where: Connection | Session,
    scope: LogScope,
    wanted: StatusFilter,
    start: Position | None = None,
    *,
    is_rising: bool = False,
) -> Iterator[int]:
    """Yield the batches with invitations in the requested states, in the log's order."""
    if not states_of(wanted):
        return
    query = batches_of(scope, wanted, start, is_rising=is_rising)
    while ids := where.scalars(query).all():
        yield from ids
        if len(ids) < CHUNK:
            return
        query = query.where(Batch.id > ids[-1] if is_rising else Batch.id < ids[-1])


def batches_of(scope: LogScope, wanted: StatusFilter, start: Position | None, *, is_rising: bool) -> Select[Any]:
    """Return the query for the first of these batches."""
    has_some = or_(*map(_has_one, states_of(wanted)))
    query = select(Batch.id).where(*scope.conditions(), *_of_batch(wanted), has_some).limit(CHUNK)
    query = query.order_by(Batch.id if is_rising else Batch.id.desc())
    if start is None:
        return query
    return query.where(Batch.id >= start.batch_id if is_rising else Batch.id <= start.batch_id)


def _has_one(state: State) -> ColumnElement[bool]:
    """Return the condition that a batch has an invitation in a state.

    A scalar subquery, because PostgreSQL turns EXISTS into a join that may read every batch completely; and one for
    each state, because MariaDB would read the whole batch for several.
    """
    one = select(Invitation.id).where(Invitation.batch_id == Batch.id, Invitation.state == state).limit(1)
    is_there: ColumnElement[bool] = one.correlate(Batch).scalar_subquery().is_not(None)
    return is_there


def _of_batch(wanted: StatusFilter) -> list[ColumnElement[bool]]:
    conditions = [] if wanted.batch_id is None else [Batch.id == wanted.batch_id]
    # An invitation cannot have changed before its batch was created.
    return conditions + ([] if wanted.until is None else [Batch.created_at < wanted.until])


def page_of(
    dialect: str, batch_id: int, wanted: StatusFilter, start: Position | None, size: int, *, is_rising: bool
) -> Select[Any]:
    """Return the query for the next rows of a batch behind `start`: one subquery for each state, merged."""
    due, id_ = Invitation.next_attempt_at, Invitation.id
    arms = [
        _hinted(select(due, id_))
        .where(Invitation.batch_id == batch_id, Invitation.state == state, *beyond, *_rest(wanted))
        .order_by(*_ordered(due, id_, is_rising=is_rising))
        .limit(size)
        .subquery()
        for state in states_of(wanted)
        for beyond in _beyond(dialect, start, is_rising=is_rising)
    ]
    merged = union_all(*(select(arm) for arm in arms)).subquery()
    ordered = _ordered(merged.c.next_attempt_at, merged.c.id, is_rising=is_rising)
    return select(merged.c.next_attempt_at, merged.c.id).order_by(*ordered).limit(size)


def _hinted(query: Any) -> Any:
    """Force the index in MariaDB, which in a large batch would use only some of its columns."""
    for dialect in ("mysql", "mariadb"):
        query = query.with_hint(Invitation, f"FORCE INDEX ({INDEX})", dialect)
    return query


def _beyond(dialect: str, start: Position | None, *, is_rising: bool) -> list[list[ColumnElement[bool]]]:
    """Return the conditions for rows behind `start`; each of them gets a subquery of its own.

    With them each database seeks directly in the index, without reading earlier rows:

    - SQLite and MariaDB by equal terms and a range at the end; of a row value they use only the first column.
    - PostgreSQL by a row value; for equal terms its planner prefers to scan the table by id.
    """
    if start is None:
        return [[]]
    due, id_ = Invitation.next_attempt_at, Invitation.id
    if dialect == "postgresql":
        here, there = tuple_(due, id_), tuple_(literal(start.due, UTCDateTime()), literal(start.id, BigId))
        return [[here > there if is_rising else here < there]]
    if is_rising:
        return [[due == start.due, id_ > start.id], [due > start.due]]
    return [[due == start.due, id_ < start.id], [due < start.due]]


def _ordered(*columns: Any, is_rising: bool) -> Sequence[Any]:
    return columns if is_rising else [column.desc() for column in columns]


def _rest(wanted: StatusFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that no index supports: each row read is checked for them."""
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(Invitation.changed_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(Invitation.changed_at < wanted.until)
    if wanted.recipient:
        conditions.append(is_recipient(wanted))
    if wanted.reply:
        conditions.append(_is_reply(wanted.reply))
    if wanted.text:
        conditions.append(_contains(_last(Attempt.text), wanted.text))
    return conditions


def _last(column: Any) -> Any:
    """Return the last attempt's value of a column. A scalar subquery: for EXISTS MariaDB reads every attempt."""
    newest = select(func.max(Attempt.id)).where(Attempt.invitation_id == Invitation.id).correlate(Invitation)
    return select(column).where(Attempt.id == newest.scalar_subquery()).correlate(Invitation).scalar_subquery()


def _is_reply(reply: str) -> ColumnElement[bool]:
    if "." in reply:
        is_same: ColumnElement[bool] = _last(Attempt.enhanced) == reply
        return is_same
    size = 10 ** (3 - len(reply))
    is_between: ColumnElement[bool] = _last(Attempt.code).between(int(reply) * size, (int(reply) + 1) * size - 1)
    return is_between


def _contains(column: Any, part: str) -> ColumnElement[bool]:
    found: ColumnElement[bool] = func.lower(column).contains(part.lower(), autoescape=True)
    return found
