"""By when a number of invitations will have been offered to a relay: limits, learned pace and sending windows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from own_smtp.profiles import Limits
from own_smtp.windows import next_closing, next_open

FARTHEST = timedelta(days=366)
"""Beyond this a forecast says nothing that anybody could use."""


def messages_per_second(limits: Limits, pace: Mapping[str, Any] | None) -> float | None:
    """Return the pace in the long run; `None` when nothing is known that limits it.

    `pace` is what `own_smtp.pace.Pacer.keep` left: the learned spacing, and the rate that was last seen.
    """
    pace = pace or {}
    spacing = max(limits.min_interval or 0.0, float(pace.get("learned") or 0.0)) * (1 + limits.jitter / 2)
    rates = [
        1 / spacing if spacing else None,
        limits.per_second,
        _share(limits.per_minute, 60),
        _share(limits.per_hour, 3600),
        _share(limits.per_day, 86400),
        pace.get("seen"),
    ]
    known = [float(rate) for rate in rates if rate]
    return min(known) if known else None


def _share(count: int | None, seconds: int) -> float | None:
    return None if count is None else count / seconds


def finish_time(limits: Limits, pace: Mapping[str, Any] | None, count: int, now: datetime) -> datetime | None:
    """Return by when `count` messages will have been offered; `None` when that cannot be said.

    A quota that is partly used up makes it later, retries of single messages do not count.
    """
    rate = messages_per_second(limits, pace)
    if rate is None:
        return None
    left = timedelta(seconds=min(count / rate, 2 * FARTHEST.total_seconds()))
    return _through_windows(limits, now, left)


def _through_windows(limits: Limits, now: datetime, left: timedelta) -> datetime | None:
    """Add sending time to `now`, counting only hours in which the relay may send."""
    at = now
    while at - now < FARTHEST:
        at = next_open(limits.sending_windows, limits.timezone, at)
        closing = next_closing(limits.sending_windows, limits.timezone, at)
        if closing is None or at + left <= closing:
            return at + left if at + left - now < FARTHEST else None
        left -= closing - at
        at = closing
    return None
