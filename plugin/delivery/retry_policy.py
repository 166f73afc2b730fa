"""What an outcome means for an invitation's future: when it is tried again, or that it is given up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, Self

from own_smtp.outbox.values import Settlement
from own_smtp.settings import Settings
from own_smtp.smtp.values import Outcome
from own_smtp.states import PauseReason, Route, State


class Tried(Protocol):
    """An invitation, as far as its next attempt depends on it."""

    @property
    def id(self) -> int: ...
    @property
    def batch_id(self) -> int: ...
    @property
    def attempts(self) -> int: ...
    @property
    def first_failure_at(self) -> datetime | None: ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long an invitation is tried."""

    backoff: Backoff
    horizon: timedelta
    """How long after its first temporary failure."""
    random: Callable[[], float]
    """Yields numbers from 0 to 1."""
    route: Route = Route.RELAY
    """Which way the attempts go that are decided on."""

    @classmethod
    def from_settings(cls, settings: Settings, random: Callable[[], float], route: Route = Route.RELAY) -> Self:
        """Return the platform's policy."""
        backoff = Backoff(first=settings.first_retry, longest=settings.longest_retry)
        return cls(backoff, settings.retry_horizon, random, route)

    def decide(self, tried: Tried, outcome: Outcome, now: float, expires_at: float | None) -> Settlement:
        """Return what is to be written. Times are seconds since 1970; `expires_at` is when the host gives up.

        What makes the relay pause is not held against the invitation: it goes on when the relay does.
        """
        ids = (tried.id, tried.batch_id)
        if outcome.state is not State.QUEUED:
            return Settlement.of(*ids, outcome, now, self.route)
        at = datetime.fromtimestamp(now, UTC)
        first, next_at = tried.first_failure_at, at
        if outcome.pause is None:
            first = first or at
            next_at = at + self.backoff.delay(tried.attempts + 1, self.random)
            if next_at > self._end(first, expires_at):
                return Settlement.of(*ids, outcome, now, self.route, state=State.FAILED)
        return Settlement.of(*ids, outcome, now, self.route, next_attempt_at=next_at, first_failure_at=first)

    def _end(self, first: datetime, expires_at: float | None) -> datetime:
        end = first + self.horizon
        return end if expires_at is None else min(end, datetime.fromtimestamp(expires_at, UTC))


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """When to try again: doubling from `first` up to `longest`, spread by a fifth so that retries do not march in step.

    RFC 5321, 4.5.4.1 asks for 30 minutes or more in the long run; greylisting answers well to a first retry after a
    few minutes.
    """

    first: timedelta = timedelta(minutes=5)
    longest: timedelta = timedelta(hours=2)
    spread: float = 0.2

    def delay(self, failures: int, random: Callable[[], float]) -> timedelta:
        """Return the wait after `failures` failures in a row (1 or more). `random` yields numbers from 0 to 1."""
        doubled = self.first * 2 ** min(failures - 1, 30) if self.first else self.first
        return min(doubled, self.longest) * (1 + self.spread * (2 * random() - 1))


PROBES = {
    PauseReason.QUOTA: timedelta(hours=1),
    PauseReason.BLOCKED: timedelta(hours=1),
    PauseReason.UNREACHABLE: timedelta(hours=4),
}
"""After which time a paused relay is tried again by itself. For the other reasons it waits for a person: trying a
refused password again can lock the account."""
