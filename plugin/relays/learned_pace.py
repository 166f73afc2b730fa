"""What a server's answers teach: when to wait, how far apart messages may be, how many fit on one connection.

A request to slow down (4yz about the pace) stops everything but one probe at a time, for a wait that grows with the
time since the request. The first answer that takes a message again ends the wait:

1. After the first request in a while nothing is known yet. The spacing begins at a second and halves with each message
   that is taken: after a storm the full pace is back within seconds.
2. After the next one the pace is measured: what the server took since the last wait, its own wait included, is what it
   bears. From there the pace grows slowly at first and ever faster, as CUBIC does for TCP (RFC 9438): in a minute or so
   the measure is passed and tried again, and within ten minutes of health every spacing is a hundredth of what it was.

All of it is kept between drains. Times are seconds since 1970 by the database's clock.
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
"""Until the next probe it takes this share of the time that the server has been asking already."""
FIRST_SPACING = 1.0
"""Seconds between two messages after the first wait in a while."""
LONGEST_SPACING = 300.0
FORGOTTEN = 0.002
"""A learned spacing below this, in seconds, is none."""
MEMORY = 600.0
"""Seconds of health after which the next request counts as the first."""
SETTLED = 10.0
"""Seconds of health after which a spacing counts as tried."""
MANY = 50
"""So many messages that were taken with it do as well."""
STEP_BACK = 1.05
RECENT = 256
"""So many of the last messages are looked at to measure the pace."""
SHORTEST_GROWTH, LONGEST_GROWTH = 30.0, 300.0
"""Seconds within which a measured pace nearly trebles."""
GROWTH_MESSAGES = 120
"""Within so many messages it does, where that lies between the two."""
MARKS_RATIO = 1.5
"""How far apart the marks are by which recent messages are kept: enough to measure, little to write."""


class LearnedPace:
    """The spacing that a server asked for. `kept` is what `keep` returned."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.spacing: float | None = kept.get("learned")
        """Seconds between two messages at present; `None` when the server asks for none."""
        self.wait = float(kept.get("wait", 0.0))
        """Seconds between two probes while the server takes nothing; 0 while it does."""
        self._basis: float | None = kept.get("basis")
        self._is_settled = bool(kept.get("settled"))
        """Whether the basis was found while all went well for a while, and not in the first seconds."""
        self._slowed_at = float(kept.get("slowed_at", 0.0))
        self._healthy_since = float(kept.get("healthy_since", 0.0))
        self._count = int(kept.get("taken", 0))
        self._times = deque(_from_marks(kept.get("marks", ())), maxlen=RECENT)

    @property
    def is_slowed(self) -> bool:
        """Whether the server asked for less than its limits allow."""
        return self.spacing is not None or self.wait > 0

    def slow_down(self, now: float) -> None:
        """The server asked for a slower pace."""
        if not self.wait:
            self._slowed_at = now
        self.wait = min(max(FIRST_WAIT, self.spacing or 0.0, WAIT_SHARE * (now - self._slowed_at)), LONGEST_WAIT)

    def succeed(self, now: float) -> None:
        """The server took a message that was sent after its last request to slow down."""
        if not self._slowed_at:
            return  # nearly all relays, nearly always
        if self.wait:
            self._recover(now)
        elif self.spacing is not None:
            self._speed_up(now)
        self.note(now)

    def note(self, now: float) -> None:
        """The server took a message: it counts as borne, whenever it was sent."""
        if self._slowed_at:
            self._times.append(now)
            self._count += 1

    def _recover(self, now: float) -> None:
        """The wait is over."""
        self._basis, self._is_settled = self._measure(now) if self._has_asked_before else None, self._has_settled
        self.spacing = self._basis or FIRST_SPACING
        self.wait = 0.0
        self._healthy_since = now
        self._count = 0

    @property
    def _has_asked_before(self) -> bool:
        """Whether a request shortly before this one had an end, so that what came since then measures the pace."""
        if self._healthy_since <= 0:
            return False
        return self.spacing is not None or self._slowed_at - self._healthy_since < MEMORY

    @property
    def _has_settled(self) -> bool:
        """Whether the spacing did well for a while before the last request: then it is a little too short, no more."""
        is_long = self._slowed_at - self._healthy_since >= SETTLED or self._count >= MANY
        return self.spacing is not None and is_long

    def _measure(self, now: float) -> float:
        """Return the spacing that the server bears: the shortest mean gap over any stretch of time up to now."""
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
            # What was measured within seconds is a guess, and most likely one too slow: it is not clung to.
            self.spacing = self._basis * exp(-(grown**3 if self._is_settled else grown + grown**3))
        if self.spacing < FORGOTTEN:
            self.spacing = self._basis = None

    def keep(self, now: float) -> dict[str, Any]:
        """Return what must outlive the drain; empty when nothing is known."""
        if not self.is_slowed and now - self._healthy_since > MEMORY:
            return {}
        kept = {"learned": self.spacing, "basis": self._basis, "wait": self.wait, "slowed_at": self._slowed_at}
        kept |= {"healthy_since": self._healthy_since, "taken": self._count, "settled": self._is_settled}
        return kept | {"marks": _marks(list(self._times)) if self.is_slowed else []}


def _marks(times: list[float]) -> list[list[float]]:
    """Return pairs: how many messages were taken since a time. The latest times come first, and closest together."""
    marks, count = [], 1.0
    while count <= len(times):
        marks.append([int(count), times[-int(count)]])
        count = max(count + 1, count * MARKS_RATIO)
    return marks


def _from_marks(marks: list[list[float]] | tuple[()]) -> list[float]:
    """Return times that lie no later than those that the marks were made of."""
    times: list[float] = []
    for count, at in marks:
        times += [at] * (int(count) - len(times))
    return times[::-1]


CERTAIN = 3
"""After so many connections in a row that ended after the same number of messages that number is taken for a limit."""
TRY_MORE_EVERY = 50
"""Every so often a connection is used for longer than the server is known to bear: it may have been changed."""


class ConnectionLimit:
    """How many messages a server takes on one connection before it answers 421."""

    def __init__(self, kept: Mapping[str, Any]) -> None:
        self.most: int | None = kept.get("per_connection")
        """`None` when no limit is known."""
        self._last, self._in_a_row = 0, 0
        self._opened = 0

    def next_most(self) -> int | None:
        """Return how many messages the next connection is used for; `None` means any number."""
        self._opened += 1
        return None if self._opened % TRY_MORE_EVERY == 0 else self.most

    def cut(self, after: int) -> None:
        """The server ended a connection after so many messages."""
        self._in_a_row = self._in_a_row + 1 if after == self._last else 1
        self._last = after
        if self._in_a_row >= CERTAIN:
            self.most = after

    def bear(self, count: int) -> None:
        """The server took so many messages on one connection."""
        if self.most is not None and count > self.most:
            self.most, self._in_a_row = None, 0
