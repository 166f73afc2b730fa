"""Progress of a batch: its rate, when it will be done, and its blockers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from flask_babel import format_decimal
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from own_smtp.i18n import gettext
from own_smtp.outbox import totals
from own_smtp.relays.rate_limits import capped
from own_smtp.relays.store import limits_of
from own_smtp.reporting.blockers import Blocker, Situation, blockers
from own_smtp.reporting.estimates import is_after, is_sending, rate_text, sent_before
from own_smtp.reporting.forecast import finish_time, start_time
from own_smtp.reporting.limit_texts import pace_texts
from own_smtp.reporting.reports import BatchSummary
from own_smtp.reporting.state_counts import Counts
from own_smtp.settings import Settings
from own_smtp.states import UNFINISHED, BatchState, RelayState, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, Invitation, Lease, Relay

ORDER = (
    State.ACCEPTED,
    State.REFUSED,
    State.FAILED,
    State.UNKNOWN,
    State.CANCELLED,
    State.SENDING,
    State.QUEUED,
)
LEAST_WIDTH = 0.01

RECENT = timedelta(minutes=1)
"""The period over which the current rate is measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of a batch with waiting invitations, for its page."""

    blockers: Sequence[Blocker]
    """Why it is waiting; empty while it is being sent."""
    rate: str | None
    """The current rate as text; `None` without recent attempts."""
    rests_until: str | None
    """When the relay's rest ends and the next message is sent; `None` when it does not rest."""
    pace: Sequence[str]
    """The limits, as texts."""
    learned: Sequence[str]
    """The learned pace, as texts: the reduced rate that the server asked for, and the rate measured last."""
    finishes_at: str | None
    """When the last one will have been tried, in the tenant's time zone; `None` when that is unknown."""
    ends_at: str | None
    """The deadline; `None` means that there is none."""
    ends_with_survey: bool
    """Whether the deadline is the survey's end."""
    is_late: bool
    """Whether it will not be done by the deadline."""
    gives_up: bool
    """Whether the remaining invitations fail at the deadline. Otherwise they are sent although the survey is closed.
    """
    fallback_at: str | None
    """When the platform's own mail server takes over; `None` when it does not."""

    @property
    def version(self) -> str:
        """Changes whenever the page would change."""
        facts = (self.rate, self.rests_until, self.learned, self.finishes_at, self.is_late)
        return "|".join([*(item.text for item in self.blockers), *map(str, facts)])


@dataclass(frozen=True, slots=True)
class ProgressPiece:
    """The part of the progress bar for one state, in hundredths of its width."""

    state: State
    start: float
    width: float


def pieces_of(numbers: Counts) -> list[ProgressPiece]:
    """Divide a progress bar by state, from finished to waiting. Even the smallest number stays visible."""
    shares = {state: max(numbers[state] / numbers.total, LEAST_WIDTH) for state in ORDER if numbers[state]}
    whole = sum(shares.values())
    pieces, start = [], 0.0
    for state, share in shares.items():
        width = 100 * share / whole
        pieces.append(ProgressPiece(state, round(start, 3), round(width, 3)))
        start += width
    return pieces


def progress_of(
    session: Session,
    settings: Settings,
    summary: BatchSummary,
    *,
    closes_at: datetime | None,
    timezone: str,
    queue_is_up: bool,
) -> Progress | None:
    """Return the progress of a batch; `None` when it has no waiting invitations. `closes_at` is the survey's end."""
    if not summary.counts.waiting or summary.state not in UNFINISHED:
        return None
    seen = _situation(session, settings, summary, timezone, queue_is_up)
    batch = session.get_one(Batch, summary.batch_id)
    finish = _finish(session, seen, summary, batch)
    end, fallback = batch.expires_at or closes_at, batch.fallback_at
    return Progress(
        blockers=blockers(seen),
        rate=_rate(session, summary, seen.now),
        rests_until=seen.when(seen.rests_until) if seen.rests_until else None,
        pace=pace_texts(seen.relay),
        learned=_learned_texts(seen),
        finishes_at=seen.when(finish) if finish else None,
        ends_at=seen.when(end) if end else None,
        ends_with_survey=end is not None and end == closes_at,
        gives_up=batch.expires_at is not None,
        is_late=bool(end and (end <= seen.now or is_after(end, _start(seen), finish))),
        fallback_at=seen.when(fallback) if fallback else None,
    )


