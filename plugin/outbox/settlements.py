"""What drains write: outcomes, and what a recovery makes of claims whose drain died.

Every function takes a connection inside a transaction of the caller's, which holds the relay's books already (see
`own_smtp.outbox.leases`), and commits nothing. None does network I/O.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, exists, select, update

from own_smtp.outbox.claims import claim, claimed_by, in_chunks, release, still_ours
from own_smtp.outbox.journal import Findings
from own_smtp.outbox.leases import give_back_lease, kept_pace, lock_leases, renew_lease, take_lease
from own_smtp.outbox.totals import EndedCount, add_attempts, move
from own_smtp.outbox.values import Claim, Claimed, Settlement, Taken
from own_smtp.smtp.replies.outcomes import Stage, interrupted
from own_smtp.states import WAITING, BatchState, Route, State
from own_smtp.storage.bulk import among, insert_rows
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import Attempt, Batch, Invitation, Journal

__all__ = [
    "Claim",
    "Claimed",
    "Settlement",
    "Taken",
    "claim",
    "close_journal",
    "finish_batches",
    "give_back_lease",
    "kept_pace",
    "mark_notified",
    "mark_unnotified",
    "recover",
    "release",
    "renew_lease",
    "settle",
    "take_lease",
]


def close_journal(connection: Connection, token: int) -> None:
    """Everything that the journal says is settled.

    What still carries the token was claimed in a commit whose answer got lost, so that nothing of it was sent.
    """
    relay_id = connection.scalar(select(Journal.relay_id).where(Journal.id == token))
    if relay_id is not None:
        release(connection, token, list(claimed_by(connection, relay_id, token)))
        connection.execute(delete(Journal).where(Journal.id == token))


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
    for batch_id, number in Counter(item.batch_id for item in lost).items():
        move(connection, batch_id, {State.UNKNOWN: -number})
    return lost


def _settle_again(
    connection: Connection, token: int, items: list[Settlement], values: dict[str, Any]
) -> list[Settlement]:
    found = _ours(connection, token, items, State.SENDING)
    statement = (
        update(Invitation)
        .where(Invitation.id == bindparam("of"), Invitation.token == token, Invitation.state == State.SENDING)
        .values(
            state=State.QUEUED,
            attempts=Invitation.attempts + 1,
            next_attempt_at=bindparam("next_at"),
            first_failure_at=bindparam("first_at"),
            **values,
        )
    )
    rows = [
        {"of": item.invitation_id, "next_at": item.next_attempt_at, "first_at": item.first_failure_at} for item in found
    ]
    if rows:
        connection.execute(statement, rows)
    return found


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


# Recovery


_LOST = "The machine that was sending it was lost."
_KILLED = "The worker was stopped between the end of the message and the server's answer."


def recover(
    connection: Connection,
    journal: Journal,
    findings: Findings | None,
    settled: Iterable[Settlement],
    *,
    tells_host: bool,
) -> None:
    """Settle what a dead drain had claimed, and end its lease. Call it behind `take_over_journal`.

    `findings` is what its journal says; `None` means that the journal is lost: then each of its messages may have
    been sent, and becomes `unknown`. `settled` are the outcomes that the journal knows.
    """
    taken = Taken(
        relay_id=journal.relay_id,
        token=journal.id,
        journal=journal.name,
        at=journal.opened_at,
        failures=0,
        failing_since=None,
        pace=None,
    )
    claimed = claimed_by(connection, journal.relay_id, journal.id)
    known = [item._replace(batch_id=claimed[item.invitation_id]) for item in settled if item.invitation_id in claimed]
    unsure = claimed.keys() if findings is None else claimed.keys() & findings.begun
    now = read_clock(connection)
    lost = interrupted(Stage.MESSAGE, _LOST if findings is None else _KILLED)
    route = Route(journal.route)
    unknown = [
        Settlement.of(invitation_id, claimed[invitation_id], lost, now.timestamp(), route)
        for invitation_id in sorted(unsure)
    ]
    if tells_host:
        _mark_unheard(connection, journal, findings)
    settle(connection, taken, [*known, *unknown], tells_host=tells_host)
    # A process that stalled and was taken for dead finds that its token is worth nothing any more.
    give_back_lease(connection, taken, {"token": 0})
    close_journal(connection, journal.id)


def _mark_unheard(connection: Connection, journal: Journal, findings: Findings | None) -> None:
    """What the drain settled itself, the host may not have heard of: its journal says so, or is lost."""
    if findings is not None:
        mark_unnotified(connection, journal.id, sorted(findings.ended.keys() - findings.told))
        return
    batches = select(Batch.id).where(Batch.relay_id == journal.relay_id, Batch.state != BatchState.DONE)
    connection.execute(
        update(Invitation)
        .where(Invitation.batch_id.in_(batches.scalar_subquery()), Invitation.token == journal.id)
        .where(Invitation.state != State.SENDING)
        .values(untold_since=db_now())
    )
