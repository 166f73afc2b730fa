"""Counters for metrics that no other table has: deleted rows must not make a counter fall.

Every function takes a connection inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from own_smtp.storage.bulk import insert_or_add
from own_smtp.storage.models import Counter, HourlyStat, Lease

HOOK_FAILURES = "hook_failures"
"""By the hook's name."""
ATTEMPTS = "attempts"
"""Attempts of deleted batches, by state and class of reply (see `outcome_label`)."""
DRAINS = "drains"
DRAIN_SECONDS = "drain_seconds"
"""Like `DRAINS`, a counter of deleted relays."""


def increment(connection: Connection, name: str, value: float, label: str = "") -> None:
    """Add `value` to a counter."""
    row = {"name": name, "label": label, "value": float(value)}
    connection.execute(insert_or_add(connection, Counter, "value").values(row))


def outcome_label(state: str, reply_class: int) -> str:
    """Return a label such as `refused/5` for refusals with a 5yz reply; class 0 means that there was no reply."""
    return f"{state}/{reply_class}"


def keep_attempts(connection: Connection, batches: Any) -> None:
    """Count the attempts of these batches, which are about to be deleted together with their hourly stats."""
    # Grouped by code, not by its class: databases round a division differently.
    rows = connection.execute(
        select(HourlyStat.state, HourlyStat.code, func.sum(HourlyStat.count))
        .where(HourlyStat.batch_id.in_(batches))
        .group_by(HourlyStat.state, HourlyStat.code)
    )
    for state, code, count in rows.all():
        increment(connection, ATTEMPTS, count, outcome_label(state, code // 100))


def keep_drains(connection: Connection, relays: Any) -> None:
    """Count the drains of these relays, which are about to be deleted together with their leases."""
    sums = select(func.sum(Lease.drains), func.sum(Lease.drain_seconds)).where(Lease.relay_id.in_(relays))
    drains, seconds = connection.execute(sums).one()
    if drains:
        increment(connection, DRAINS, drains)
        increment(connection, DRAIN_SECONDS, seconds)
