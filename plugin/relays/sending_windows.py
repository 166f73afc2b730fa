"""Sending windows: the hours of the week in which a relay may send, in its time zone. Without texts for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo


def next_open(windows: Sequence[dict[str, Any]], timezone: str, at: datetime) -> datetime:
    """Return `at` if a window is open then, else the time at which the next one opens, in UTC.

    A window is `{"days": [0..6], "start": "08:00", "end": "18:00"}`, Monday being 0; `start` is included, `end` is
    not. One that ends at or before its start extends into the next day. At clock changes the displayed time decides: a
    skipped edge lies at the change, and times that are displayed twice are inside a window twice. Without windows it is
    always open.
    """
    local = at.astimezone(ZoneInfo(timezone))
    # A second week is needed only if a clock change skips the window of the first.
    for offsets in (range(-1, 9), range(9, 16)):
        for start, end in sorted(span for offset in offsets for span in _spans(windows, local, offset)):
            if start <= at < end:
                return at
            if start > at:
                return start
    return at


def next_closing(windows: Sequence[dict[str, Any]], timezone: str, at: datetime) -> datetime | None:
    """Return when the window that is open at `at` closes, in UTC; `None` if it never does.

    Adjoining or overlapping windows count as one.
    """
    if not windows:
        return None
    local = at.astimezone(ZoneInfo(timezone))
    closing = at
    for start, end in sorted(span for offset in range(-1, 9) for span in _spans(windows, local, offset)):
        if start <= closing < end:
            closing = end
    return closing if closing - at < timedelta(days=7) else None


def _spans(windows: Sequence[dict[str, Any]], local: datetime, offset: int) -> list[tuple[datetime, datetime]]:
    day = local.date() + timedelta(days=offset)
    spans: list[tuple[datetime, datetime]] = []
    for window in windows:
        if day.weekday() not in window["days"]:
            continue
        start, end = time.fromisoformat(window["start"]), time.fromisoformat(window["end"])
        last_day = day + timedelta(days=1) if end <= start else day
        spans += _shown(datetime.combine(day, start, local.tzinfo), datetime.combine(last_day, end, local.tzinfo))
    return spans


def _shown(start: datetime, end: datetime) -> list[tuple[datetime, datetime]]:
    """Return the spans, in UTC, in which a clock shows times from `start` (included) to `end` (excluded).

    1. Usually that is one span. 2. A skipped edge lies at the change. 3. An edge that is displayed twice makes two
    spans: the clock is set back out of the window, or into it.
    """
    opens, opens_again = _moments(start)
    closes_first, closes = _moments(end)
    edges = [opens, closes]
    if opens != opens_again and closes_first != closes:
        edges = [opens, closes_first, opens_again, closes]
    elif opens != opens_again:
        edges = [opens, _change(opens, opens_again, start.tzinfo), opens_again, closes]
    elif closes_first != closes:
        edges = [opens, closes_first, _change(closes_first, closes, end.tzinfo), closes]
    return [span for span in zip(edges[::2], edges[1::2], strict=True) if span[0] < span[1]]


def _moments(local: datetime) -> tuple[datetime, datetime]:
    """Return the first and the last moment at which a clock shows that time (PEP 495), in UTC."""
    first, last = (local.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= last:
        return first, last
    skipped = _change(last, first, local.tzinfo)  # the clock change skips it
    return skipped, skipped


def _change(before: datetime, after: datetime, zone: tzinfo | None) -> datetime:
    """Return the second at which clocks in `zone` are changed between two moments, in UTC."""
    low, high = int(before.timestamp()), int(after.timestamp())
    offset = before.astimezone(zone).utcoffset()
    while high - low > 1:
        middle = (low + high) // 2
        is_before = datetime.fromtimestamp(middle, zone).utcoffset() == offset
        low, high = (middle, high) if is_before else (low, middle)
    return datetime.fromtimestamp(high, UTC)
