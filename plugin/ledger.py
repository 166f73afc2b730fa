"""What drains write: leases, claims, outcomes, recovery. The only writer of leases and of a claimed invitation.

Every function takes a connection inside a transaction of the caller's and commits nothing. None does network I/O.

An invitation is *claimed* by the drain's token when it is loaded, many in one commit. From then on only that drain, or
the recovery of its journal, may change it: whatever another worker, machine or stalled process believes, its writes
find no row. That makes a claim the mark that must stand before a final dot is written.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Insert, delete, exists, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from own_smtp.clock import db_now, read_clock
from own_smtp.errors import LeaseLostError
from own_smtp.journal import Findings, Machine
from own_smtp.models import Attempt, Batch, Invitation, Journal, Lease, Relay
from own_smtp.outcomes import Stage, interrupted
from own_smtp.profiles import Outcome
from own_smtp.states import BatchState, RelayState, Route, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A relay's lease, just taken."""

    relay_id: int
    token: int
    journal: str
    """The name of its journal."""
    at: datetime
    """The database's time when it was taken."""
    failures: int
    """Consecutive failures to get a usable connection."""
    failing_since: datetime | None
    pace: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Claimed:
    """An invitation that a drain may send now, and nobody else."""

    id: int
    batch_id: int
    reference: str
    address: str
    name: str
    values: dict[str, str] | None
    override: dict[str, Any] | None
    attempts: int
    first_failure_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one look into the outbox brought."""

    at: datetime
    """The database's time."""
    revision: int
    """The relay's; another one than before means that its configuration changed."""
    is_active: bool
    invitations: list[Claimed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What one attempt came to, ready to be written."""

    invitation_id: int
    state: State
    outcome: Outcome
    at: datetime
    next_attempt_at: datetime | None = None
    """Given when `state` is `queued`."""
    first_failure_at: datetime | None = None
    route: Route = Route.RELAY


def inserted_id(connection: Connection, statement: Insert) -> int:
    """Insert one row and return its id."""
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


# Leases


def take_lease(
    connection: Connection, relay_id: int, *, owner: str, machine: Machine, duration: timedelta
) -> Taken | None:
    """Become the only drain of a relay, or return `None` when another one is, or when it must rest for now."""
    now = read_clock(connection)
    lease = connection.execute(select(Lease.expires_at, Lease.wake_at).where(Lease.relay_id == relay_id)).first()
    if lease is None:
        _create_lease(connection, relay_id)
    elif not _is_free(lease.expires_at, lease.wake_at, now):
        return None
    name = secrets.token_hex(16)
    opened = insert(Journal).values(
        relay_id=relay_id, machine=machine.name, name=name, boot=machine.boot, opened_at=now
    )
    token = inserted_id(connection, opened)
    free = or_(Lease.expires_at.is_(None), Lease.expires_at < now)
    rested = or_(Lease.wake_at.is_(None), Lease.wake_at <= now)
    taken = connection.execute(
        update(Lease)
        .where(Lease.relay_id == relay_id, free, rested)
        .values(token=token, owner=owner, expires_at=now + duration)
    )
    if taken.rowcount == 0:
        connection.execute(delete(Journal).where(Journal.id == token))
        return None
    kept = connection.execute(
        select(Lease.failures, Lease.failing_since, Lease.pace).where(Lease.relay_id == relay_id)
    ).one()
    return Taken(relay_id=relay_id, token=token, journal=name, at=now, **kept._mapping)


def _is_free(expires_at: datetime | None, wake_at: datetime | None, now: datetime) -> bool:
    return (expires_at is None or expires_at < now) and (wake_at is None or wake_at <= now)


def _create_lease(connection: Connection, relay_id: int) -> None:
    try:
        with connection.begin_nested():
            connection.execute(insert(Lease).values(relay_id=relay_id))
    except IntegrityError:
        pass  # another worker was quicker


def renew_lease(connection: Connection, taken: Taken, duration: timedelta, pace: dict[str, Any] | None) -> datetime:
    """Stay the only drain for `duration` from now, and return the database's time. Raises `LeaseLostError`."""
    now = read_clock(connection)
    renewed = connection.execute(
        update(Lease)
        .where(Lease.relay_id == taken.relay_id, Lease.token == taken.token)
        .values(expires_at=now + duration, pace=pace)
    )
    if renewed.rowcount == 0:
        raise LeaseLostError(f"Relay {taken.relay_id} is drained by another worker now.")
    return now


def give_back_lease(connection: Connection, taken: Taken, values: dict[str, Any]) -> None:
    """End the drain: `values` are the columns of the lease that it leaves behind (pace, wake_at, failures ...)."""
    connection.execute(
        update(Lease)
        .where(Lease.relay_id == taken.relay_id, Lease.token == taken.token)
        .values(expires_at=None, owner=None, drained_at=db_now(), **values)
    )


def close_journal(connection: Connection, token: int) -> None:
    """Everything that the journal says is settled."""
    connection.execute(delete(Journal).where(Journal.id == token))


def kept_pace(connection: Connection, relay_id: int) -> dict[str, Any] | None:
    """Return what the last drain left of the relay's pace."""
    return connection.execute(select(Lease.pace).where(Lease.relay_id == relay_id)).scalar_one_or_none()


# Claims


def claim(connection: Connection, taken: Taken, count: int, *, after_batch: int = 0) -> Claim:
    """Claim up to `count` invitations that are due, urgent ones first, then fairly from every open batch.

    Call it behind `renew_lease` in the same transaction: the lease's row keeps a successor out until the commit.
    `after_batch` is the batch served last; the next one comes first now. An invitation is claimed once by a drain,
    unless it was released, so that the journal never has two fates for it.
    """
    now = read_clock(connection)
    relay = connection.execute(
        select(Relay.revision, Relay.state, Relay.deleted_at).where(Relay.id == taken.relay_id)
    ).first()
    if relay is None or relay.deleted_at is not None or relay.state != RelayState.ACTIVE:
        return Claim(now, relay.revision if relay else 0, False, [])
    found = _find_due(connection, taken, count, after_batch, now)
    return Claim(now, relay.revision, True, _mark(connection, taken.token, found, now))


def _find_due(connection: Connection, taken: Taken, count: int, after_batch: int, now: datetime) -> list[Claimed]:
    batches = connection.execute(
        select(Batch.id, Batch.is_urgent)
        .where(Batch.relay_id == taken.relay_id, Batch.state == BatchState.OPEN)
        .order_by(Batch.is_urgent.desc(), Batch.id <= after_batch, Batch.id)
        .limit(2000)
    ).all()
    found: list[Claimed] = []
    for position, batch in enumerate(batches):
        left = count - len(found)
        if left <= 0:
            break
        share = left if batch.is_urgent else -(-left // (len(batches) - position))
        found += _due_in_batch(connection, taken.token, batch.id, share, now)
    return found


def _due_in_batch(connection: Connection, token: int, batch_id: int, count: int, now: datetime) -> list[Claimed]:
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
        .where(
            Invitation.batch_id == batch_id,
            Invitation.state == State.QUEUED,
            Invitation.next_attempt_at <= now,
            or_(Invitation.token.is_(None), Invitation.token != token),
        )
        .order_by(Invitation.next_attempt_at, Invitation.id)
        .limit(count)
    )
    return [Claimed(*row) for row in rows]


def _mark(connection: Connection, token: int, found: list[Claimed], now: datetime) -> list[Claimed]:
    if not found:
        return []
    ids = [invitation.id for invitation in found]
    marked = connection.execute(
        update(Invitation)
        .where(Invitation.id.in_(ids), Invitation.state == State.QUEUED)
        .values(state=State.SENDING, token=token, changed_at=now)
    )
    if marked.rowcount == len(found):
        return found
    # Somebody cancelled some of them between the two statements.
    mine = set(
        connection.scalars(
            select(Invitation.id).where(
                Invitation.id.in_(ids), Invitation.token == token, Invitation.state == State.SENDING
            )
        )
    )
    return [invitation for invitation in found if invitation.id in mine]


def release(connection: Connection, token: int, ids: Sequence[int]) -> None:
    """Give claimed invitations back, of which no end was written."""
    for some in _in_chunks(ids):
        connection.execute(
            update(Invitation)
            .where(Invitation.id.in_(some), Invitation.token == token, Invitation.state == State.SENDING)
            .values(state=State.QUEUED, token=None)
        )


# Outcomes


def settle(connection: Connection, taken: Taken, settlements: Sequence[Settlement], *, tells_host: bool) -> None:
    """Write what became of claimed invitations, and an attempt for each.

    An invitation that a recovery took for `unknown` in the meantime gets its true outcome all the same: it still
    carries the token.
    """
    if not settlements:
        return
    now = read_clock(connection)
    connection.execute(insert(Attempt), [_attempt(taken.relay_id, item) for item in settlements])
    told = {"untold_since": now} if tells_host else {}
    by_state: dict[State, list[Settlement]] = defaultdict(list)
    for item in settlements:
        by_state[item.state].append(item)
    for item in by_state.pop(State.QUEUED, []):
        _settle_one(connection, taken.token, item, now, told)
    for state, items in by_state.items():
        _settle_alike(connection, taken.token, state, items, {"changed_at": now, **told})


def _attempt(relay_id: int, item: Settlement) -> dict[str, Any]:
    reply = item.outcome.reply
    return {
        "invitation_id": item.invitation_id,
        "relay_id": relay_id,
        "at": item.at,
        "state": item.state,
        "route": item.route,
        "stage": item.outcome.stage,
        "code": reply.code if reply else None,
        "enhanced": reply.enhanced if reply else None,
        "text": item.outcome.words[:500],
        "server": item.outcome.server,
    }


def _settle_alike(
    connection: Connection, token: int, state: State, items: list[Settlement], values: dict[str, Any]
) -> None:
    for some in _in_chunks([item.invitation_id for item in items]):
        connection.execute(
            update(Invitation)
            .where(
                Invitation.id.in_(some),
                Invitation.token == token,
                Invitation.state.in_([State.SENDING, State.UNKNOWN]),
            )
            .values(state=state, attempts=Invitation.attempts + 1, **values)
        )


def _settle_one(connection: Connection, token: int, item: Settlement, now: datetime, told: dict[str, Any]) -> None:
    connection.execute(
        update(Invitation)
        .where(Invitation.id == item.invitation_id, Invitation.token == token, Invitation.state == State.SENDING)
        .values(
            state=State.QUEUED,
            attempts=Invitation.attempts + 1,
            next_attempt_at=item.next_attempt_at,
            first_failure_at=item.first_failure_at,
            changed_at=now,
            **told,
        )
    )


def mark_told(connection: Connection, ids_by_state: dict[State, list[int]]) -> None:
    """The host knows of these states. One that changed again in the meantime is told again."""
    for state, ids in ids_by_state.items():
        for some in _in_chunks(ids):
            connection.execute(
                update(Invitation).where(Invitation.id.in_(some), Invitation.state == state).values(untold_since=None)
            )


def finish_batches(connection: Connection, relay_id: int) -> None:
    """Close the open batches that nothing waits in any more, and cancel what came back into cancelled ones."""
    waiting = exists().where(Invitation.batch_id == Batch.id, Invitation.state.in_([State.QUEUED, State.SENDING]))
    connection.execute(
        update(Batch)
        .where(Batch.relay_id == relay_id, Batch.state == BatchState.OPEN, ~waiting)
        .values(state=BatchState.DONE)
    )


# Recovery


def open_journals(connection: Connection) -> list[Journal]:
    """Return the journals of all drains that run or died, oldest first."""
    columns = (Journal.id, Journal.relay_id, Journal.machine, Journal.name, Journal.boot, Journal.opened_at)
    rows = connection.execute(select(*columns).order_by(Journal.id))
    return [Journal(**row._mapping) for row in rows]


def take_over_journal(connection: Connection, token: int) -> bool:
    """Whether the journal is still open; keeps other recoveries of it out until the transaction ends."""
    return connection.execute(update(Journal).where(Journal.id == token).values(machine=Journal.machine)).rowcount == 1


def has_live_lease(connection: Connection, journal: Journal, now: datetime) -> bool:
    """Whether the journal's drain is the present one of its relay, as far as the database knows."""
    lease = connection.execute(select(Lease.token, Lease.expires_at).where(Lease.relay_id == journal.relay_id)).first()
    return lease is not None and lease.token == journal.id and lease.expires_at is not None and lease.expires_at > now


def recover(
    connection: Connection,
    journal: Journal,
    findings: Findings | None,
    settled: Iterable[Settlement],
    *,
    tells_host: bool,
) -> None:
    """Settle what a dead drain had claimed, and end its lease.

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
    claimed = set(_claimed_by(connection, journal))
    known = [item for item in settled if item.invitation_id in claimed]
    unsure = claimed if findings is None else claimed & findings.begun
    now = read_clock(connection)
    text = "The machine that was sending it was lost." if findings is None else _KILLED
    lost = interrupted(Stage.MESSAGE, text)
    unknown = [Settlement(invitation_id=id_, state=State.UNKNOWN, outcome=lost, at=now) for id_ in sorted(unsure)]
    settle(connection, taken, [*known, *unknown], tells_host=tells_host)
    release(connection, journal.id, sorted(claimed - unsure - {item.invitation_id for item in known}))
    # A process that stalled and was taken for dead finds that its token is worth nothing any more.
    give_back_lease(connection, taken, {"token": 0})
    close_journal(connection, journal.id)


_KILLED = "The worker was stopped between the end of the message and the server's answer."


def _claimed_by(connection: Connection, journal: Journal) -> list[int]:
    return list(
        connection.scalars(
            select(Invitation.id)
            .join(Batch, Batch.id == Invitation.batch_id)
            .where(
                Batch.relay_id == journal.relay_id,
                Batch.state != BatchState.DONE,
                Invitation.state == State.SENDING,
                Invitation.token == journal.id,
            )
        )
    )


def _in_chunks(ids: Sequence[int], size: int = 500) -> Iterable[Sequence[int]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
