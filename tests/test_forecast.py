"""By when a send will be finished."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.forecast import finish_time, messages_per_second
from own_smtp.profiles import Limits

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_nothing_known_means_nothing_said() -> None:
    """Without limits and without experience there is no forecast."""
    assert finish_time(Limits(), None, 1000, MONDAY) is None


@pytest.mark.parametrize(
    ("limits", "rate"),
    [
        (Limits(min_interval=2.0), 0.5),
        (Limits(per_minute=30), 0.5),
        (Limits(per_hour=1800, per_second=10), 0.5),
        (Limits(per_day=43200), 0.5),
        (Limits(min_interval=2.0, jitter=0.2), 1 / 2.2),
    ],
)
def test_the_slowest_limit_makes_the_pace(limits: Limits, rate: float) -> None:
    """One message every two seconds is thirty a minute is 1,800 an hour is 43,200 a day."""
    assert messages_per_second(limits, None) == pytest.approx(rate)


def test_experience_counts() -> None:
    """The learned spacing and the rate seen last make the forecast slower than the limits alone."""
    assert messages_per_second(Limits(per_second=100), {"learned": 2.0}) == 0.5
    assert messages_per_second(Limits(), {"seen": 25.0}) == 25.0


def test_twelve_thousand_at_thirty_a_minute() -> None:
    """12,400 invitations at 30 a minute take six hours and 53 minutes."""
    finish = finish_time(Limits(per_minute=30), None, 12_400, MONDAY)
    assert finish is not None
    assert timedelta(hours=6, minutes=53) <= finish - MONDAY < timedelta(hours=6, minutes=54)


def test_only_hours_in_which_it_may_send_count() -> None:
    """Ten hours of sending, from eight to five on working days, end on Tuesday at ten."""
    limits = Limits(per_hour=100, sending_windows=({"days": [0, 1, 2, 3, 4], "start": "08:00", "end": "17:00"},))
    assert finish_time(limits, None, 1000, MONDAY) == datetime(2026, 11, 24, 10, tzinfo=UTC)


def test_what_takes_longer_than_a_year_is_not_forecast() -> None:
    """A million at one an hour: nobody could use the date."""
    assert finish_time(Limits(per_hour=1), None, 1_000_000, MONDAY) is None


@given(st.integers(0, 100_000), st.integers(0, 100_000), st.integers(1, 1000))
def test_more_never_finishes_earlier(fewer: int, more: int, per_minute: int) -> None:
    """The finish time grows with the number."""
    first = finish_time(Limits(per_minute=per_minute), None, min(fewer, more), MONDAY)
    second = finish_time(Limits(per_minute=per_minute), None, max(fewer, more), MONDAY)
    assert second is None or (first is not None and first <= second)
