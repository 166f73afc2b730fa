"""Reports on invitations, read only: for pages, exports and hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, func, select
from sqlalchemy.orm import Session

from own_smtp.errors import NotFoundError
from own_smtp.hooks.events import ReportColumn
from own_smtp.outbox.statuses import statuses_of_project
from own_smtp.outbox.totals import select_totals, waiting_of_relays
from own_smtp.relays import project_routes
from own_smtp.reporting.known_statuses import STATUSES, RouteKnowledge, hidden_by_own_server
from own_smtp.reporting.state_counts import ANY_ROUTE_LABELS, Counts
from own_smtp.states import FINAL, BatchState, Route, State
from own_smtp.storage.models import Batch, BatchTotals, Invitation, Relay

PAGE = 50
"""Lines on one page of a list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """A batch: the invitations of one click on "send"."""

    batch_id: int
    kind: str
    created_at: datetime
    created_by: str | None
    relay_id: int
    relay_label: str
    state: BatchState
    counts: Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An invitation that will not arrive unless a person acts, with the last reply."""

    invitation_id: int
    address: str
    state: State
    changed_at: datetime
    stage: str | None
    code: int | None
    enhanced: str | None
    text: str
    route: str


def project_batches(session: Session, tenant_id: str, project_id: str, limit: int = PAGE) -> list[BatchSummary]:
    """Return the project's newest batches with their counts, newest first."""
    return _summaries(session, _batches_of(tenant_id, project_id).order_by(Batch.id.desc()).limit(limit))


def project_batch(session: Session, tenant_id: str, project_id: str, batch_id: int) -> BatchSummary:
    """Return one batch of the project with its counts. Raises `NotFoundError`, also for another project's."""
    for summary in _summaries(session, _batches_of(tenant_id, project_id).where(Batch.id == batch_id)):
        return summary
    raise NotFoundError(f"There is no batch {batch_id}.")


_WITH_RELAY: tuple[Any, ...] = (Batch, Relay.label)


def _batches_of(tenant_id: str, project_id: str) -> Select[Any]:
    return (
        select(*_WITH_RELAY)
        .join(Relay, Relay.id == Batch.relay_id)
        .where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)
    )


def _summaries(session: Session, query: Select[Any]) -> list[BatchSummary]:
    rows = session.execute(query).all()
    counts = _counts_by_batch(session, [batch.id for batch, _label in rows])
    return [_summary(batch, label, counts[batch.id]) for batch, label in rows]


def _summary(batch: Batch, label: str, counts: Counts) -> BatchSummary:
    return BatchSummary(
        batch_id=batch.id,
        kind=batch.kind,
        created_at=batch.created_at,
        created_by=batch.created_by,
        relay_id=batch.relay_id,
        relay_label=label,
        state=BatchState(batch.state),
        counts=counts,
    )


def _counts_by_batch(session: Session, batch_ids: Sequence[int]) -> dict[int, Counts]:
    rows = session.execute(_KEPT.add_columns(Batch.id).group_by(Batch.id).where(Batch.id.in_(batch_ids))).all()
    being_sent = session.execute(
        select(Invitation.batch_id, func.count())
        .where(Invitation.batch_id.in_(batch_ids), Invitation.state == State.SENDING)
        .group_by(Invitation.batch_id)
    )
    sending = {row[0]: row[1] for row in being_sent}
    refused = {row[0]: row[1] for row in session.execute(_REFUSED_BY_PLATFORM.where(Batch.id.in_(batch_ids)))}
    return {row.id: _counts(row, sending.get(row.id, 0), refused.get(row.id, 0)) for row in rows}


_REFUSED_BY_PLATFORM = (
    select(Batch.id, func.count())
    .join(Invitation, Invitation.batch_id == Batch.id)
    .where(Batch.fallback_at.is_not(None), Invitation.state == State.REFUSED, Invitation.route == Route.PLATFORM)
    .group_by(Batch.id)
)
"""By batch: invitations that the platform's mail server tried and refused. Totals are kept of its acceptances only."""

_KEPT = select_totals(
    func.sum(Batch.taken_count).label("taken"),
    func.sum(BatchTotals.by_platform).label("by_platform"),
    *(func.sum(getattr(BatchTotals, state.value)).label(state.value) for state in FINAL),
)


