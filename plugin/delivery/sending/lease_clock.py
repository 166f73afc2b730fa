"""How long a drain may trust its lease, by its own clock."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta


class LeaseClock:
    """The database's time, without asking it, and how long the lease certainly holds.

    `clock` is the machine's: seconds that pass steadily, whatever is set. The time runs as steadily: it is not set
    again with each renewal, whose answers take now longer and now shorter, because limits are kept by it.
    """

    def __init__(self, clock: Callable[[], float], duration: timedelta) -> None:
        self._clock = clock
        # A tenth is kept for what happens between the last look at the clock and the send.
        self._safe = 0.9 * duration.total_seconds()
        self._ahead: float | None = None
        self._until = 0.0

    def set(self, at: datetime, asked_at: float) -> None:
        """The lease was renewed when the database's clock said `at`, and not before the machine's said `asked_at`."""
        if self._ahead is None:
            self._ahead = at.timestamp() - asked_at
        self._until = asked_at + self._safe

    def now(self) -> float:
        """Return the database's time in seconds since 1970."""
        return self._clock() + (self._ahead or 0.0)

    def may_send(self) -> bool:
        """Whether the lease certainly holds."""
        return self._clock() < self._until
