"""What is known of invitations, read only: for pages, exports and hooks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from flask_babel import format_decimal
from sqlalchemy import RowMapping, Select, func, select
from sqlalchemy.orm import Session

from own_smtp.errors import NotFoundError
from own_smtp.hooks.events import ReportColumn
from own_smtp.i18n import Text, gettext, ngettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.outbox.statuses import statuses_of_project
from own_smtp.outbox.totals import select_kept, waiting_of_relays
from own_smtp.relays import project_routes
from own_smtp.reporting.known_statuses import STATUSES, RouteKnowledge, hidden_by_own_server
from own_smtp.states import FINAL, WAITING, BatchState, Route, State
from own_smtp.storage.models import Batch, BatchTotals, Invitation, Relay

PAGE = 50
"""Lines on one page of a list."""

STATE_LABELS: dict[State, Text] = {
    State.QUEUED: _("Waiting"),
    State.SENDING: _("Being sent"),
    State.ACCEPTED: _("Accepted by your server"),
    State.REFUSED: _("Refused by your server"),
    State.FAILED: _("Given up"),
    State.UNKNOWN: _("Unknown"),
    State.CANCELLED: _("Cancelled"),
}

ANY_ROUTE_LABELS: dict[State, Text] = {state: STATUSES[state] for state in STATE_LABELS}
"""For choices that mean invitations of every route."""

BY_PLATFORM_LABELS: dict[State, Text] = {
    State.ACCEPTED: _("Accepted by the platform's mail"),
    State.REFUSED: _("Refused by the platform's mail"),
}
"""Of invitations that the platform's mail took over: no server of the tenant's had a part in these."""

BY_PLATFORM_MEANINGS: dict[State, Text] = {
    State.ACCEPTED: _("Your server had not taken it in time, so the platform's mail server did."),
    State.REFUSED: _("Your server had not taken it in time, and the platform's mail server said no for good."),
}

STATE_MEANINGS: dict[State, Text] = {
    State.QUEUED: _("Not sent yet, or to be tried again."),
    State.SENDING: _("A worker of the platform has taken it up: it leaves now, or as soon as its turn comes."),
    State.ACCEPTED: _("Your server took it over. What it did with it then is known only there."),
    State.REFUSED: _("Your server said no for good; the report has its words."),
    State.FAILED: _("Tried until its time was over, or impossible to send."),
    State.UNKNOWN: _("The connection was lost just before your server's answer. It may have arrived."),
    State.CANCELLED: _("Withdrawn before it was sent."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLine:
    """How many invitations came to a state by one route."""

    state: State
    label: Text
    meaning: Text
    number: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many invitations are in each state."""

    by_state: dict[State, int] = field(default_factory=dict)
    by_platform: dict[State, int] = field(default_factory=dict)
    """How many of these the platform's mail took over, for the states that a server's answer makes."""

    def __getitem__(self, state: State) -> int:
        return self.by_state.get(state, 0)

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def waiting(self) -> int:
        """Those that a drain still has to do with."""
        return sum(self[state] for state in WAITING)

    @property
    def version(self) -> str:
        """Changes whenever one of the numbers does."""
        numbers = [*sorted(self.by_state.items()), *sorted(self.by_platform.items())]
        return "|".join(f"{state}={number}" for state, number in numbers)

    def by_server(self, state: State) -> int:
        """How many came to a state by the tenant's own server, or by none."""
        return self[state] - self.by_platform.get(state, 0)

    @property
    def lines(self) -> list[CountLine]:
        """Each state that there is, by route: what the platform's mail took over stands by itself."""
        found = []
        for state in State:
            if number := self.by_server(state):
                line = CountLine(state=state, label=STATE_LABELS[state], meaning=STATE_MEANINGS[state], number=number)
                found.append(line)
            if number := self.by_platform.get(state, 0):
                labels, meanings = BY_PLATFORM_LABELS, BY_PLATFORM_MEANINGS
                found.append(CountLine(state=state, label=labels[state], meaning=meanings[state], number=number))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSummary:
    """One press of "send"."""

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
"""By batch, how many the platform's mail took over and its server refused. Only acceptances are kept as a figure."""

_KEPT = select_kept(
    func.sum(Batch.taken_count).label("taken"),
    func.sum(BatchTotals.by_platform).label("by_platform"),
    *(func.sum(getattr(BatchTotals, state.value)).label(state.value) for state in FINAL),
)


def _counts(kept: Any, sending: int, refused_by_platform: int) -> Counts:
    """Return the counts by state. What was not counted as ended waits, and what of that is claimed is being sent."""
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
    """Return how many of the project's accepted invitations the platform's mail took over."""
    taken_over = session.scalars(
        select(func.sum(BatchTotals.by_platform))
        .join(Batch, Batch.id == BatchTotals.batch_id)
        .where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)
    ).one()
    return int(taken_over or 0)


def ways_of(session: Session, tenant_id: str, project_id: str) -> set[RouteKnowledge]:
    """Return the ways that the project's invitations leave or left; empty where none of them is ours."""
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
    """Return what was refused, given up or is unknown, newest first, `limit` at a time.

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
    """Return the statuses that a report of invitations through an own server can show, and which it cannot and why."""
    known = [ReportColumn(key=state, label=str(label), is_known=True) for state, label in ANY_ROUTE_LABELS.items()]
    hidden = [
        ReportColumn(key=key, label=str(STATUSES[key]), is_known=False, reason=str(cell.reason))
        for key, cell in hidden_by_own_server().items()
    ]
    return known + hidden


SENTENCE: dict[State, Text] = {
    State.ACCEPTED: _("%(num)s accepted by your server"),
    State.REFUSED: _("%(num)s refused"),
    State.FAILED: _("%(num)s given up"),
    State.UNKNOWN: _("%(num)s unknown"),
    State.CANCELLED: _("%(num)s cancelled"),
    State.SENDING: _("%(num)s being sent"),
    State.QUEUED: _("%(num)s waiting"),
}


BY_PLATFORM_SENTENCE: dict[State, Text] = {
    State.ACCEPTED: _("%(num)s accepted by the platform's mail"),
    State.REFUSED: _("%(num)s refused by the platform's mail"),
}


def state_label(state: State, route: str) -> Text:
    """Return what a state is called where the route is known: whose server accepted or refused."""
    if route == Route.PLATFORM and state in BY_PLATFORM_LABELS:
        return BY_PLATFORM_LABELS[state]
    return STATE_LABELS[state]


def status_sentence(counts: Counts) -> str:
    """Say in one sentence what became of the invitations."""
    if not counts.total:
        return gettext("Nothing was sent through your server yet.")
    said = [(text, counts.by_server(state)) for state, text in SENTENCE.items()]
    said[1:1] = [(text, counts.by_platform.get(state, 0)) for state, text in BY_PLATFORM_SENTENCE.items()]
    parts = [str(text) % {"num": format_decimal(number)} for text, number in said if number]
    return ngettext("%(num)s invitation", "%(num)s invitations", counts.total) + ": " + ", ".join(parts) + "."