def _counts(kept: Any, sending: int, refused_by_platform: int) -> Counts:
    """Return the counts by state: waiting = taken - finished; of those, claimed ones are being sent."""
    ended = {state: int(getattr(kept, state.value) or 0) for state in FINAL}
    queued = int(kept.taken or 0) - sum(ended.values()) - sending
    by_state = {**ended, State.SENDING: sending, State.QUEUED: max(queued, 0)}
    by_platform = {State.ACCEPTED: int(kept.by_platform or 0), State.REFUSED: refused_by_platform}
    return Counts(
        {state: by_state[state] for state in State if by_state[state]},
        {state: number for state, number in by_platform.items() if number},
    )


def project_counts(session: Session, tenant_id: str, project_id: str) -> Counts:
    """Return how many invitations of the project are in each state."""
    where = (Batch.tenant_id == tenant_id, Batch.project_id == project_id)
    sending = session.scalars(
        select(func.count())
        .select_from(Batch)
        .join(Invitation, Invitation.batch_id == Batch.id)
        .where(*where, Batch.state != BatchState.DONE, Invitation.state == State.SENDING)
    ).one()
    refused = sum(row[1] for row in session.execute(_REFUSED_BY_PLATFORM.where(*where)))
    return _counts(session.execute(_KEPT.where(*where)).one(), sending, refused)


def sent_by_platform(session: Session, tenant_id: str, project_id: str) -> int:
    """Return how many of the project's accepted invitations were sent by the platform's mail server."""
    taken_over = session.scalars(
        select(func.sum(BatchTotals.by_platform))
        .join(Batch, Batch.id == BatchTotals.batch_id)
        .where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)
    ).one()
    return int(taken_over or 0)


def ways_of(session: Session, tenant_id: str, project_id: str) -> set[RouteKnowledge]:
    """Return the routes that the project's invitations take or took; empty where the host alone sends."""
    route = project_routes.find_route(session, tenant_id, project_id)
    ways = {RouteKnowledge.RELAY} if route is not None and route.relay_id is not None else set()
    if session.execute(_batches_of(tenant_id, project_id).limit(1)).first():
        ways.add(RouteKnowledge.RELAY)
    if ways and ((route and route.fallback_after is not None) or sent_by_platform(session, tenant_id, project_id)):
        ways.add(RouteKnowledge.PLATFORM)
    return ways


def waiting_by_relay(session: Session, tenant_id: str) -> dict[int, int]:
    """Return how many invitations wait for each of the tenant's relays."""
    return waiting_of_relays(session, Batch.tenant_id == tenant_id, Batch.state != BatchState.DONE)


def refusals(
    session: Session, tenant_id: str, project_id: str, *, before: int | None = None, limit: int = PAGE
) -> list[Refusal]:
    """Return refused, failed and unknown invitations, newest first, `limit` at a time.

    `before` is the `invitation_id` of the last line seen.
    """
    query = statuses_of_project(tenant_id, project_id).where(
        Invitation.state.in_([State.REFUSED, State.FAILED, State.UNKNOWN])
    )
    if before is not None:
        query = query.where(Invitation.id < before)
    rows = session.execute(query.order_by(Invitation.id.desc()).limit(limit)).mappings()
    return [_refusal(row) for row in rows]


def _refusal(row: RowMapping) -> Refusal:
    return Refusal(
        invitation_id=row["id"],
        address=row["address"],
        state=State(row["state"]),
        changed_at=row["changed_at"],
        stage=row["stage"],
        code=row["code"],
        enhanced=row["enhanced"],
        text=row["text"] or "",
        route=row["route"],
    )


def report_columns() -> list[ReportColumn]:
    """Return the report's columns for a tenant's own server: statuses that it can show, and those that it cannot, with
    the reason.
    """
    known = [ReportColumn(key=state, label=str(label), is_known=True) for state, label in ANY_ROUTE_LABELS.items()]
    hidden = [
        ReportColumn(key=key, label=str(STATUSES[key]), is_known=False, reason=str(cell.reason))
        for key, cell in hidden_by_own_server().items()
    ]
    return known + hidden