def _situation(
    session: Session, settings: Settings, summary: BatchSummary, timezone: str, queue_is_up: bool
) -> Situation:
    relay = session.get_one(Relay, summary.relay_id)
    queued = (Invitation.batch_id == summary.batch_id, Invitation.state == State.QUEUED)
    return Situation(
        now=read_clock(session.connection()),
        timezone=timezone,
        state=summary.state,
        relay=relay,
        limits=capped(limits_of(relay), settings),
        lease=session.get(Lease, summary.relay_id),
        next_attempt_at=session.scalar(select(func.min(Invitation.next_attempt_at)).where(*queued)),
        queue_is_up=queue_is_up,
    )


def _start(seen: Situation) -> datetime | None:
    """Return when the next message may be sent; `None` while a person must act first."""
    if seen.state != BatchState.OPEN or seen.relay.state != RelayState.ACTIVE:
        return None
    return start_time(seen.limits, seen.lease.pace if seen.lease else None, seen.now)


def _finish(session: Session, seen: Situation, summary: BatchSummary, batch: Batch) -> datetime | None:
    """Return when the last one will have been tried; `None` while a person must act first, or when no rate is known."""
    if seen.state != BatchState.OPEN or not is_sending(session.connection(), seen.relay.id):
        return None
    connection = session.connection()
    others = totals.waiting_by_batch(connection, seen.relay.id)
    others.pop(batch.id, None)
    waiting = summary.counts.waiting
    waiting += sent_before(waiting, others.values(), is_urgent=batch.is_urgent)
    lease = seen.lease
    start = max([seen.now, *([lease.wake_at] if lease and lease.wake_at else [])])
    finish = finish_time(seen.limits, lease.pace if lease else None, waiting, start)
    put_off = session.scalar(
        select(func.max(Invitation.next_attempt_at)).where(
            Invitation.batch_id == batch.id, Invitation.state == State.QUEUED
        )
    )
    return max(finish, put_off) if finish and put_off else finish


def _rate(session: Session, summary: BatchSummary, now: datetime) -> str | None:
    recent: Any = session.execute(
        select(func.count().label("count"), func.min(Attempt.at).label("first"))
        .join(Invitation, Invitation.id == Attempt.invitation_id)
        .where(
            Attempt.relay_id == summary.relay_id,
            Attempt.at > now - RECENT,
            Invitation.batch_id == summary.batch_id,
        )
    ).one()
    if not recent.count:
        return None
    ended = summary.counts.total - summary.counts.waiting - summary.counts[State.CANCELLED]
    # Over the time since the first attempt alone, a single attempt a moment ago would count as many a minute.
    seconds = (RECENT if ended > recent.count else max(now - recent.first, timedelta(seconds=1))).total_seconds()
    number = recent.count / seconds * 60
    return rate_text("minute", round(number, 1) if number < 10 else round(number))


def is_recent(moment: datetime | None, now: datetime) -> bool:
    """Return whether a moment is recent enough for a current rate."""
    return moment is not None and moment > now - RECENT


def _learned_texts(situation: Situation) -> list[str]:
    texts = []
    lease = situation.lease
    pace: Mapping[str, Any] = (lease.pace if lease else None) or {}
    if learned := pace.get("learned"):
        seconds = format_decimal(round(learned, 2))
        texts.append(
            gettext(
                "At present slower, because the server asked for it: one message every %(seconds)s s.", seconds=seconds
            )
        )
    if lease and is_recent(lease.last_success_at, situation.now) and (seen := pace.get("seen")):
        number = format_decimal(round(seen * 60, 1))
        texts.append(gettext("Lately about %(number)s a minute went out.", number=number))
    return texts
