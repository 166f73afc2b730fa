"""News of a relay that a drain brings about: it pauses, works again, or the platform's own mail takes over.

A notice is written in the transaction that makes it true, and deleted when the host, or the mail to the relay's owner,
took it. Whatever happens in between, a look at all relays tells it a little later: once, unless the process that told
it died before it could say so.
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

TOLD_WITHIN = timedelta(minutes=5)
"""After this, whoever began to tell it is taken for dead, or for refused."""


class RelayEventKind(StrEnum):
    """What there is to tell."""

    PAUSED = auto()
    RESUMED = auto()
    FALLING_BACK = auto()


def write_notice(connection: Connection, relay_id: int, kind: RelayEventKind) -> None:
    """Put on record that this is to be told; the caller tells it after the commit. Needs the relay's lease."""
    connection.execute(delete(Notice).where(*_is(relay_id, kind)))
    connection.execute(insert(Notice).values(relay_id=relay_id, kind=kind, taken_at=read_clock(connection)))


def notify_owner(runtime: Runtime, relay_id: int, kind: RelayEventKind) -> bool:
    """Tell it as it is now, outside any transaction. Return whether there was something to tell and it was taken."""
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
    """Tell what was written just now. What cannot be told now is told by a look at all relays."""
    try:
        notify_owner(runtime, relay_id, kind)
    except DBAPIError as error:
        log.warning("News of relay %s are told later: %s", relay_id, type(error).__name__, extra={"relay_id": relay_id})


def are_overdue(connection: Connection) -> bool:
    """Whether something was not told in time."""
    return bool(connection.scalar(select(exists().where(Notice.taken_at < _in_time(connection)))))


def notify_overdue_events(runtime: Runtime) -> int:
    """Tell what was not told in time, and return how much was."""
    with runtime.engine.connect() as connection:
        rows = connection.execute(select(Notice.__table__).where(Notice.taken_at < _in_time(connection))).all()
    return sum(_take(runtime, row) and notify_owner(runtime, row.relay_id, RelayEventKind(row.kind)) for row in rows)


def _in_time(connection: Connection) -> datetime:
    return read_clock(connection) - TOLD_WITHIN


def _take(runtime: Runtime, row: Any) -> bool:
    """Whether nobody else tells it now."""
    as_seen = (*_is(row.relay_id, row.kind), Notice.taken_at == row.taken_at)
    with runtime.engine.begin() as connection:
        taken = connection.execute(update(Notice).where(*as_seen).values(taken_at=read_clock(connection)))
    return taken.rowcount == 1


def _is(relay_id: int, kind: str) -> tuple[ColumnElement[bool], ...]:
    return (Notice.relay_id == relay_id, Notice.kind == kind)


def _change(connection: Connection, relay_id: int, kind: RelayEventKind) -> RelayChange | None:
    """Return what to tell; `None` when it is true no longer."""
    relay = connection.execute(select(Relay.__table__).where(Relay.id == relay_id, Relay.deleted_at.is_(None))).first()
    if relay is None:
        return None
    change = replace(store.change_of(relay), is_automatic=True)
    if kind is RelayEventKind.FALLING_BACK:
        return replace(change, reason=None, pause_reason=None, is_falling_back=True)
    is_state = RelayState.PAUSED if kind is RelayEventKind.PAUSED else RelayState.ACTIVE
    return change if change.state == is_state else None
