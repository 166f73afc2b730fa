"""A tenant's lock and its counters: what is limited is counted while nobody else can add to it. Commits nothing.

They are rows of the database, not of Redis: Redis may be away, and the rows that are counted live in the database.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, select, update

from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import read_clock
from own_smtp.storage.engine import wait_for_writers
from own_smtp.storage.models import TenantLimit

ACTS = "acts"
"""The kind of the row that is a tenant's lock."""


def lock_tenant(connection: Connection, tenant_id: str) -> None:
    """Keep other acts of this tenant out until the transaction ends.

    Call it first in a transaction: MariaDB and SQLite show tables as they were at a transaction's first read. Locks
    are taken in this order everywhere: tenant, leases, relay, then what belongs to the relay.
    """
    _lock(connection, tenant_id, ACTS)


def count_in(connection: Connection, tenant_id: str, kind: str, most: int, period: timedelta) -> bool:
    """Count one thing of this kind; `False` when the tenant had `most` of them in the present period already."""
    _lock(connection, tenant_id, kind)
    row = (TenantLimit.tenant_id == tenant_id, TenantLimit.kind == kind)
    now = read_clock(connection)
    since, used = connection.execute(select(TenantLimit.since, TenantLimit.used).where(*row).with_for_update()).one()
    if since is None or since + period <= now:
        since, used = now, 0
    if used >= most:
        return False
    connection.execute(update(TenantLimit).where(*row).values(since=since, used=used + 1))
    return True


def give_back(connection: Connection, tenant_id: str, kind: str) -> None:
    """Uncount one thing that did not happen after all."""
    row = (TenantLimit.tenant_id == tenant_id, TenantLimit.kind == kind, TenantLimit.used > 0)
    connection.execute(update(TenantLimit).where(*row).values(used=TenantLimit.used - 1))


def _lock(connection: Connection, tenant_id: str, kind: str) -> None:
    wait_for_writers(connection)
    # In SQLite the insert is what locks, also where it finds the row.
    row = insert_or_pass(connection, TenantLimit, ["tenant_id", "kind"])
    connection.execute(row.values(tenant_id=tenant_id, kind=kind, used=0))
    locked = select(TenantLimit.used).where(TenantLimit.tenant_id == tenant_id, TenantLimit.kind == kind)
    connection.execute(locked.with_for_update())
