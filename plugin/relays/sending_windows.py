"""Sending windows: the hours of the week in which a relay may send, in its tenant's time zone. Without texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo


def next_open(windows: Sequence[dict[str, Any]], timezone: str, at: datetime) -> datetime:
    """Return `at` when a window is open then, else when the next one opens, in UTC.

    A window is `{"days": [0..6], "start": "08:00", "end": "18:00"}`, Monday being 0; `start` belongs to it, `end`
    does not. One that ends at or before its start reaches into the next day. Where a clock change skips the start,
    the window opens when the clock has passed it. Without any window it is always open.
    """
    local = at.astimezone(ZoneInfo(timezone))
    spans = sorted(span for offset in range(-1, 9) for span in _spans(windows, local, offset))
    for start, end in spans:
        if start <= at < end:
            return at
        if start > at:
            return start
    return at


def next_closing(windows: Sequence[dict[str, Any]], timezone: str, at: datetime) -> datetime | None:
    """Return when the window that is open at `at` closes, in UTC; `None` when it never does.

    Windows that meet or overlap count as one.
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
    spans = []
    for window in windows:
        if day.weekday() not in window["days"]:
            continue
        start, end = time.fromisoformat(window["start"]), time.fromisoformat(window["end"])
        last_day = day + timedelta(days=1) if end <= start else day
        spans.append(
            (
                datetime.combine(day, start, local.tzinfo).astimezone(UTC),
                datetime.combine(last_day, end, local.tzinfo).astimezone(UTC),
            )
        )
    return spans
