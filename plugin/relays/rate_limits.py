"""How fast a relay may be used: limits that people set, and the pace that the server's answers teach.

One drain at a time serves a relay, so all of this is plain arithmetic in one process. What must hold over kills and
restarts is written with each claim: claimed invitations count as sent, so that a drain that dies leaves a state that
is too careful by its last claim, never too bold. Times are seconds since 1970 by the database's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from own_smtp.relays.sending_windows import next_open
from own_smtp.settings import Settings
from own_smtp.smtp.values import Limits

SLICES = 250
"""A window is counted in so many slices; the oldest counts whole, so that the true window never holds too many."""

FIRST_BRAKE = 0.05
"""Seconds between two messages after a first request to slow down, when the pace before was not slower already."""
LONGEST_BRAKE = 300.0
LONGEST_GAP = 60.0
"""A mean spacing above this, in seconds, comes from a lack of messages."""
SUCCESSES_PER_STEP = 20
STEP = 0.85
"""After so many successes in a row the learned spacing shrinks to this share of itself."""
FORGOTTEN = 0.01
"""A learned spacing below this, in seconds, is none."""
ENOUGH_SEEN = 50
"""So many messages make a rate that a forecast may use."""
DEAF = 1.0
"""Seconds within which further requests to slow down count as the same one: connections hear them together."""


@dataclass(slots=True)
class Window:
    """At most `limit` messages in any `period` seconds."""

    period: float
    limit: int
    slices: deque[list[int]] = field(default_factory=deque)
    """Pairs of slice number and count, oldest first."""
    total: int = 0

    @property
    def _width(self) -> float:
        return self.period / SLICES

    def _forget(self, now: float) -> None:
        oldest = int((now - self.period) // self._width)
        while self.slices and self.slices[0][0] < oldest:
            self.total -= self.slices.popleft()[1]

    def left(self, now: float) -> int:
        """Return how many messages may be sent now."""
        self._forget(now)
        return max(0, self.limit - self.total)

    def next_at(self, now: float) -> float:
        """Return when one message may be sent."""
        if self.left(now) or not self.slices:
            return now
        surplus = self.total - self.limit + 1
        for number, count in self.slices:
            surplus -= count
            if surplus <= 0:
                return (number + 1) * self._width + self.period
        return now + self.period

    def add(self, now: float, count: int) -> None:
        """Count messages as sent."""
        number = int(now // self._width)
        if self.slices and self.slices[-1][0] >= number:
            self.slices[-1][1] += count
        else:
            self.slices.append([number, count])
        self.total += count

    def dump(self) -> list[list[int]]:
        """Return what `load` takes."""
        return [list(pair) for pair in self.slices]

    def load(self, slices: list[list[int]]) -> None:
        """Go on from what `dump` gave."""
        self.slices = deque([int(number), int(count)] for number, count in slices)
        self.total = sum(count for _number, count in self.slices)


PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


class Pacer:
    """Says when the next message may be sent. `random` yields numbers from 0 to 1."""

    def __init__(self, limits: Limits, kept: dict[str, Any] | None, random: Callable[[], float]) -> None:
        kept = kept or {}
        self._limits = limits
        self._random = random
        self._next = float(kept.get("next", 0.0))
        self._learned: float | None = kept.get("learned")
        self._slowed_at = float(kept.get("slowed_at", 0.0))
        self._successes = 0
        self._last: float | None = None
        self._seen_before: float | None = kept.get("seen")
        self._first: float | None = None
        self._sent = 0
        self._given_spacing = _given_spacing(limits)
        self._windows = _windows(limits)
        for name, slices in kept.get("windows", {}).items():
            if name in self._windows:
                self._windows[name].load(slices)

    @property
    def learned(self) -> float | None:
        """The spacing in seconds that the server's answers taught; `None` when it never asked for one."""
        return self._learned

    @property
    def spacing(self) -> float:
        """The least time between two messages, in seconds, without jitter."""
        return max(self._given_spacing, self._learned or 0.0)

    def next_at(self, now: float) -> float:
        """Return when the next message may be sent: `now` or later."""
        if not self._windows and not self._limits.sending_windows:
            return max(now, self._next)
        earliest = max(now, self._next, *(window.next_at(now) for window in self._windows.values()))
        if not self._limits.sending_windows:
            return earliest
        at = datetime.fromtimestamp(earliest, UTC)
        return max(earliest, next_open(self._limits.sending_windows, self._limits.timezone, at).timestamp())

    def holdups(self, now: float) -> dict[str, float]:
        """Return what forbids a message now, and until when: `spacing`, the name of a period, or `hours`."""
        found = {name: window.next_at(now) for name, window in self._windows.items()} | {"spacing": self._next}
        if self._limits.sending_windows:
            at = datetime.fromtimestamp(now, UTC)
            found["hours"] = next_open(self._limits.sending_windows, self._limits.timezone, at).timestamp()
        return {name: at for name, at in found.items() if at > now}

    def acquire(self, now: float) -> bool:
        """Count one message as sent if it may be sent now."""
        if self._next > now or self.next_at(now) > now:
            return False
        for window in self._windows.values():
            window.add(now, 1)
        if spacing := self.spacing:
            self._next = now + spacing * (1 + self._limits.jitter * self._random())
        self._sent += 1
        self._last = now
        if self._first is None:
            self._first = now
        return True

    def allowance(self, now: float, seconds: float) -> int | None:
        """Return how many messages may be sent from now until `seconds` from now; `None` means any number."""
        if self.next_at(now) > now + seconds:
            return 0
        counts = [window.left(now) + 1 for window in self._windows.values()]
        if spacing := self.spacing:
            counts.append(1 + int(seconds / spacing))
        return min(counts) if counts else None

    def slow_down(self, now: float) -> None:
        """The server asked for a slower pace: halve it."""
        self._successes = 0
        if now - self._slowed_at < DEAF:
            return
        self._slowed_at = now
        self._learned = min(LONGEST_BRAKE, 2 * max(self.spacing, self._mean_gap(), FIRST_BRAKE / 2))
        self._next = max(self._next, now + self._learned)

    def _mean_gap(self) -> float:
        """Return the spacing so far, as far as it says anything of the server's pace."""
        if self._sent < 2 or self._first is None or self._last is None:
            return 0.0
        return min((self._last - self._first) / (self._sent - 1), LONGEST_GAP)

    def succeed(self) -> None:
        """The server took a message: after enough of them, go a little faster."""
        if self._learned is None:
            return
        self._successes += 1
        if self._successes >= SUCCESSES_PER_STEP:
            self._successes = 0
            self._learned *= STEP
            if self._learned < FORGOTTEN:
                self._learned = None

    def keep(self, now: float, claimed: int) -> dict[str, Any] | None:
        """Return what must outlive this drain if `claimed` messages are sent from now on. `None` means nothing."""
        windows = {name: _counted(window, now, claimed) for name, window in self._windows.items()}
        rest = max(0.0, self._next) + claimed * self.spacing if self.spacing else 0.0
        kept: dict[str, Any] = {"next": rest, "learned": self._learned, "slowed_at": self._slowed_at}
        kept |= {"windows": windows, "seen": self.seen}
        return {key: value for key, value in kept.items() if value} or None

    @property
    def seen(self) -> float | None:
        """How many messages a second went out lately; `None` before there were enough to tell."""
        if self._sent < ENOUGH_SEEN or self._first is None or self._last is None or self._last <= self._first:
            return self._seen_before
        return self._sent / (self._last - self._first)


def capped(limits: Limits, settings: Settings) -> Limits:
    """Return the tenant's limits under the platform's ceilings."""
    ceiling = settings.ceiling_per_second
    if ceiling is None or (limits.per_second is not None and limits.per_second <= ceiling):
        return limits
    return replace(limits, per_second=ceiling)


def _counted(window: Window, now: float, claimed: int) -> list[list[int]]:
    slices = window.dump()
    if claimed:
        slices.append([int(now // (window.period / SLICES)), claimed])
    return slices


def _given_spacing(limits: Limits) -> float:
    """Less than one a second is a matter of spacing, not of a window."""
    slow = 1 / limits.per_second if limits.per_second is not None and limits.per_second < 1 else 0.0
    return max(limits.min_interval or 0.0, slow)


def _windows(limits: Limits) -> dict[str, Window]:
    counts = {
        "second": int(limits.per_second) if limits.per_second is not None and limits.per_second >= 1 else None,
        "minute": limits.per_minute,
        "hour": limits.per_hour,
        "day": limits.per_day,
    }
    return {name: Window(PERIODS[name], count) for name, count in counts.items() if count is not None}
