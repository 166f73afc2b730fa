"""Relay alerts: detect causes that are new or over, and notify once for each.

A table records the alerts, so that neither a restart nor a second machine sends one twice: a process claims an alert's
row, in a commit of its own, before it sends the message. If that process crashes, a later round retries.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum, auto
from typing import Any

from sqlalchemy import Connection, Select, delete, or_, select, update

from own_smtp.hooks.events import RelayAlert
from own_smtp.operations.relay_events import NOTIFY_AGAIN_AFTER, has_overdue_events, notify_overdue_events
from own_smtp.runtime import Runtime
from own_smtp.settings import Settings
from own_smtp.states import AlertCause, BatchState, RelayState, State
from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import Alert, Batch, Invitation, Lease, Relay


class Verdict(StrEnum):
    """The state of one cause at a relay."""

    PRESENT = auto()
    ABSENT = auto()
    UNDECIDED = auto()
    """Cannot be decided now; the recorded alert stays."""
    IRRELEVANT = auto()
    """Covered by other messages: the relay is paused, or a person is responsible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySnapshot:
    """A relay at one moment, as alerts need it."""

    now: datetime
    relay_id: int
    tenant_id: str
    label: str
    address: str | None
    """The address of the person who last saved it."""
    state: str
    is_pinned: bool
    """Whether it trusts one certificate by fingerprint: the expiry does not matter then."""
    failing_since: datetime | None
    last_success_at: datetime | None
    last_error: str | None
    wake_at: datetime | None
    certificate_until: datetime | None
    overdue_since: datetime | None
    """Due time of the invitation that has waited longest, if that is too long ago; else `None`."""


def judge(seen: RelaySnapshot, settings: Settings) -> dict[AlertCause, Verdict]:
    """Return the state of each cause."""
    return {
        AlertCause.UNREACHABLE: _unreachable(seen, settings),
        AlertCause.QUEUE: _queue(seen, settings),
        AlertCause.CERTIFICATE: _certificate(seen, settings),
    }


def _unreachable(seen: RelaySnapshot, settings: Settings) -> Verdict:
    if seen.state != RelayState.ACTIVE:
        return Verdict.IRRELEVANT  # pauses and resumptions have messages of their own
    if seen.failing_since is None:
        return Verdict.ABSENT
    return Verdict.PRESENT if seen.failing_since <= seen.now - settings.failure_warning else Verdict.UNDECIDED


def _queue(seen: RelaySnapshot, settings: Settings) -> Verdict:
    if seen.state == RelayState.PAUSED:
        return Verdict.IRRELEVANT
    if seen.overdue_since is None:
        return Verdict.ABSENT
    if seen.failing_since is not None or (seen.wake_at is not None and seen.wake_at > seen.now):
        return Verdict.UNDECIDED  # covered by "unreachable", or by limits and windows that the tenant set
    has_moved = seen.last_success_at is not None and seen.last_success_at > seen.now - settings.queue_warning
    return Verdict.ABSENT if has_moved else Verdict.PRESENT


def _certificate(seen: RelaySnapshot, settings: Settings) -> Verdict:
    if seen.is_pinned or seen.certificate_until is None:
        return Verdict.IRRELEVANT
    return Verdict.PRESENT if seen.certificate_until <= seen.now + settings.certificate_warning else Verdict.ABSENT


# Rounds


def has_alerts(runtime: Runtime) -> bool:
    """Check all relays, record new alerts, and return whether there is any alert to send or to end."""
    with runtime.engine.connect() as connection:
        if has_overdue_events(connection):
            return True
    return any(
        verdict is not Verdict.UNDECIDED and not (verdict is Verdict.PRESENT and row.told_at)
        for row, _snapshot, verdict in _judged_alerts(runtime)
    )


def send_alerts(runtime: Runtime) -> int:
    """Check all relays and send new alerts. Return how many messages were handed over.

    Takes as long as the platform's mail server or the host's hook does.
    """
    return notify_overdue_events(runtime) + sum(_notify(runtime, *found) for found in _judged_alerts(runtime))


