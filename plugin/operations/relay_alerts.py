"""Looks after relays: what is wrong with one now that was not before, and what is right again.

One message for each cause, and one when it is over. What was told is kept in a table, so that neither a restart nor a
second machine tells it twice: whoever sends a message takes its row first, in a commit of its own. Whoever dies at it
leaves it to the next look but a few.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Any

from sqlalchemy import Connection, Select, delete, or_, select, update

from own_smtp.hooks.events import RelayAlert
from own_smtp.operations.relay_events import TOLD_WITHIN, are_overdue, notify_overdue_events
from own_smtp.runtime import Runtime
from own_smtp.settings import Settings
from own_smtp.states import AlertCause, BatchState, RelayState, State
from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import Alert, Batch, Invitation, Lease, Relay


class Verdict(StrEnum):
    """What a look at a relay says of one cause."""

    WRONG = auto()
    RIGHT = auto()
    OPEN = auto()
    """It cannot be said now; what was said before stands."""
    MOOT = auto()
    """Something else says more: a pause, or the tenant's own hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A relay at one moment, as far as alerts are concerned."""

    now: datetime
    relay_id: int
    tenant_id: str
    label: str
    address: str | None
    """Of the person who last saved it."""
    state: str
    is_pinned: bool
    """Whether one certificate is trusted by its fingerprint: its end does not matter then."""
    failing_since: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    wake_at: datetime | None
    certificate_until: datetime | None
    overdue_since: datetime | None
    """Since when the invitation is due that has waited longest, if that is too long; else `None`."""


def judge(seen: Seen, settings: Settings) -> dict[AlertCause, Verdict]:
    """Say of each cause whether it is there."""
    return {
        AlertCause.UNREACHABLE: _unreachable(seen, settings),
        AlertCause.QUEUE: _queue(seen, settings),
        AlertCause.CERTIFICATE: _certificate(seen, settings),
    }


def _unreachable(seen: Seen, settings: Settings) -> Verdict:
    if seen.state != RelayState.ACTIVE:
        return Verdict.MOOT  # a pause has a message of its own, and an all-clear
    if seen.failing_since is None:
        return Verdict.RIGHT
    return Verdict.WRONG if seen.failing_since <= seen.now - settings.failure_warning else Verdict.OPEN


def _queue(seen: Seen, settings: Settings) -> Verdict:
    if seen.state == RelayState.PAUSED:
        return Verdict.MOOT
    if seen.overdue_since is None:
        return Verdict.RIGHT
    if seen.failing_since is not None or (seen.wake_at is not None and seen.wake_at > seen.now):
        return Verdict.OPEN  # unreachable says it; or limits and hours that the tenant set
    has_moved = seen.last_success_at is not None and seen.last_success_at > seen.now - settings.queue_warning
    return Verdict.RIGHT if has_moved else Verdict.WRONG


def _certificate(seen: Seen, settings: Settings) -> Verdict:
    if seen.is_pinned or seen.certificate_until is None:
        return Verdict.MOOT
    return Verdict.WRONG if seen.certificate_until <= seen.now + settings.certificate_warning else Verdict.RIGHT


# A round


def has_events(runtime: Runtime) -> bool:
    """Look at all relays, put on record what is wrong, and return whether there is anything to tell or to end."""
    with runtime.engine.connect() as connection:
        if are_overdue(connection):
            return True
    return any(
        verdict is not Verdict.OPEN and not (verdict is Verdict.WRONG and row.told_at)
        for row, _seen, verdict in _look(runtime)
    )


def look_after(runtime: Runtime) -> int:
    """Look at all relays, and tell what is new. Return how many messages were handed over.

    That may take as long as the platform's mail service or the host's hook does.
    """
    return notify_overdue_events(runtime) + sum(_notify(runtime, *found) for found in _look(runtime))


def _look(runtime: Runtime) -> list[tuple[Any, Seen | None, Verdict]]:
    """Return each alert on record with what its relay is like now, and what that says of it."""
    with runtime.engine.begin() as connection:
        relays = {seen.relay_id: seen for seen in _see(connection, runtime.settings)}
        _raise(connection, relays.values(), runtime.settings)
        alerts = connection.execute(select(Alert.id, Alert.relay_id, Alert.cause, Alert.raised_at, Alert.told_at)).all()
    found = [(row, relays.get(row.relay_id)) for row in alerts]
    return [
        (row, seen, judge(seen, runtime.settings)[AlertCause(row.cause)] if seen else Verdict.MOOT)
        for row, seen in found
    ]


def _raise(connection: Connection, relays: Iterable[Seen], settings: Settings) -> None:
    for seen in relays:
        for cause, verdict in judge(seen, settings).items():
            if verdict is Verdict.WRONG:
                row = insert_or_pass(connection, Alert, ["relay_id", "cause"])
                connection.execute(row.values(relay_id=seen.relay_id, cause=cause, raised_at=seen.now))


