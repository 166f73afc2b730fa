"""Forecasts of a batch's end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from own_smtp.relays.rate_limits import Pacer
from own_smtp.relays.sending_windows import next_open
from own_smtp.reporting.forecast import finish_time, messages_per_second, start_time
from own_smtp.smtp.values import Limits

MONDAY = datetime(2026, 11, 23, 9, tzinfo=UTC)
OFFICE = ({"days": [0, 1, 2, 3, 4], "start": "08:00", "end": "17:00"},)


def test_nothing_known_means_nothing_said() -> None:
    """Without limits and without measurements there is no forecast."""
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
    """The learned spacing and the last measured rate slow the forecast down."""
    assert messages_per_second(Limits(per_second=100), {"learned": 2.0}) == 0.5
    assert messages_per_second(Limits(), {"seen": 25.0}) == 25.0


def test_twelve_thousand_at_thirty_a_minute() -> None:
    """12,400 invitations at 30 a minute take six hours and 53 minutes."""
    finish = finish_time(Limits(per_minute=30), None, 12_400, MONDAY)
    assert finish is not None
    assert timedelta(hours=6, minutes=53) <= finish - MONDAY < timedelta(hours=6, minutes=54)


def test_a_quota_is_no_pace() -> None:
    """A hundred messages under a quota of 2,000 a day take seconds, not an hour; 12,400 take six days and the rest."""
    day = Limits(per_day=2000, per_second=10)
    assert finish_time(day, None, 100, MONDAY) == MONDAY + timedelta(seconds=10)
    assert finish_time(day, None, 12_400, MONDAY) == MONDAY + timedelta(days=6, seconds=40)


def test_what_was_sent_counts_against_the_quota() -> None:
    """With today's quota used up at nine, the next message is sent at the end of the day, and the rest after it."""
    limits = Limits(per_day=2000, per_second=10)
    pace = Pacer(limits, None, lambda: 0.5).keep(MONDAY.timestamp(), 2000)
    finish = finish_time(limits, pace, 100, MONDAY)
    assert finish is not None
    assert timedelta(days=1) <= finish - MONDAY < timedelta(days=1, minutes=10)


def test_a_relay_that_rests_begins_later() -> None:
    """A rest that the server asked for comes first."""
    pace = {"next": MONDAY.timestamp() + 300, "learned": 2.0}
    assert finish_time(Limits(), pace, 10, MONDAY) == MONDAY + timedelta(seconds=320)


def test_only_hours_in_which_it_may_send_count() -> None:
    """A thousand at a hundred an hour, from eight to five on working days: eight bursts on Monday, two on Tuesday."""
    limits = Limits(per_hour=100, per_second=1, sending_windows=OFFICE)
    assert finish_time(limits, None, 1000, MONDAY) == datetime(2026, 11, 24, 9, 1, 40, tzinfo=UTC)


@pytest.mark.parametrize(
    ("evening", "morning"),
    [("2026-03-27T16:59+01:00", "2026-03-30T08:00+02:00"), ("2026-10-23T16:59+02:00", "2026-10-26T08:00+01:00")],
)
def test_the_hours_are_those_of_the_tenants_clock_through_a_change(evening: str, morning: str) -> None:
    """Half of it is sent one minute before five on Friday; the rest on Monday at eight by the new time."""
    limits = Limits(per_second=1, sending_windows=OFFICE, timezone="Europe/Berlin")
    finish = finish_time(limits, None, 120, datetime.fromisoformat(evening))
    assert finish == datetime.fromisoformat(morning) + timedelta(minutes=1)


def test_what_takes_longer_than_a_year_is_not_forecast() -> None:
    """A million at one an hour: such a date is useless."""
    assert finish_time(Limits(per_hour=1), None, 1_000_000, MONDAY) is None


@given(st.integers(0, 100_000), st.integers(0, 100_000), st.integers(1, 1000))
def test_more_never_finishes_earlier(fewer: int, more: int, per_minute: int) -> None:
    """The finish time grows with the number."""
    first = finish_time(Limits(per_minute=per_minute), None, min(fewer, more), MONDAY)
    second = finish_time(Limits(per_minute=per_minute), None, max(fewer, more), MONDAY)
    assert second is None or (first is not None and first <= second)


