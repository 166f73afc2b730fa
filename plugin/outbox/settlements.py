"""What drains write: outcomes.

Every function takes a connection inside a transaction of the caller's, which holds the relay's books already (see
`own_smtp.outbox.leases`), and commits nothing. None does network I/O.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, exists, select, update

from own_smtp.outbox.claims import claim, in_chunks, release, still_ours
from own_smtp.outbox.leases import give_back_lease, kept_pace, lock_leases, renew_lease, take_lease
from own_smtp.outbox.totals import EndedCount, add_attempts, move
from own_smtp.outbox.values import Claim, Claimed, Settlement, Taken
from own_smtp.states import WAITING, BatchState, Route, State
from own_smtp.storage.bulk import among, insert_rows
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import Attempt, Batch, Invitation

__all__ = [
    "Claim",
    "Claimed",
    "Settlement",
    "Taken",
    "claim",
    "finish_batches",
    "give_back_lease",
    "kept_pace",
    "mark_notified",
    "mark_unnotified",
    "queue_unbegun",
    "release",
    "renew_lease",
    "settle",
    "take_lease",
]


# Outcomes


def settle(connection: Connection, taken: Taken, settlements: Sequence[Settlement], *, tells_host: bool) -> None:
    """Write what became of claimed invitations, and an attempt for each. All of them went the same way.

    What is settled already, after a commit whose answer got lost, or was deleted meanwhile, is passed over. An
    invitation that a recovery took for `unknown` gets its true outcome all the same: it still carries the token.
    """
    if not settlements:
        return
    now = read_clock(connection)
    told = {"untold_since": now} if tells_host else {}
    by_state: dict[State, list[Settlement]] = defaultdict(list)
    for item in settlements:
        by_state[item.state].append(item)
    if again := by_state.pop(State.QUEUED, []):
        values = {"changed_at": now, "route": again[0].route, **told}
        by_state[State.QUEUED] = _settle_again(connection, taken.token, again, values)
    for state, items in by_state.items():
        if state is not State.QUEUED:
            values = {"state": state, "changed_at": now, "route": items[0].route, **told}
            by_state[state] = _settle_alike(connection, taken.token, items, values)
    written = [item for items in by_state.values() for item in items]
    insert_rows(connection, Attempt, _ATTEMPT, [_attempt(taken.relay_id, item) for item in written])
    ended = Counter(EndedCount(item.batch_id, item.state, item.code or 0) for item in written)
    add_attempts(connection, taken.relay_id, now, ended, by_platform=settlements[0].route is Route.PLATFORM)


_ATTEMPT = ("invitation_id", "relay_id", "at", "state", "route", "stage", "code", "enhanced", "text", "server")


def _attempt(relay_id: int, item: Settlement) -> tuple[Any, ...]:
    at = datetime.fromtimestamp(item.at, UTC)
    said = (item.stage, item.code, item.enhanced, item.words[:500], item.server)
    return (item.invitation_id, relay_id, at, item.state, item.route, *said)


def _settle_alike(
    connection: Connection, token: int, items: list[Settlement], values: dict[str, Any]
) -> list[Settlement]:
    """Settle outcomes of one state, and return those that found their invitation."""
    with connection.begin_nested() as all_of_them:
        if _end(connection, token, items, State.SENDING, values) == len(items):
            return items  # as nearly always
        all_of_them.rollback()
    found = _ours(connection, token, items, State.SENDING)
    _end(connection, token, found, State.SENDING, values)
    if len(found) == len(items) or values["state"] is State.UNKNOWN:  # which is a drain's last word, too
        return found
    return found + _correct(connection, token, items, values)


def _ours(connection: Connection, token: int, items: list[Settlement], state: State) -> list[Settlement]:
    """Return those whose invitation is in this state and still the drain's. Afterwards they look like any other."""
    ids = still_ours(connection, token, [item.invitation_id for item in items], state)
    return items if len(ids) == len(items) else [item for item in items if item.invitation_id in ids]


def _end(connection: Connection, token: int, items: list[Settlement], state: State, values: dict[str, Any]) -> int:
    return sum(
        connection.execute(
            update(Invitation)
            .where(among(connection, Invitation.id, some), Invitation.token == token, Invitation.state == state)
            .values(attempts=Invitation.attempts + 1, **values)
        ).rowcount
        for some in in_chunks([item.invitation_id for item in items])
    )


