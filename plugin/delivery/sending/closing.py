"""What a drain leaves behind when it ends, and whether its relay must pause."""

from __future__ import annotations

from collections.abc import Sequence

from own_smtp.delivery.contract import Closing, Opened
from own_smtp.delivery.sending.connections import ConnectionPool
from own_smtp.delivery.sending.send_queue import SendQueue
from own_smtp.smtp.values import Outcome
from own_smtp.states import PauseReason


def closing_of(queue: SendQueue, pool: ConnectionPool, opened: Opened, released: Sequence[int], now: float) -> Closing:
    """Return it. `released` were claimed and not sent; `now` is the database's time in seconds since 1970."""
    return Closing(
        released=released,
        ended=queue.ended,
        pace=queue.pacer.keep(now, 0),
        wake_at=queue.wake_at,
        last_success_at=queue.last_success_at,
        failure=pool.failure or queue.pause,
        is_unreachable=pool.failure is not None,
        pause=queue.pause or _unreachable(pool.failure, opened, now, has_ended=bool(queue.ended)),
        facts=pool.facts,
    )


def _unreachable(failure: Outcome | None, opened: Opened, now: float, *, has_ended: bool) -> Outcome | None:
    """Return why there was no connection, when that makes the relay pause: at once, or after too long a time."""
    if failure is None or failure.pause is not None:
        return failure
    since = None if has_ended else opened.taken.failing_since
    if since is None or now - since.timestamp() < opened.settings.retry_horizon.total_seconds():
        return None
    return failure._replace(pause=PauseReason.UNREACHABLE)
