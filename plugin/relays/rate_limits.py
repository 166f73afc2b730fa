"""How fast a relay may be used: limits that people set, and the pace that the server's answers teach.

One drain at a time serves a relay, so all of this is plain arithmetic in one process. What must hold over kills and
restarts is written with each claim: claimed invitations count as sent, and when their drain died, as sent right before
the next one begins. Its state is too careful by a claim, never too bold. Times are seconds since 1970 by the database's
clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from own_smtp.relays.learned_pace import ConnectionLimit, LearnedPace
from own_smtp.relays.sending_windows import next_open
from own_smtp.settings import Settings
from own_smtp.smtp.values import Limits

SLICES = 250
"""A window is counted in so many slices; the oldest counts whole, so that the true window never holds too many."""

MADE_GOOD = 0.05
"""Seconds by which a message may leave early after one that left late: what was learned is a rate, and timers of a busy
machine are late at each message. A spacing that somebody entered is never shorter."""
ENOUGH_SEEN = 50
"""So many messages make a rate that a forecast may use."""


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

    def move_last(self, now: float, count: int) -> None:
        """Count the last `count` messages as sent now instead of when they were counted."""
        moved, number = 0, int(now // self._width)
        while moved < count and self.slices and self.slices[-1][0] < number:
            part = min(count - moved, self.slices[-1][1])
            moved += part
            self.slices[-1][1] -= part
            if not self.slices[-1][1]:
                self.slices.pop()
        if moved:
            self.total -= moved
            self.add(now, moved)

    def delay(self, seconds: float) -> None:
        """Count all that was counted as sent so much later, as far as the slices are that fine."""
        for pair in self.slices:
            pair[0] += round(seconds / self._width)

    def dump(self) -> list[list[int]]:
        """Return what `load` takes."""
        return [list(pair) for pair in self.slices]

    def load(self, slices: list[list[int]]) -> None:
        """Go on from what `dump` gave."""
        self.slices = deque([int(number), int(count)] for number, count in slices)
        self.total = sum(count for _number, count in self.slices)


PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


class Pacer:
    """Says when the next message may be sent. `random` yields numbers from 0 to 1.

    `kept` is what `keep` of the drain before returned, read at `at`; the clock of this one may be ahead of the
    database's by `lag` seconds.
    """

    def __init__(
        self,
        limits: Limits,
        kept: dict[str, Any] | None,
        random: Callable[[], float],
        at: float = 0.0,
        lag: float = 0.0,
    ) -> None:
        kept = kept or {}
        self._limits = limits
        self._random = random
        self._learned = LearnedPace(kept)
        self.connection_limit = ConnectionLimit(kept)
        self._last: float | None = None
        self._late = 0.0
        """By how much the last message left later than the learned pace allowed, as far as that is made good."""
        self._spread = 1.0
        """By how much the present spacing is longer at random."""
        self._seen_before: float | None = kept.get("seen")
        self._first: float | None = None
        self._sent = 0
        self._given_spacing = _given_spacing(limits)
        self._next = float(kept.get("next", 0.0)) + lag
        self._asked_next = 0.0
        self._windows = _windows(limits)
        for name, slices in kept.get("windows", {}).items():
            if name in self._windows:
                self._windows[name].load(slices)
                self._windows[name].delay(lag)
        if claimed := int(kept.get("claimed", 0)):
            self._count_claimed(claimed, at)

    def _count_claimed(self, claimed: int, at: float) -> None:
        """The drain before died: nobody knows when it sent what it had claimed, but it was before `at`."""
        for window in self._windows.values():
            window.move_last(at, claimed)
        if self.spacing:
            self._next = max(self._next, at + self.spacing * (1 + self._limits.jitter))

    @property
    def learned(self) -> float | None:
        """The spacing in seconds that the server's answers taught; `None` when it asks for none."""
        return self._learned.spacing

    @property
    def is_slowed(self) -> bool:
        """Whether the server asked for less than the limits allow."""
        return self._learned.is_slowed

    @property
    def is_waiting(self) -> bool:
        """Whether the server took nothing lately, and is only probed now and then."""
        return self._learned.wait > 0

    @property
    def is_limited(self) -> bool:
        """Whether anything but the server's own speed decides when messages leave."""
        return bool(self._windows or self._given_spacing or self._learned.is_slowed)

    @property
    def spacing(self) -> float:
        """The least time between two messages, in seconds, without jitter."""
        return max(self._given_spacing, self._learned.spacing or 0.0)

    def next_at(self, now: float) -> float:
        """Return when the next message may be sent: `now` or later."""
        spaced = max(now, self._next, self._asked_next)
        if not self._windows and not self._limits.sending_windows:
            return spaced
        earliest = max([spaced, *(window.next_at(now) for window in self._windows.values())])
        if not self._limits.sending_windows:
            return earliest
        at = datetime.fromtimestamp(earliest, UTC)
        return max(earliest, next_open(self._limits.sending_windows, self._limits.timezone, at).timestamp())

    def holdups(self, now: float) -> dict[str, float]:
        """Return what forbids a message now, and until when: `spacing`, the name of a period, or `hours`."""
        found = {name: window.next_at(now) for name, window in self._windows.items()}
        found["spacing"] = max(self._next, self._asked_next)
        if self._limits.sending_windows:
            at = datetime.fromtimestamp(now, UTC)
            found["hours"] = next_open(self._limits.sending_windows, self._limits.timezone, at).timestamp()
        return {name: at for name, at in found.items() if at > now}

    def acquire(self, now: float) -> bool:
        """Count one message as sent if it may be sent now."""
        if self._next > now or self._asked_next > now or self.next_at(now) > now:
            return False
        for window in self._windows.values():
            window.add(now, 1)
        self._sent += 1
        self._last = now
        if self.spacing or self._learned.wait:
            self._spread = 1 + self._limits.jitter * self._random()
            due_at = max(self._next, self._asked_next)
            self._late = min(now - due_at, MADE_GOOD) if due_at and not self._learned.wait else 0.0
            self._space(now)
        if self._first is None:
            self._first = now
        return True

    def written(self, now: float) -> None:
        """The message that was acquired last is on its way only now: servers count from here."""
        for window in self._windows.values():
            window.move_last(now, 1)
        self._last = now
        self._space(now)

    def _space(self, now: float) -> None:
        if self._given_spacing:
            self._next = max(self._next, now + self._given_spacing * self._spread)
        asked = max(self._learned.wait, (self._learned.spacing or 0.0) * self._spread)
        if asked:
            self._asked_next = max(self._asked_next, now + asked - min(self._late, asked))

    def allowance(self, now: float, seconds: float) -> int | None:
        """Return how many messages may be sent from now until `seconds` from now; `None` means any number."""
        if self.next_at(now) > now + seconds:
            return 0
        counts = [window.left(now) + 1 for window in self._windows.values()]
        if spacing := max(self.spacing, self._learned.wait):
            counts.append(1 + int(seconds / spacing))
        return min(counts) if counts else None

    def slow_down(self, now: float) -> None:
        """The server asked for a slower pace."""
        self._learned.slow_down(now)
        self._asked_next = max(self._asked_next, now + self._learned.wait)

    def succeed(self, now: float, *, is_straggler: bool = False) -> None:
        """The server took a message. A straggler was sent before the last request to slow down."""
        if is_straggler:
            self._learned.note(now)
            return
        self._learned.succeed(now)
        spacing = (self._learned.spacing or 0.0) * self._spread
        self._asked_next = min(self._asked_next, (self._last or now) + spacing)

    def keep(self, now: float, claimed: int) -> dict[str, Any] | None:
        """Return what must outlive this drain if `claimed` messages are sent from now on. `None` means nothing."""
        windows = {name: _counted(window, now, claimed) for name, window in self._windows.items()}
        kept: dict[str, Any] = {"next": max(self._next, self._asked_next), "windows": windows, "seen": self.seen}
        kept |= self._learned.keep(now)
        kept["per_connection"] = self.connection_limit.most
        if self.is_limited:
            kept["claimed"] = claimed
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