def _judged_alerts(runtime: Runtime) -> list[tuple[Any, RelaySnapshot | None, Verdict]]:
    """Return each recorded alert with its relay and the state of its cause."""
    with runtime.engine.begin() as connection:
        relays = {seen.relay_id: seen for seen in _snapshots(connection, runtime.settings)}
        _record_new(connection, relays.values(), runtime.settings)
        alerts = connection.execute(select(Alert.id, Alert.relay_id, Alert.cause, Alert.raised_at, Alert.told_at)).all()
    found = [(row, relays.get(row.relay_id)) for row in alerts]
    return [
        (row, seen, judge(seen, runtime.settings)[AlertCause(row.cause)] if seen else Verdict.IRRELEVANT)
        for row, seen in found
    ]


def _record_new(connection: Connection, relays: Iterable[RelaySnapshot], settings: Settings) -> None:
    for seen in relays:
        for cause, verdict in judge(seen, settings).items():
            if verdict is Verdict.PRESENT:
                row = insert_or_pass(connection, Alert, ["relay_id", "cause"])
                connection.execute(row.values(relay_id=seen.relay_id, cause=cause, raised_at=seen.now))


def _notify(runtime: Runtime, row: Any, seen: RelaySnapshot | None, verdict: Verdict) -> bool:
    """Notify of an alert, or of its end, unless another machine did. Return whether a message was handed over."""
    if verdict is Verdict.PRESENT:
        return seen is not None and row.told_at is None and _notify_new(runtime, row, seen)
    if verdict is Verdict.UNDECIDED:
        return False
    with runtime.engine.begin() as connection:
        is_ours = connection.execute(delete(Alert).where(Alert.id == row.id)).rowcount == 1
    if not is_ours or seen is None or verdict is Verdict.IRRELEVANT or row.told_at is None:
        return False
    return _hand_over(runtime, _alert(row, seen, is_over=True))


def _notify_new(runtime: Runtime, row: Any, seen: RelaySnapshot) -> bool:
    with runtime.engine.begin() as connection:
        now = read_clock(connection)
        is_free = or_(Alert.taken_at.is_(None), Alert.taken_at < now - NOTIFY_AGAIN_AFTER)
        unnotified = (Alert.id == row.id, Alert.told_at.is_(None))
        taken = connection.execute(update(Alert).where(*unnotified, is_free).values(taken_at=now))
    if taken.rowcount == 0:
        return False
    is_notified = _hand_over(runtime, _alert(row, seen, is_over=False))
    with runtime.engine.begin() as connection:
        ended = {"told_at": db_now()} if is_notified else {"taken_at": None}  # the next round retries
        connection.execute(update(Alert).where(Alert.id == row.id).values(**ended))
    return is_notified


def _hand_over(runtime: Runtime, alert: RelayAlert) -> bool:
    with runtime.context():
        return runtime.listener.relay_alerted(alert)


def _alert(row: Any, seen: RelaySnapshot, *, is_over: bool) -> RelayAlert:
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


def _snapshots(connection: Connection, settings: Settings) -> list[RelaySnapshot]:
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
    return [_snapshot(row, now, overdue.get(row.id)) for row in rows]


def _snapshot(row: Any, now: datetime, overdue_since: datetime | None) -> RelaySnapshot:
    return RelaySnapshot(
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
    """Return the relays with invitations that were due before, and the earliest due time."""
    found: dict[int, datetime] = {}
    for relay_id, since in connection.execute(overdue_waits(before)):
        found[relay_id] = min(found.get(relay_id, since), since)
    return found


def overdue_waits(before: datetime) -> Select[Any]:
    """Return the query for them: one index lookup for each open batch, however many invitations wait."""
    # A scalar subquery: PostgreSQL turns EXISTS into a join that may read all waiting invitations of every batch.
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
