"""The next urgent tasks, distributed fairly: a tenant with many tasks does not block the others."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from own_smtp.relays.urgent_tasks import PER_TENANT, UrgentKind, UrgentTask


def next_tasks(
    session: Session, kind: UrgentKind, due: Select[int, str], passed_over: Collection[str], limit: int = 100
) -> list[UrgentTask]:
    """Return up to `limit` tasks of the rows `due` (id, tenant_id), `PER_TENANT` of each tenant at most.

    The first of each tenant come before the second ones; the tenants `passed_over` have none.
    """
    number, tenant = due.selected_columns
    rank = func.row_number().over(partition_by=tenant, order_by=number)
    ranked = due.where(tenant.not_in(passed_over)).add_columns(rank.label("place")).subquery()
    first = select(ranked).where(ranked.c.place <= PER_TENANT).order_by(ranked.c.place, ranked.c.id).limit(limit)
    return [UrgentTask(kind, row.id, row.tenant_id) for row in session.execute(first)]