quotas = st.fixed_dictionaries(
    {
        "per_minute": st.none() | st.integers(1, 40),
        "per_hour": st.none() | st.integers(1, 200),
        "per_day": st.none() | st.integers(20, 400),
        "min_interval": st.none() | st.floats(0.5, 90),
        "per_second": st.none() | st.floats(0.1, 20),
        "sending_windows": st.sampled_from([(), OFFICE]),
    }
).filter(lambda values: any(value for name, value in values.items() if name != "sending_windows"))


BLINK = timedelta(milliseconds=1)
"""Tolerance for the rounding of floating-point sums, with a wide margin."""


@given(quotas, st.integers(1, 300), st.integers(0, 300))
@example({"per_minute": 35, "min_interval": 2.7307126191343087}, 38, 1)
def test_it_is_never_earlier_than_limits_allow_and_grows_with_count_and_use(values, count, used):
    """No plan exceeds a limit; neither one more message nor a fuller quota makes it finish earlier."""
    limits = Limits(**values)
    fresh = finish_time(limits, None, count, MONDAY)
    more = finish_time(limits, None, count + 1, MONDAY)
    pace = Pacer(limits, None, lambda: 0.5).keep(MONDAY.timestamp(), used)
    later = finish_time(limits, pace, count, MONDAY)
    if fresh is None:
        assert more is None
        assert later is None
        return
    assert more is None or fresh <= more + BLINK
    assert later is None or fresh <= later + BLINK
    seconds = (fresh - MONDAY).total_seconds()
    for period, limit in ((60, limits.per_minute), (3600, limits.per_hour), (86400, limits.per_day)):
        if limit is not None:
            assert seconds >= (count - 1) // limit * period
    for least in (limits.min_interval, 1 / limits.per_second if limits.per_second else None):
        assert least is None or seconds >= (count - 1) * least - 1e-3


@settings(max_examples=40)
@given(quotas, st.integers(1, 120), st.integers(0, 100))
def test_it_is_what_a_drain_would_do(values, count, used):
    """Messages that are simulated one by one finish at about the forecast time."""
    limits = Limits(**values)
    now = MONDAY.timestamp()
    pace = Pacer(limits, None, lambda: 0.5).keep(now, used)
    finish = finish_time(limits, pace, count, MONDAY)
    pacer, at = Pacer(limits, pace, lambda: 0.5), now
    for _ in range(count):
        at = max(at, pacer.next_at(at))
        while not pacer.acquire(at):
            at += 0.001
    if finish is None:
        assert at > now + 300 * 86400
        return
    # Slices make a drain's windows up to 1/250 longer; without a known pace, one is assumed. The forecast also counts
    # the spacing after the last message.
    spare = 60 + count / 10 + (at - now) / 100 + (limits.min_interval or 0)
    if limits.sending_windows:
        spare += 3 * 86400  # a message that just misses the closing is sent at the next opening
    assert abs(finish.timestamp() - at) <= spare


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 -- hypothesis wants them naive
    st.sampled_from(["Europe/Berlin", "America/New_York", "Asia/Kolkata"]),
    st.integers(1, 400_000),
)
def test_the_last_one_leaves_while_a_window_is_open(now, zone, count):
    """All year round, including clock changes, the finish is inside a sending window."""
    windows = (*OFFICE, {"days": [5], "start": "22:00", "end": "03:00"})
    finish = finish_time(Limits(per_second=1, sending_windows=windows, timezone=zone), None, count, now)
    assert finish is not None
    last = finish - timedelta(seconds=1)
    assert next_open(windows, zone, last) == last


def test_the_start_is_known_without_a_pace() -> None:
    """Sending windows and used-up quotas determine the start, whatever the server's rate."""
    assert start_time(Limits(), None, MONDAY) == MONDAY
    sunday = MONDAY - timedelta(days=1)
    office = Limits(sending_windows=OFFICE)
    assert start_time(office, None, sunday) == datetime(2026, 11, 23, 8, tzinfo=UTC)
    assert start_time(office, None, MONDAY) == MONDAY
    used = Limits(per_hour=10)
    kept = Pacer(used, None, float).keep(MONDAY.timestamp(), 10)
    start = start_time(used, kept, MONDAY + timedelta(minutes=20))
    assert start is not None
    assert timedelta(0) <= start - (MONDAY + timedelta(hours=1)) <= timedelta(seconds=15)


def test_a_start_beyond_every_forecast_is_none() -> None:
    """A window that does not open within a year means no start."""
    held = {"next": (MONDAY + timedelta(days=400)).timestamp()}
    assert start_time(Limits(), held, MONDAY) is None