def _correct(connection: Connection, token: int, items: list[Settlement], values: dict[str, Any]) -> list[Settlement]:
    """Settle what a recovery took for `unknown`, because the drain was silent for too long."""
    lost = _ours(connection, token, items, State.UNKNOWN)
    _end(connection, token, lost, State.UNKNOWN, values)
    _take_from_unknown(connection, Counter(item.batch_id for item in lost))
    return lost


def _take_from_unknown(connection: Connection, numbers: Mapping[int, int]) -> None:
    for batch_id, number in sorted(numbers.items()):
        move(connection, batch_id, {State.UNKNOWN: -number})


def queue_unbegun(connection: Connection, token: int, ids: Sequence[int], *, tells_host: bool) -> None:
    """Let those wait again that a recovery took for `unknown`, and of which the drain now says that it began none.

    The drain was silent for so long that its machine counted as lost.
    """
    lost = sorted(still_ours(connection, token, ids, State.UNKNOWN))
    if not lost:
        return
    now = read_clock(connection)
    told = {"untold_since": now} if tells_host else {}
    numbers: Counter[int] = Counter()
    for some in in_chunks(lost):
        chosen = among(connection, Invitation.id, some)
        numbers.update(connection.scalars(select(Invitation.batch_id).where(chosen)))
        values = {"state": State.QUEUED, "token": None, "changed_at": now, **told}
        connection.execute(update(Invitation).where(chosen).values(**values))
    _take_from_unknown(connection, numbers)
    _reopen(connection, numbers)


def _reopen(connection: Connection, batches: Iterable[int]) -> None:
    """Something waits again in these, which may have been closed meanwhile."""
    for batch_id in sorted(batches):
        done = (Batch.id == batch_id, Batch.state == BatchState.DONE)
        connection.execute(update(Batch).where(*done).values(state=BatchState.OPEN))


def _settle_again(
    connection: Connection, token: int, items: list[Settlement], values: dict[str, Any]
) -> list[Settlement]:
    found = _ours(connection, token, items, State.SENDING)
    _queue_again(connection, token, found, State.SENDING, values)
    if len(found) == len(items):
        return found
    lost = _ours(connection, token, items, State.UNKNOWN)  # see `_correct`
    _queue_again(connection, token, lost, State.UNKNOWN, values)
    numbers = Counter(item.batch_id for item in lost)
    _take_from_unknown(connection, numbers)
    _reopen(connection, numbers)
    return found + lost


def _queue_again(
    connection: Connection, token: int, items: list[Settlement], state: State, values: dict[str, Any]
) -> None:
    statement = (
        update(Invitation)
        .where(Invitation.id == bindparam("of"), Invitation.token == token, Invitation.state == state)
        .values(
            state=State.QUEUED,
            attempts=Invitation.attempts + 1,
            next_attempt_at=bindparam("next_at"),
            first_failure_at=bindparam("first_at"),
            **values,
        )
    )
    rows = [
        {"of": item.invitation_id, "next_at": item.next_attempt_at, "first_at": item.first_failure_at} for item in items
    ]
    if rows:
        connection.execute(statement, rows)


def mark_unnotified(connection: Connection, token: int, ids: Sequence[int]) -> None:
    """The host must still be told what became of these, which the drain with this token settled."""
    for some in in_chunks(ids):
        connection.execute(
            update(Invitation)
            .where(among(connection, Invitation.id, some), Invitation.token == token)
            .values(untold_since=db_now())
        )


def mark_notified(connection: Connection, ids_by_state: dict[State, list[int]]) -> None:
    """The host knows of these states. One that changed again in the meantime is told again.

    Needs nothing of its caller: it holds the books by itself, and keeps them until the caller's commit.
    """
    relays: set[int] = set()
    of_invitation = select(Batch.relay_id).join(Invitation, Invitation.batch_id == Batch.id).distinct()
    for ids in ids_by_state.values():
        for some in in_chunks(ids):
            relays.update(connection.scalars(of_invitation.where(among(connection, Invitation.id, some))))
    lock_leases(connection, relays)
    for state, ids in ids_by_state.items():
        for some in in_chunks(ids):
            connection.execute(
                update(Invitation)
                .where(among(connection, Invitation.id, some), Invitation.state == state)
                .values(untold_since=None)
            )


def finish_batches(connection: Connection, relay_id: int) -> None:
    """Close the open batches that nothing waits in any more."""
    waiting = exists().where(Invitation.batch_id == Batch.id, Invitation.state.in_(WAITING))
    connection.execute(
        update(Batch)
        .where(Batch.relay_id == relay_id, Batch.state == BatchState.OPEN, ~waiting)
        .values(state=BatchState.DONE)
    )
