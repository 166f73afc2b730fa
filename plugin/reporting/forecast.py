"""Forecast of the time at which a number of invitations will have been tried: limits, learned pace, quotas, windows.

It simulates a drain (`own_smtp.relays.rate_limits`) for all messages at once, in bursts as large and as early as the
limits allow. Guesses err on the slow side, so that no page promises too early a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

from own_smtp.relays.rate_limits import PERIODS
from own_smtp.relays.sending_windows import next_closing, next_open
from own_smtp.relays.sliding_window import SLICES
from own_smtp.smtp.values import Limits

FARTHEST = timedelta(days=366)
"""A forecast beyond this is useless and is not made."""

UNMEASURED = 10.0
"""Messages a second. The assumed rate of a server that has quotas and no measured pace."""

MANY_BURSTS = 1000
"""A quota that would be used up more often than this counts as a steady rate."""


def messages_per_second(limits: Limits, pace: Mapping[str, Any] | None) -> float | None:
    """Return the long-term rate; `None` when no limit is known.

    `pace` comes from `own_smtp.relays.rate_limits.Pacer.keep`: the learned spacing, and the last measured rate.
    """
    known = [_steady_rate(limits, pace or {}), *(limit / period for period, limit in _quotas(limits).values())]
    rates = [rate for rate in known if rate]
    return min(rates) if rates else None


def slowest_limit(limits: Limits, pace: Mapping[str, Any] | None) -> tuple[str, float] | None:
    """Return the limit that sets the long-term rate, in its own unit: a number per `minute`, `hour` or `day`.

    `None` when no limit is known.
    """
    steady = _steady_rate(limits, pace or {})
    found = [(limit / period, name, float(limit)) for name, (period, limit) in _quotas(limits).items()]
    found += [(steady, "minute", steady * 60)] if steady else []
    return min(found)[1:] if found else None


def _steady_rate(limits: Limits, pace: Mapping[str, Any]) -> float | None:
    """Return the rate, in messages a second, while no quota is used up."""
    spacing = max(limits.min_interval or 0.0, float(pace.get("learned") or 0.0)) * (1 + limits.jitter / 2)
    rates = [1 / spacing if spacing else None, limits.per_second, pace.get("seen")]
    known = [float(rate) for rate in rates if rate]
    return min(known) if known else None


def _quotas(limits: Limits) -> dict[str, tuple[float, int]]:
    """Return period and limit of each quota of the relay."""
    counts = {"minute": limits.per_minute, "hour": limits.per_hour, "day": limits.per_day}
    return {name: (PERIODS[name], count) for name, count in counts.items() if count}


def finish_time(limits: Limits, pace: Mapping[str, Any] | None, count: int, now: datetime) -> datetime | None:
    """Return when `count` messages will have been tried; `None` when that is unknown.

    Messages sent recently count against the quotas. Retries of single messages are ignored.
    """
    pace = pace or {}
    rate = messages_per_second(limits, pace)
    if rate is None:
        return None
    if count / rate > 2 * FARTHEST.total_seconds():
        return None
    return _Plan.of(limits, pace, count, now).finish(count)


def start_time(limits: Limits, pace: Mapping[str, Any] | None, now: datetime) -> datetime | None:
    """Return when the next message may be sent: `now`, or later because of sending windows or a used-up quota.

    The server's rate need not be known. `None` when it is more than a year ahead.
    """
    at = _Plan.of(limits, pace or {}, 1, now).first()
    return None if at is None else max(now, datetime.fromtimestamp(at, UTC))


@dataclass(slots=True)
class _Quota:
    """At most `limit` messages in any `period`, with those sent already."""

    period: float
    limit: int
    sent: deque[tuple[float, int]] = field(default_factory=deque)
    """Time at which each burst stops counting, and its size, oldest first."""
    total: int = 0

    def free(self, at: float) -> int:
        while self.sent and self.sent[0][0] <= at:
            self.total -= self.sent.popleft()[1]
        return self.limit - self.total

    def free_at(self, at: float) -> float:
        """Return when one more message may be sent."""
        surplus = 1 - self.free(at)
        for forgotten_at, count in self.sent:
            if surplus <= 0:
                break
            surplus -= count
            at = max(at, forgotten_at)
        return at

    def add(self, at: float, count: int) -> None:
        self.sent.append((at + self.period, count))
        self.total += count


@dataclass(slots=True)
class _Plan:
    """The simulated bursts. Times are seconds since 1970."""

    limits: Limits
    start: float
    rate: float
    quotas: list[_Quota]
    until: float
    closing: float = -inf
    """When the current window closes."""

    @classmethod
    def of(cls, limits: Limits, pace: Mapping[str, Any], count: int, now: datetime) -> _Plan:
        start = max(now.timestamp(), float(pace.get("next") or 0.0))
        quotas = [_kept(name, quota, pace, start) for name, quota in _quotas(limits).items()]
        seldom = [quota for quota in quotas if count <= MANY_BURSTS * quota.limit]
        steady = [_steady_rate(limits, pace) or UNMEASURED]
        steady += [quota.limit / quota.period for quota in quotas if quota not in seldom]
        # Messages sent before stop counting after one period.
        start += max((quota.period for quota in quotas if quota not in seldom), default=0.0)
        return cls(limits, start, min(steady), seldom, (now + FARTHEST).timestamp())

    def first(self) -> float | None:
        """Return when the first message may be sent; `None` when that is beyond `until`."""
        at = self._next(self._open(self.start))
        return at if at <= self.until else None

    def finish(self, count: int) -> datetime | None:
        """Return when the last of `count` messages has been sent; `None` when that is beyond `until`."""
        at = self._open(self.start)
        while count > 0:
            at = self._next(at)
            if at > self.until:
                return None
            burst = self._burst(at, count)
            for quota in self.quotas:
                quota.add(at, burst)
            count -= burst
            at += burst / self.rate
        return datetime.fromtimestamp(at, UTC) if at <= self.until else None

    def _next(self, at: float) -> float:
        """Return when one message may be sent: within every quota and inside a window."""
        while True:
            free_at = max([at, *(quota.free_at(at) for quota in self.quotas)])
            open_at = self._open(free_at)
            if open_at == at:
                return at
            at = open_at
            if at > self.until:
                return at

    def _burst(self, at: float, count: int) -> int:
        """Return how many messages can be sent in a row from now on."""
        free = [count, *(quota.free(at) for quota in self.quotas)]
        if self.limits.sending_windows and self.closing < inf:
            # The last message begins before the window closes, as in a drain.
            free.append(max(1, int((self.closing - at) * self.rate)))
        return min(free)

    def _open(self, at: float) -> float:
        if not self.limits.sending_windows or at < self.closing:
            return at
        moment = datetime.fromtimestamp(at, UTC)
        opening = next_open(self.limits.sending_windows, self.limits.timezone, moment)
        closing = next_closing(self.limits.sending_windows, self.limits.timezone, opening)
        self.closing = closing.timestamp() if closing is not None else inf
        return max(at, opening.timestamp())


def _kept(name: str, quota: tuple[float, int], pace: Mapping[str, Any], start: float) -> _Quota:
    """Return a quota that includes the messages sent before."""
    period, limit = quota
    width = period / SLICES
    slices: Iterable[list[int]] = (pace.get("windows") or {}).get(name, [])
    # A slice counts in full until one period after its end.
    sent = deque(((number + 1) * width + period, count) for number, count in slices)
    kept = _Quota(period, limit, sent, sum(count for _at, count in sent))
    kept.free(start)
    return kept
