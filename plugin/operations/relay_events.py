"""Relay events caused by a drain: paused, resumed, platform fallback started.

An event is written in the transaction that makes it true, and deleted once the host, or the mail to the relay's owner,
has accepted it. After a crash or a failure in between, a later round notifies: once, unless the process died between
the notification and the deletion.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select, update
from sqlalchemy.exc import DBAPIError

from own_smtp.hooks.events import RelayChange
from own_smtp.relays import store
from own_smtp.runtime import Runtime
from own_smtp.states import RelayState
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Notice, Relay

log = logging.getLogger(__name__)

NOTIFY_AGAIN_AFTER = timedelta(minutes=5)
"""After this, a notification counts as failed and is retried."""


class RelayEventKind(StrEnum):
    """The kinds of events."""

    PAUSED = auto()
    RESUMED = auto()
    FALLING_BACK = auto()


def write_notice(connection: Connection, relay_id: int, kind: RelayEventKind) -> None:
    """Record an event; the caller notifies after the commit. The caller must hold the relay's lease."""
    connection.execute(delete(Notice).where(*_is(relay_id, kind)))
    connection.execute(insert(Notice).values(relay_id=relay_id, kind=kind, taken_at=read_clock(connection)))


def notify_owner(runtime: Runtime, relay_id: int, kind: RelayEventKind) -> bool:
    """Notify of the event if it still applies, outside any transaction. Return whether it applied and was accepted."""
    with runtime.engine.connect() as connection:
        change = _change(connection, relay_id, kind)
    if change is not None:
        with runtime.context():
            if not runtime.listener.relay_changed(change):
                return False
    with runtime.engine.begin() as connection:
        connection.execute(delete(Notice).where(*_is(relay_id, kind)))
    return change is not None


def notify_now(runtime: Runtime, relay_id: int, kind: RelayEventKind) -> None:
    """Notify of an event that was written just now. After a database error a later round does it."""
    try:
        notify_owner(runtime, relay_id, kind)
    except DBAPIError as error:
        log.warning(
            "The notification about relay %s is postponed: %s",
            relay_id,
            type(error).__name__,
            extra={"relay_id": relay_id},
        )


def has_overdue_events(connection: Connection) -> bool:
    """Whether there are overdue events."""
    return bool(connection.scalar(select(exists().where(Notice.taken_at < _in_time(connection)))))


def notify_overdue_events(runtime: Runtime) -> int:
    """Notify of overdue events; return their number."""
    with runtime.engine.connect() as connection:
        rows = connection.execute(select(Notice.__table__).where(Notice.taken_at < _in_time(connection))).all()
    return sum(_claim(runtime, row) and notify_owner(runtime, row.relay_id, RelayEventKind(row.kind)) for row in rows)


def _in_time(connection: Connection) -> datetime:
    return read_clock(connection) - NOTIFY_AGAIN_AFTER


def _claim(runtime: Runtime, row: Any) -> bool:
    """Claim the notification; `False` when another process did."""
    as_seen = (*_is(row.relay_id, row.kind), Notice.taken_at == row.taken_at)
    with runtime.engine.begin() as connection:
        taken = connection.execute(update(Notice).where(*as_seen).values(taken_at=read_clock(connection)))
    return taken.rowcount == 1


def _is(relay_id: int, kind: str) -> tuple[ColumnElement[bool], ...]:
    return (Notice.relay_id == relay_id, Notice.kind == kind)


def _change(connection: Connection, relay_id: int, kind: RelayEventKind) -> RelayChange | None:
    """Return the change to notify of; `None` when it no longer applies."""
    relay = connection.execute(select(Relay.__table__).where(Relay.id == relay_id, Relay.deleted_at.is_(None))).first()
    if relay is None:
        return None
    change = replace(store.change_of(relay), is_automatic=True)
    if kind is RelayEventKind.FALLING_BACK:
        return replace(change, reason=None, pause_reason=None, is_falling_back=True)
    is_state = RelayState.PAUSED if kind is RelayEventKind.PAUSED else RelayState.ACTIVE
    return change if change.state == is_state else None