def _notify(runtime: Runtime, row: Any, seen: Seen | None, verdict: Verdict) -> bool:
    """Tell one alert, or that it is over, unless another machine did. Return whether a message was handed over."""
    if verdict is Verdict.WRONG:
        return seen is not None and row.told_at is None and _tell_new(runtime, row, seen)
    if verdict is Verdict.OPEN:
        return False
    with runtime.engine.begin() as connection:
        is_ours = connection.execute(delete(Alert).where(Alert.id == row.id)).rowcount == 1
    if not is_ours or seen is None or verdict is Verdict.MOOT or row.told_at is None:
        return False
    return _hand_over(runtime, _alert(row, seen, is_over=True))


def _tell_new(runtime: Runtime, row: Any, seen: Seen) -> bool:
    with runtime.engine.begin() as connection:
        now = read_clock(connection)
        is_free = or_(Alert.taken_at.is_(None), Alert.taken_at < now - TOLD_WITHIN)
        unnotified = (Alert.id == row.id, Alert.told_at.is_(None))
        taken = connection.execute(update(Alert).where(*unnotified, is_free).values(taken_at=now))
    if taken.rowcount == 0:
        return False
    is_told = _hand_over(runtime, _alert(row, seen, is_over=False))
    with runtime.engine.begin() as connection:
        ended = {"told_at": db_now()} if is_told else {"taken_at": None}  # then the next round tries again
        connection.execute(update(Alert).where(Alert.id == row.id).values(**ended))
    return is_told


def _hand_over(runtime: Runtime, alert: RelayAlert) -> bool:
    with runtime.context():
        return runtime.listener.relay_alerted(alert)


def _alert(row: Any, seen: Seen, *, is_over: bool) -> RelayAlert:
    since = {
        AlertCause.UNREACHABLE: seen.failing_since,
        AlertCause.QUEUE: seen.overdue_since,
        AlertCause.CERTIFICATE: seen.certificate_until,
    }
    cause = AlertCause(row.cause)
    return RelayAlert(
        relay_id=seen.relay_id,
        tenant_id=seen.tenant_id,
        label=seen.label,
        cause=cause,
        at=since[cause] or row.raised_at,
        is_over=is_over,
        reason=seen.last_error if cause is AlertCause.UNREACHABLE and not is_over else None,
        address=seen.address,
    )


def _see(connection: Connection, settings: Settings) -> list[Seen]:
    now = read_clock(connection)
    overdue = _overdue(connection, now - settings.queue_warning)
    rows = connection.execute(
        select(
            Relay.id,
            Relay.tenant_id,
            Relay.label,
            Relay.state,
            Relay.fingerprint,
            Relay.saved_by_address,
            Lease.failing_since,
            Lease.last_success_at,
            Lease.last_error,
            Lease.wake_at,
            Lease.certificate_until,
        )
        .outerjoin(Lease, Lease.relay_id == Relay.id)
        .where(Relay.deleted_at.is_(None))
    )
    return [_seen(row, now, overdue.get(row.id)) for row in rows]


def _seen(row: Any, now: datetime, overdue_since: datetime | None) -> Seen:
    return Seen(
        now=now,
        relay_id=row.id,
        tenant_id=row.tenant_id,
        label=row.label,
        address=row.saved_by_address,
        state=row.state,
        is_pinned=row.fingerprint is not None,
        failing_since=row.failing_since,
        last_success_at=row.last_success_at,
        last_error=row.last_error,
        wake_at=row.wake_at,
        certificate_until=row.certificate_until,
        overdue_since=overdue_since,
    )


def _overdue(connection: Connection, before: datetime) -> dict[int, datetime]:
    """Return the relays for which something waits that was due before, and since when it is."""
    found: dict[int, datetime] = {}
    for relay_id, since in connection.execute(overdue_waits(before)):
        found[relay_id] = min(found.get(relay_id, since), since)
    return found


def overdue_waits(before: datetime) -> Select[Any]:
    """Return the query for it: a look into the index for each open batch, however much waits there."""
    # A scalar subquery, because PostgreSQL turns EXISTS into a join that may read all that waits in every batch.
    first = (
        select(Invitation.next_attempt_at)
        .where(Invitation.batch_id == Batch.id, Invitation.state == State.QUEUED)
        .order_by(Invitation.next_attempt_at)
        .limit(1)
        .correlate(Batch)
        .scalar_subquery()
    )
    columns: tuple[Any, ...] = (Batch.relay_id, first.label("since"))
    return select(*columns).where(Batch.state == BatchState.OPEN, first <= before)
