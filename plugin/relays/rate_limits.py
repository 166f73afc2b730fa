"""The sending rate of a relay: configured limits, and limits learned from the server's replies.

Only one drain at a time has a relay, so this is plain arithmetic in one process. The state that must survive kills and
restarts is stored with each claim: claimed invitations count as sent, and after a drain's crash as sent right before
the next one begins. So the stored state may be too strict by one claim, but never too permissive. Times are seconds
since 1970 by the database's clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from own_smtp.relays.learned_pace import ConnectionLimit, LearnedPace
from own_smtp.relays.sending_windows import next_open
from own_smtp.relays.sliding_window import SLICES, SlidingWindow
from own_smtp.settings import Settings
from own_smtp.smtp.values import Limits

MADE_GOOD = 0.05
"""Seconds by which a message may be early after a late one: the learned limit is a rate, and timers of a busy machine
are always late. A configured interval is never shortened."""
ENOUGH_SEEN = 50
"""The number of messages after which the measured rate is used for forecasts."""


PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3600.0, "day": 86400.0}


class Pacer:
    """Determines when the next message may be sent. `random` returns numbers from 0 to 1.

    `kept` is the result of `keep` of the previous drain, read at `at`; this drain's clock may be ahead of the
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
        """The delay of the last message after the learned limit allowed it, at most `MADE_GOOD`."""
        self._spread = 1.0
        """The random factor of the current interval."""
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
        """Count the claims of a crashed drain as sent at `at`: they were sent before, but the exact time is unknown."""
        for window in self._windows.values():
            window.move_last(at, claimed)
        if self.spacing:
            self._next = max(self._next, at + self.spacing * (1 + self._limits.jitter))

    @property
    def learned(self) -> float | None:
        """The learned interval in seconds; `None` if the server demands none."""
        return self._learned.spacing

    @property
    def is_slowed(self) -> bool:
        """Whether the server demands less than the limits allow."""
        return self._learned.is_slowed

    @property
    def is_waiting(self) -> bool:
        """Whether the server currently accepts nothing, and only single messages are tried."""
        return self._learned.wait > 0

    @property
    def is_limited(self) -> bool:
        """Whether anything but the server's own speed limits the rate."""
        return bool(self._windows or self._given_spacing or self._learned.is_slowed)

    @property
    def spacing(self) -> float:
        """The minimum time between two messages, in seconds, without jitter."""
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

    def blockers(self, now: float) -> dict[str, float]:
        """Return the limits that forbid a message now (`spacing`, the name of a period, `hours`), with their end."""
        found = {name: window.next_at(now) for name, window in self._windows.items()}
        found["spacing"] = max(self._next, self._asked_next)
        if self._limits.sending_windows:
            at = datetime.fromtimestamp(now, UTC)
            found["hours"] = next_open(self._limits.sending_windows, self._limits.timezone, at).timestamp()
        return {name: at for name, at in found.items() if at > now}

    def acquire(self, now: float) -> bool:
        """Count one message as sent if it may be sent now; return whether it may."""
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
        """Count the last acquired message as sent now, when it is written, because servers count from here."""
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
        """Return how many messages may be sent within the next `seconds`; `None` means no limit."""
        if self.next_at(now) > now + seconds:
            return 0
        counts = [window.left(now) + 1 for window in self._windows.values()]
        if spacing := max(self.spacing, self._learned.wait):
            counts.append(1 + int(seconds / spacing))
        return min(counts) if counts else None

    def slow_down(self, now: float) -> None:
        """Process a request to slow down."""
        self._learned.slow_down(now)
        self._asked_next = max(self._asked_next, now + self._learned.wait)

    def succeed(self, now: float, *, is_straggler: bool = False) -> None:
        """Process an accepted message. A straggler was sent before the last request to slow down."""
        if is_straggler:
            self._learned.note(now)
            return
        self._learned.succeed(now)
        spacing = (self._learned.spacing or 0.0) * self._spread
        self._asked_next = min(self._asked_next, (self._last or now) + spacing)

    def keep(self, now: float, claimed: int) -> dict[str, Any] | None:
        """Return the state that must outlive this drain if `claimed` messages are sent from now on; `None` if there is
        none."""
        windows = {name: _counted(window, now, claimed) for name, window in self._windows.items()}
        kept: dict[str, Any] = {"next": max(self._next, self._asked_next), "windows": windows, "seen": self.seen}
        kept |= self._learned.keep(now)
        kept["per_connection"] = self.connection_limit.most
        if self.is_limited:
            kept["claimed"] = claimed
        return {key: value for key, value in kept.items() if value} or None

    @property
    def seen(self) -> float | None:
        """The measured rate in messages per second; `None` before there were `ENOUGH_SEEN`."""
        if self._sent < ENOUGH_SEEN or self._first is None or self._last is None or self._last <= self._first:
            return self._seen_before
        return self._sent / (self._last - self._first)


def capped(limits: Limits, settings: Settings) -> Limits:
    """Return the tenant's limits, restricted by the platform's ceilings."""
    ceiling = settings.ceiling_per_second
    if ceiling is None or (limits.per_second is not None and limits.per_second <= ceiling):
        return limits
    return replace(limits, per_second=ceiling)


def _counted(window: SlidingWindow, now: float, claimed: int) -> list[list[int]]:
    slices = window.dump()
    if claimed:
        slices.append([int(now // (window.period / SLICES)), claimed])
    return slices


def _given_spacing(limits: Limits) -> float:
    """Return the configured interval; a rate below one per second is enforced by an interval, not by a window."""
    slow = 1 / limits.per_second if limits.per_second is not None and limits.per_second < 1 else 0.0
    return max(limits.min_interval or 0.0, slow)


def _windows(limits: Limits) -> dict[str, SlidingWindow]:
    counts = {
        "second": int(limits.per_second) if limits.per_second is not None and limits.per_second >= 1 else None,
        "minute": limits.per_minute,
        "hour": limits.per_hour,
        "day": limits.per_day,
    }
    return {name: SlidingWindow(PERIODS[name], count) for name, count in counts.items() if count is not None}
