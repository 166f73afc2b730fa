"""A rate limit over a sliding window, counted in slices so that its state stays small."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

SLICES = 250
"""The number of slices in which a window is counted. The oldest slice counts completely, so the limit is never
exceeded."""


@dataclass(slots=True)
class SlidingWindow:
    """A limit of `limit` messages in any `period` seconds."""

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
        """Return the number of messages that may be sent now."""
        self._forget(now)
        return max(0, self.limit - self.total)

    def next_at(self, now: float) -> float:
        """Return when the next message may be sent."""
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
        """Count the last `count` messages as sent now instead of at their original time."""
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
        """Move all counted messages so much later, to the precision of a slice."""
        for pair in self.slices:
            pair[0] += round(seconds / self._width)

    def dump(self) -> list[list[int]]:
        """Return the state for `load`."""
        return [list(pair) for pair in self.slices]

    def load(self, slices: list[list[int]]) -> None:
        """Restore the state from `dump`."""
        self.slices = deque([int(number), int(count)] for number, count in slices)
        self.total = sum(count for _number, count in self.slices)
