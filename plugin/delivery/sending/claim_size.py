"""How many invitations a drain claims in one turn."""

from __future__ import annotations

from own_smtp.delivery.sending.send_queue import SendQueue

FIRST_CLAIM = 50
MOST_CLAIMED = 500
RESERVE = 2
"""The number of turns for which the last claims must suffice, so that connections do not wait for them."""
AHEAD = 0.5
"""Seconds of sending that are claimed at a time: a lost machine leaves few invitations of a slow relay `unknown`."""


class ClaimSize:
    """Sizes claims by the rate of sending so far. `began_at` is the event loop's time at the start of the drain."""

    def __init__(self, queue: SendQueue, began_at: float) -> None:
        self._queue = queue
        self._began_at = began_at
        self._size = FIRST_CLAIM

    def next(self, loop_time: float, now: float) -> int:
        """Return the number of invitations to send within the next half second, as far as limits allow.

        `now` is the time in seconds since 1970.
        """
        if not self._queue.wants_more:
            return 0
        if self._queue.taken and not self._queue.backlog:
            self._size = min(MOST_CLAIMED, self._size * 2)  # the connections waited for a turn
        wanted = max(self._size, min(MOST_CLAIMED, int(AHEAD * self._rate(loop_time))))
        allowed = self._queue.pacer.allowance(now, AHEAD)
        return wanted if allowed is None else max(1, min(wanted, allowed))

    def reserve(self, loop_time: float, turn_seconds: float) -> int:
        """Return the number of waiting invitations below which more are claimed. A turn takes `turn_seconds`."""
        return min(RESERVE * MOST_CLAIMED, int(RESERVE * turn_seconds * self._rate(loop_time)))

    def _rate(self, loop_time: float) -> float:
        """Messages a second so far."""
        return self._queue.taken / max(loop_time - self._began_at, 0.001)
