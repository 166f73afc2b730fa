"""Who drains a relay: leases, and the list of journals that are not settled yet. The only writer of both tables.

Every function takes a connection inside a transaction of the caller's and commits nothing.

The lease's row is also the lock of a relay's books: whoever writes the state of its invitations holds that row first
(`lock_leases`, `renew_lease`, `give_back_lease`). So no two transactions ever wait for each other's invitations, and
what one of them read of a batch stays true until its commit.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Insert, delete, insert, or_, select, update

from own_smtp.errors import LeaseLostError
from own_smtp.outbox.journal import Machine
from own_smtp.outbox.values import Taken
from own_smtp.states import Route
from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.engine import wait_for_writers
from own_smtp.storage.models import Journal, Lease, Relay


def inserted_id(connection: Connection, statement: Insert) -> int:
    """Insert one row and return its id."""
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def lock_leases(connection: Connection, relay_ids: Iterable[int]) -> None:
    """Keep other writers of these relays' invitations out until the transaction ends.

    Locks in the order of their ids, so that two callers with several relays do not wait for each other either.
    """
    wait_for_writers(connection)
    for relay_id in sorted(set(relay_ids)):
        lease = select(Lease.relay_id).where(Lease.relay_id == relay_id).with_for_update()
        # In SQLite the insert is what locks. In MariaDB it also takes a shared lock of the relay, for the foreign key:
        # who then pauses the relay, and who edits it, would wait for each other.
        if connection.dialect.name != "sqlite" and connection.execute(lease).first() is not None:
            continue
        # Where there was no drain yet, unless the relay was deleted.
        relay = select(Relay.id).where(Relay.id == relay_id)
        connection.execute(insert_or_pass(connection, Lease, ["relay_id"]).from_select(["relay_id"], relay))
        connection.execute(lease)


def take_lease(
    connection: Connection,
    relay_id: int,
    *,
    owner: str,
    machine: Machine,
    journal: str,
    duration: timedelta,
    route: Route = Route.RELAY,
) -> Taken | None:
    """Become the only drain of a relay, or return `None` when another one is, or when it must rest for now.

    A relay's rest does not matter to the platform's own mail. `journal` is the name of a file that is there, and locked
    by its writer, before anybody can see its row: a row without a file is a lost journal.
    """
    is_fallback = route is Route.PLATFORM
    glance = connection.execute(select(Lease.expires_at, Lease.wake_at).where(Lease.relay_id == relay_id)).first()
    if glance is not None and not _is_free(
        glance.expires_at, None if is_fallback else glance.wake_at, read_clock(connection)
    ):
        return None  # a relay that is busy is not worth a lock
    lock_leases(connection, [relay_id])
    now = read_clock(connection)
    opened = insert(Journal).values(
        relay_id=relay_id, machine=machine.name, name=journal, boot=machine.boot, opened_at=now, route=route
    )
    token = inserted_id(connection, opened)
    free = or_(Lease.expires_at.is_(None), Lease.expires_at < now)
    rested = or_(Lease.wake_at.is_(None), Lease.wake_at <= now)
    taken = connection.execute(
        update(Lease)
        .where(Lease.relay_id == relay_id, free, *([] if is_fallback else [rested]))
        .values(token=token, owner=owner, expires_at=now + duration)
    )
    if taken.rowcount == 0:
        connection.execute(delete(Journal).where(Journal.id == token))
        return None
    kept = connection.execute(select(*_KEPT).where(Lease.relay_id == relay_id)).one()
    return Taken(relay_id=relay_id, token=token, journal=journal, at=now, **kept._mapping)


_KEPT = (
    Lease.failures,
    Lease.failing_since,
    Lease.pace,
    Lease.error_cause,
    Lease.error_count,
    Lease.error_since,
    Lease.last_success_at,
)


def _is_free(expires_at: datetime | None, wake_at: datetime | None, now: datetime) -> bool:
    return (expires_at is None or expires_at < now) and (wake_at is None or wake_at <= now)


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
    """End the drain: `values` are the columns of the lease that it leaves behind (pace, wake_at, failures ...).

    Does nothing when another drain has the lease. The relay's books are locked afterwards in any case.
    """
    given = connection.execute(
        update(Lease)
        .where(Lease.relay_id == taken.relay_id, Lease.token == taken.token)
        .values(expires_at=None, owner=None, drained_at=db_now(), **values)
    )
    if given.rowcount == 0:
        lock_leases(connection, [taken.relay_id])


def note_fallback(connection: Connection, relay_id: int) -> bool:
    """The platform's own mail took over. Return whether that is news since the relay last took a message."""
    noted = connection.execute(
        update(Lease).where(Lease.relay_id == relay_id, Lease.fallback_since.is_(None)).values(fallback_since=db_now())
    )
    return noted.rowcount == 1


def kept_pace(connection: Connection, relay_id: int) -> dict[str, Any] | None:
    """Return what the last drain left of the relay's pace."""
    return connection.execute(select(Lease.pace).where(Lease.relay_id == relay_id)).scalar_one_or_none()


def has_live_lease(connection: Connection, journal: Journal, now: datetime) -> bool:
    """Whether the journal's drain is the present one of its relay, as far as the database knows."""
    lease = connection.execute(select(Lease.token, Lease.expires_at).where(Lease.relay_id == journal.relay_id)).first()
    return lease is not None and lease.token == journal.id and lease.expires_at is not None and lease.expires_at > now


def open_journals(connection: Connection) -> list[Journal]:
    """Return the journals of all drains that run or died, oldest first."""
    columns = (
        Journal.id,
        Journal.relay_id,
        Journal.machine,
        Journal.name,
        Journal.boot,
        Journal.opened_at,
        Journal.route,
    )
    rows = connection.execute(select(*columns).order_by(Journal.id))
    return [Journal(**row._mapping) for row in rows]


def take_over_journal(connection: Connection, journal: Journal) -> bool:
    """Whether the journal is still open; keeps other recoveries of it out until the transaction ends."""
    lock_leases(connection, [journal.relay_id])
    found = connection.execute(select(Journal.id).where(Journal.id == journal.id).with_for_update())
    return found.first() is not None
