"""The delivery log: each invitation with all its attempts, for pages, exports and commands. Read only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, islice
from typing import Any

from sqlalchemy import Connection, RowMapping, select
from sqlalchemy.orm import Session

from own_smtp.hooks.events import InvitationStatus, StatusFilter
from own_smtp.i18n import Text
from own_smtp.i18n import lazy_gettext as _
from own_smtp.outbox.query import CHUNK, LogScope, Position, listed, walk
from own_smtp.outbox.statuses import statuses_at
from own_smtp.reporting.explanations import Explanation, explain
from own_smtp.smtp.replies.queue_ids import queue_id
from own_smtp.smtp.replies.rules import UNREACHED, Stage
from own_smtp.states import Route, State
from own_smtp.storage.models import Attempt, Batch, Relay

PAGE = 50
"""Invitations on one page."""

STAGE_LABELS: dict[str, Text] = {
    Stage.LOCAL: _("before sending"),
    Stage.RESOLVE: _("looking up the server"),
    Stage.CONNECT: _("connecting"),
    Stage.BANNER: _("greeting"),
    Stage.EHLO: _("introduction (EHLO)"),
    Stage.STARTTLS: _("switching to encryption (STARTTLS)"),
    Stage.TLS: _("encryption (TLS)"),
    Stage.AUTH: _("signing in (AUTH)"),
    Stage.MAIL: _("sender (MAIL)"),
    Stage.RCPT: _("recipient (RCPT)"),
    Stage.DATA: _("start of the message (DATA)"),
    Stage.BODY: _("transfer of the message"),
    Stage.MESSAGE: _("end of the message"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedAttempt:
    """One attempt at one invitation."""

    at: datetime
    state: State
    """The invitation's state after the attempt."""
    route: Route
    server: str
    """Host name and address of the server; empty when there was no connection."""
    stage: str
    code: int | None
    enhanced: str | None
    text: str
    """The server's reply, or our own text when there was none."""
    queue_id: str | None
    """The message's id at the server that accepted it."""
    explanation: Explanation | None
    """`None` for an accepted message."""

    @property
    def stage_label(self) -> Text:
        """The stage's name for people."""
        return STAGE_LABELS.get(self.stage, self.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """One invitation."""

    status: InvitationStatus
    relay_id: int
    relay_label: str
    sent_at: datetime
    """When the host handed over the batch."""
    attempts: tuple[LoggedAttempt, ...]
    """Oldest first."""

    @property
    def last(self) -> LoggedAttempt | None:
        """The last attempt; `None` before the first."""
        return self.attempts[-1] if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPage:
    """Some lines, and the positions of the pages before and after them."""

    lines: list[LogLine]
    before: str | None
    """Continue before this position; `None` on the first page."""
    after: str | None
    """Continue after this position; `None` on the last page."""


def page(
    where: Connection | Session, scope: LogScope, wanted: StatusFilter, *, before: str | None = None, size: int = PAGE
) -> LogPage:
    """Return one page: after `wanted.after`, or before `before`, or the first one.

    Raises `ValueError` for an invalid position or filter.
    """
    if before is not None:
        return _page_before(where, scope, replace(wanted, after=before), size)
    found = list(islice(walk(where, scope, wanted, size=size + 1), size + 1))
    shown = found[:size]
    return LogPage(
        lines=lines_at(where, shown),
        before=str(shown[0]) if shown and wanted.after else None,
        after=str(shown[-1]) if len(found) > size else None,
    )


def _page_before(where: Connection | Session, scope: LogScope, wanted: StatusFilter, size: int) -> LogPage:
    found = list(islice(walk(where, scope, wanted, size=size + 1, backwards=True), size + 1))
    shown = found[:size][::-1]
    return LogPage(
        lines=lines_at(where, shown),
        before=str(shown[0]) if len(found) > size else None,
        after=str(shown[-1]) if shown else None,
    )


def stream(where: Connection | Session, scope: LogScope, wanted: StatusFilter) -> Iterator[LogLine]:
    """Yield all lines, or `wanted.limit` of them, read in chunks: memory use does not depend on their number.

    No line occurs twice, and no invitation that existed when its batch was reached is left out. The caller may end the
    transaction at each line: the rest is read in new ones.
    """
    ids = islice(chain.from_iterable(listed(where, scope, wanted)), wanted.limit)
    while chunk := list(islice(ids, CHUNK)):
        yield from _lines_of(where, chunk)


def lines_at(where: Connection | Session, positions: Sequence[Position]) -> list[LogLine]:
    """Return the lines at these positions, in their order; invitations deleted meanwhile are left out."""
    return _lines_of(where, [position.id for position in positions])


def _lines_of(where: Connection | Session, ids: Sequence[int]) -> list[LogLine]:
    statuses = list(statuses_at(where, ids))
    attempts = _attempts_of(where, [status.invitation_id for status in statuses])
    batches = _batches_of(where, {status.batch_id for status in statuses})
    return [
        LogLine(status=status, attempts=tuple(attempts[status.invitation_id]), **batches[status.batch_id])
        for status in statuses
    ]


def _batches_of(where: Connection | Session, batch_ids: set[int]) -> dict[int, dict[str, Any]]:
    query = (
        select(Batch.id, Batch.relay_id, Batch.created_at, Relay.label)
        .join(Relay, Relay.id == Batch.relay_id)
        .where(Batch.id.in_(batch_ids))
    )
    rows = where.execute(query)
    return {row.id: {"relay_id": row.relay_id, "relay_label": row.label, "sent_at": row.created_at} for row in rows}


def _attempts_of(where: Connection | Session, ids: Sequence[int]) -> dict[int, list[LoggedAttempt]]:
    found: dict[int, list[LoggedAttempt]] = defaultdict(list)
    query = select(*Attempt.__table__.c).where(Attempt.invitation_id.in_(ids)).order_by(Attempt.id)
    for row in where.execute(query).mappings():
        found[row["invitation_id"]].append(_attempt(row))
    return found


def _attempt(row: RowMapping) -> LoggedAttempt:
    state, stage = State(row["state"]), row["stage"]
    text = "" if stage in UNREACHED else row["text"]
    is_accepted = state is State.ACCEPTED
    return LoggedAttempt(
        at=row["at"],
        state=state,
        route=Route(row["route"]),
        server=row["server"] or "",
        stage=stage,
        code=row["code"],
        enhanced=row["enhanced"],
        text=text,
        queue_id=queue_id(text) if is_accepted else None,
        explanation=None if is_accepted else explain(stage, row["code"], row["enhanced"], None, text),
    )
