"""Attempts by hour and result: the numbers behind charts. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from own_smtp.states import State
from own_smtp.storage.models import Batch, HourlyStat


class Figure(NamedTuple):
    """The number of attempts in one hour with the same result."""

    hour: datetime
    """The start of the hour, in UTC."""
    state: State
    """The invitations' state after these attempts; `queued` means a retry."""
    code: int
    """The reply's code; 0 when there was none."""
    number: int
    """How many."""


_COLUMNS: tuple[Any, ...] = (HourlyStat.hour, HourlyStat.state, HourlyStat.code, func.sum(HourlyStat.count))
_SUMS: Select[Any] = (
    select(*_COLUMNS).group_by(HourlyStat.hour, HourlyStat.state, HourlyStat.code).order_by(HourlyStat.hour)
)


def stats_of_batch(session: Session, batch_id: int) -> Sequence[Figure]:
    """Return the statistics of one batch, oldest first."""
    return _read(session, _SUMS.where(HourlyStat.batch_id == batch_id))


def stats_of_project(session: Session, tenant_id: str, project_id: str) -> Sequence[Figure]:
    """Return the statistics of all batches of a project, oldest first."""
    batches = select(Batch.id).where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)
    return _read(session, _SUMS.where(HourlyStat.batch_id.in_(batches.scalar_subquery())))


def of_relay(session: Session, relay_id: int, since: datetime) -> Sequence[Figure]:
    """Return the statistics of one relay since `since`, oldest first."""
    return _read(session, _SUMS.where(HourlyStat.relay_id == relay_id, HourlyStat.hour >= since))


def _read(session: Session, query: Select[Any]) -> Sequence[Figure]:
    return [Figure(hour, State(state), code, int(number)) for hour, state, code, number in session.execute(query)]
