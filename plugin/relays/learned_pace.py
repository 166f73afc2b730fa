"""Limits learned from a server's replies: waits, the interval between messages, messages per connection.

A request to slow down (4yz about the rate) stops everything but one probe at a time. The wait between probes grows with
the time since the request. The first accepted message ends the wait:

1. After the first request in a while the sustainable rate is unknown. The interval begins at a second and halves with
   each accepted message: full speed is back within seconds.
2. After the next request the rate is measured: the messages accepted since the last wait, divided by the time including
   that wait. From there the rate grows slowly at first and ever faster, as CUBIC does for TCP (RFC 9438): it exceeds
   the measured rate within about a minute, and after ten minutes without a request the interval is a hundredth.

The state is kept between drains. Times are seconds since 1970 by the database's clock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from math import exp
from typing import Any

FIRST_WAIT = 0.5
"""Seconds without a message after a request to slow down."""
LONGEST_WAIT = 900.0
WAIT_SHARE = 0.25
"""The wait for the next probe, as a share of the time since the server's request."""
FIRST_SPACING = 1.0
"""Seconds between two messages after the first wait in a while."""
LONGEST_SPACING = 300.0
FORGOTTEN = 0.002
"""A learned interval below this, in seconds, is dropped."""
MEMORY = 600.0
"""Seconds without a request after which the next one counts as the first."""
SETTLED = 10.0
"""Seconds without a request after which an interval counts as proven."""
MANY = 50
"""Accepted messages after which an interval counts as proven as well."""
STEP_BACK = 1.05
RECENT = 256
"""The number of recent messages by which the rate is measured."""
SHORTEST_GROWTH, LONGEST_GROWTH = 30.0, 300.0
"""Bounds, in seconds, of the time in which a measured rate nearly trebles."""
GROWTH_MESSAGES = 120
"""The number of messages in which it does, within these bounds."""
MARKS_RATIO = 1.5
"""The ratio of the marks by which recent messages are stored: enough to measure, little to write."""


class LearnedPace:
    """The interval that a server demands. `kept` is a result of `keep`."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.spacing: float | None = kept.get("learned")
        """Current seconds between two messages; `None` if the server demands none."""
        self.wait = float(kept.get("wait", 0.0))
        """Seconds between two probes while the server accepts nothing; 0 while it does."""
        self._basis: float | None = kept.get("basis")
        self._is_settled = bool(kept.get("settled"))
        """Whether the basis was measured over a proven interval, and not in the first seconds."""
        self._slowed_at = float(kept.get("slowed_at", 0.0))
        self._healthy_since = float(kept.get("healthy_since", 0.0))
        self._count = int(kept.get("taken", 0))
        self._times = deque(_from_marks(kept.get("marks", ())), maxlen=RECENT)

    @property
    def is_slowed(self) -> bool:
        """Whether the server demands less than the relay's limits allow."""
        return self.spacing is not None or self.wait > 0

    def slow_down(self, now: float) -> None:
        """Process a request to slow down."""
        if not self.wait:
            self._slowed_at = now
        self.wait = min(max(FIRST_WAIT, self.spacing or 0.0, WAIT_SHARE * (now - self._slowed_at)), LONGEST_WAIT)

    def succeed(self, now: float) -> None:
        """Process an accepted message that was sent after the last request to slow down."""
        if not self._slowed_at:
            return  # nearly always
        if self.wait:
            self._recover(now)
        elif self.spacing is not None:
            self._speed_up(now)
        self.note(now)

    def note(self, now: float) -> None:
        """Count an accepted message for the measurement, whenever it was sent."""
        if self._slowed_at:
            self._times.append(now)
            self._count += 1

    def _recover(self, now: float) -> None:
        """End the wait, and set the interval."""
        self._basis, self._is_settled = self._measure(now) if self._has_asked_before else None, self._has_settled
        self.spacing = self._basis or FIRST_SPACING
        self.wait = 0.0
        self._healthy_since = now
        self._count = 0

    @property
    def _has_asked_before(self) -> bool:
        """Whether an earlier request ended recently, so that the messages since then measure the rate."""
        if self._healthy_since <= 0:
            return False
        return self.spacing is not None or self._slowed_at - self._healthy_since < MEMORY

    @property
    def _has_settled(self) -> bool:
        """Whether the interval was proven before the last request: then it is only slightly too short."""
        is_long = self._slowed_at - self._healthy_since >= SETTLED or self._count >= MANY
        return self.spacing is not None and is_long

    def _measure(self, now: float) -> float:
        """Return the sustainable interval: the shortest mean gap over any period up to now."""
        gaps = [(now - at) / (len(self._times) - index) for index, at in enumerate(self._times)]
        if self._count:
            gaps.append((now - self._healthy_since) / self._count)
        if self.spacing and self._has_settled:
            gaps.append(STEP_BACK * self.spacing)
        return min([*gaps, LONGEST_SPACING])

    def _speed_up(self, now: float) -> None:
        assert self.spacing is not None
        if self._basis is None:
            self.spacing /= 2
        else:
            growth = min(max(GROWTH_MESSAGES * self._basis, SHORTEST_GROWTH), LONGEST_GROWTH)
            grown = max(0.0, now - self._healthy_since) / growth
            # A value measured within seconds is a guess, probably too slow, so the rate grows faster at first.
            self.spacing = self._basis * exp(-(grown**3 if self._is_settled else grown + grown**3))
        if self.spacing < FORGOTTEN:
            self.spacing = self._basis = None

    def keep(self, now: float) -> dict[str, Any]:
        """Return the state that must outlive the drain; empty if nothing was learned."""
        if not self.is_slowed and now - self._healthy_since > MEMORY:
            return {}
        kept = {"learned": self.spacing, "basis": self._basis, "wait": self.wait, "slowed_at": self._slowed_at}
        kept |= {"healthy_since": self._healthy_since, "taken": self._count, "settled": self._is_settled}
        return kept | {"marks": _marks(list(self._times)) if self.is_slowed else []}


def _marks(times: list[float]) -> list[list[float]]:
    """Return pairs of a count and a time since which so many messages were accepted; the latest first, and densest."""
    marks, count = [], 1.0
    while count <= len(times):
        marks.append([int(count), times[-int(count)]])
        count = max(count + 1, count * MARKS_RATIO)
    return marks


def _from_marks(marks: list[list[float]] | tuple[()]) -> list[float]:
    """Return approximate times from marks, none later than the original one."""
    times: list[float] = []
    for count, at in marks:
        times += [at] * (int(count) - len(times))
    return times[::-1]


CERTAIN = 3
"""Consecutive connections that must end after the same number of messages before it counts as the server's limit."""
TRY_MORE_EVERY = 50
"""Every so many connections one is used beyond the known limit, because the server may have changed it."""


class ConnectionLimit:
    """The number of messages that a server accepts on one connection before it sends 421."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.most: int | None = kept.get("per_connection")
        """`None` if no limit is known."""
        self._last, self._in_a_row = 0, 0
        self._opened = 0

    def next_most(self) -> int | None:
        """Return the maximum number of messages for the next connection; `None` means no limit."""
        self._opened += 1
        return None if self._opened % TRY_MORE_EVERY == 0 else self.most

    def cut(self, after: int) -> None:
        """Process that the server ended a connection after so many messages."""
        self._in_a_row = self._in_a_row + 1 if after == self._last else 1
        self._last = after
        if self._in_a_row >= CERTAIN:
            self.most = after

    def bear(self, count: int) -> None:
        """Process that the server accepted so many messages on one connection."""
        if self.most is not None and count > self.most:
            self.most, self._in_a_row = None, 0
