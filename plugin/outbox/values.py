"""What crosses from the outbox to those who drain it and back: plain values, without a database."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Self

from own_smtp.smtp.values import Outcome
from own_smtp.states import Route, State


class Claimed(NamedTuple):
    """An invitation that a drain may send now, and nobody else."""

    id: int
    batch_id: int
    reference: str
    address: str
    name: str
    values: dict[str, str] | None
    override: dict[str, Any] | None
    attempts: int
    first_failure_at: datetime | None


@dataclass(frozen=True, slots=True)
class Claim:
    """What one look into the outbox brought."""

    at: datetime
    """The database's time."""
    revision: int
    """The relay's; another one than before means that its configuration changed."""
    is_active: bool
    invitations: list[Claimed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A relay's lease, just taken."""

    relay_id: int
    token: int
    journal: str
    """The name of its journal."""
    at: datetime
    """The database's time when it was taken."""
    failures: int
    """Consecutive failures to get a usable connection."""
    failing_since: datetime | None
    pace: dict[str, Any] | None
    error_cause: str | None = None
    """What went wrong last, as `own_smtp.delivery.bookkeeping.drain_records` writes it."""
    error_count: int = 0
    error_since: datetime | None = None
    last_success_at: datetime | None = None


class LastAnswer(NamedTuple):
    """An attempt of an earlier drain that ended for good."""

    recipient: str
    state: State
    code: int
    words: str


class Settlement(NamedTuple):
    """What one attempt came to, ready to be written. Flat, because thousands a second go from process to process."""

    invitation_id: int
    batch_id: int
    state: State
    route: Route
    at: float
    """Seconds since 1970."""
    stage: str
    code: int | None
    enhanced: str | None
    words: str
    server: str | None
    next_attempt_at: datetime | None
    """Given when `state` is `queued`."""
    first_failure_at: datetime | None

    @classmethod
    def of(
        cls,
        invitation_id: int,
        batch_id: int,
        outcome: Outcome,
        at: float,
        route: Route = Route.RELAY,
        *,
        state: State | None = None,
        next_attempt_at: datetime | None = None,
        first_failure_at: datetime | None = None,
    ) -> Self:
        """Return what an outcome is to an invitation; `state` says what it becomes, if not what the outcome says."""
        code, enhanced = (None, None) if outcome.reply is None else (outcome.reply.code, outcome.reply.enhanced)
        return cls(
            invitation_id,
            batch_id,
            state or outcome.state,
            route,
            at,
            outcome.stage,
            code,
            enhanced,
            outcome.words,
            outcome.server,
            next_attempt_at,
            first_failure_at,
        )
