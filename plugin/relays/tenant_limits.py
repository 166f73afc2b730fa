"""A tenant's lock and its counters: limited acts are counted under a lock. Commits nothing.

They are in the database, not in Redis: Redis may be unavailable, and the counted rows are in the database.
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, select, update

from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import read_clock
from own_smtp.storage.engine import wait_for_writers
from own_smtp.storage.models import TenantLimit

ACTS = "acts"
"""The kind of the row that serves as a tenant's lock."""


def lock_tenant(connection: Connection, tenant_id: str) -> None:
    """Block other acts of this tenant until the transaction ends.

    Call it first in a transaction: MariaDB and SQLite show tables as they were at a transaction's first read. Locks
    are always taken in this order: tenant, leases, relay, then the relay's confirmations and tests.
    """
    _lock(connection, tenant_id, ACTS)


def count_in(connection: Connection, tenant_id: str, kind: str, most: int, period: timedelta) -> bool:
    """Count one act of this kind; `False` if the tenant had `most` of them in the current period already."""
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
    """Uncount one act that did not happen."""
    row = (TenantLimit.tenant_id == tenant_id, TenantLimit.kind == kind, TenantLimit.used > 0)
    connection.execute(update(TenantLimit).where(*row).values(used=TenantLimit.used - 1))


def _lock(connection: Connection, tenant_id: str, kind: str) -> None:
    wait_for_writers(connection)
    # In SQLite the insert takes the lock, even if the row exists.
    row = insert_or_pass(connection, TenantLimit, ["tenant_id", "kind"])
    connection.execute(row.values(tenant_id=tenant_id, kind=kind, used=0))
    locked = select(TenantLimit.used).where(TenantLimit.tenant_id == tenant_id, TenantLimit.kind == kind)
    connection.execute(locked.with_for_update())
