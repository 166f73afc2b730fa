"""What the attempts of each hour came to: the figures behind pictures. Read only."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from own_smtp.states import State
from own_smtp.storage.models import Batch, HourlyStat


class Figure(NamedTuple):
    """So many attempts of one hour came to the same."""

    hour: datetime
    """When the hour began, in UTC."""
    state: State
    """The invitations' state after them; `queued` means that they are tried again."""
    code: int
    """The reply's code; 0 when there was none."""
    number: int
    """How many."""


_COLUMNS: tuple[Any, ...] = (HourlyStat.hour, HourlyStat.state, HourlyStat.code, func.sum(HourlyStat.count))
_SUMS: Select[Any] = (
    select(*_COLUMNS).group_by(HourlyStat.hour, HourlyStat.state, HourlyStat.code).order_by(HourlyStat.hour)
)


def stats_of_batch(session: Session, batch_id: int) -> Sequence[Figure]:
    """Return the figures of one batch, oldest first."""
    return _read(session, _SUMS.where(HourlyStat.batch_id == batch_id))


def stats_of_project(session: Session, tenant_id: str, project_id: str) -> Sequence[Figure]:
    """Return the figures of all of a project's batches, oldest first."""
    batches = select(Batch.id).where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)
    return _read(session, _SUMS.where(HourlyStat.batch_id.in_(batches.scalar_subquery())))


def of_relay(session: Session, relay_id: int, since: datetime) -> Sequence[Figure]:
    """Return the figures of one relay from `since` on, oldest first."""
    return _read(session, _SUMS.where(HourlyStat.relay_id == relay_id, HourlyStat.hour >= since))


def _read(session: Session, query: Select[Any]) -> Sequence[Figure]:
    return [Figure(hour, State(state), code, int(number)) for hour, state, code, number in session.execute(query)]
