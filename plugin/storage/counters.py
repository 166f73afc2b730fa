"""Numbers that only grow, for metrics, where no other table keeps them: what is deleted must not be counted backwards.

Every function takes a connection inside a transaction of the caller's and commits nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select

from own_smtp.storage.bulk import insert_or_add
from own_smtp.storage.models import Counter, HourlyStat, Lease

HOOK_FAILURES = "hook_failures"
"""By the hook's name."""
ATTEMPTS = "attempts"
"""Of batches that were deleted, by state and class of reply as `outcome_label` writes them."""
DRAINS = "drains"
DRAIN_SECONDS = "drain_seconds"
"""Both of relays that were deleted."""


def increment(connection: Connection, name: str, value: float, label: str = "") -> None:
    """Let a counter grow."""
    row = {"name": name, "label": label, "value": float(value)}
    connection.execute(insert_or_add(connection, Counter, "value").values(row))


def outcome_label(state: str, reply_class: int) -> str:
    """Return `refused/5` for refusals with a reply of the 500s; 0 means that there was no reply."""
    return f"{state}/{reply_class}"


def keep_attempts(connection: Connection, batches: Any) -> None:
    """These batches are about to be deleted, and their tallies with them."""
    # By code and not by its class: a division rounds differently from one database to another.
    rows = connection.execute(
        select(HourlyStat.state, HourlyStat.code, func.sum(HourlyStat.count))
        .where(HourlyStat.batch_id.in_(batches))
        .group_by(HourlyStat.state, HourlyStat.code)
    )
    for state, code, count in rows.all():
        increment(connection, ATTEMPTS, count, outcome_label(state, code // 100))


def keep_drains(connection: Connection, relays: Any) -> None:
    """These relays are about to be deleted, and their leases with them."""
    sums = select(func.sum(Lease.drains), func.sum(Lease.drain_seconds)).where(Lease.relay_id.in_(relays))
    drains, seconds = connection.execute(sums).one()
    if drains:
        increment(connection, DRAINS, drains)
        increment(connection, DRAIN_SECONDS, seconds)
