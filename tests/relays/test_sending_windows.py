"""Sending windows in the tenant's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from own_smtp.relays.sending_windows import next_closing, next_open

OFFICE = ({"days": [0, 1, 2, 3, 4], "start": "08:00", "end": "18:00"},)
NIGHT = ({"days": [4], "start": "22:00", "end": "06:00"},)
BERLIN = "Europe/Berlin"

moments = st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 -- hypothesis wants them naive
hours = st.times().map(lambda time: f"{time:%H:%M}")
windows = st.lists(
    st.fixed_dictionaries({"days": st.lists(st.integers(0, 6), min_size=1, unique=True), "start": hours, "end": hours}),
    min_size=1,
    max_size=3,
).map(tuple)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def test_inside_a_window_it_is_open_now() -> None:
    """A moment within office hours is its own next opening."""
    monday = at("2026-11-23T10:00+01:00")
    assert next_open(OFFICE, BERLIN, monday) == monday


def test_before_and_after_office_hours_it_opens_the_next_morning() -> None:
    """Early on Monday it opens at eight; on Friday evening it opens on Monday."""
    assert next_open(OFFICE, BERLIN, at("2026-11-23T05:00+01:00")) == at("2026-11-23T08:00+01:00")
    assert next_open(OFFICE, BERLIN, at("2026-11-27T18:00+01:00")) == at("2026-11-30T08:00+01:00")


def test_the_hours_follow_the_clock_of_the_tenant_through_a_change() -> None:
    """Eight in Berlin is seven UTC in winter and six in summer."""
    assert next_open(OFFICE, BERLIN, at("2026-03-27T20:00+01:00")) == at("2026-03-30T08:00+02:00")
    assert next_open(OFFICE, BERLIN, at("2026-10-23T20:00+02:00")) == at("2026-10-26T08:00+01:00")


def test_a_window_may_reach_over_midnight() -> None:
    """Friday from ten in the evening to six lets send on Saturday at five, and not at seven."""
    saturday = at("2026-11-28T05:00+01:00")
    assert next_open(NIGHT, BERLIN, saturday) == saturday
    assert next_open(NIGHT, BERLIN, at("2026-11-28T07:00+01:00")) == at("2026-12-04T22:00+01:00")
    assert next_closing(NIGHT, BERLIN, saturday) == at("2026-11-28T06:00+01:00")


def test_a_start_that_the_clock_skips_opens_when_it_has_passed() -> None:
    """On the night of the change 02:30 does not exist: the window opens all the same, and within the hour."""
    gap = ({"days": [6], "start": "02:30", "end": "05:00"},)
    opening = next_open(gap, BERLIN, at("2026-03-28T12:00+01:00"))
    assert at("2026-03-29T01:00+01:00") <= opening <= at("2026-03-29T04:00+02:00")


def test_without_windows_it_is_always_open_and_never_closes() -> None:
    """No window means no restriction."""
    now = at("2026-11-22T03:00+01:00")
    assert next_open((), BERLIN, now) == now
    assert next_closing((), BERLIN, now) is None


@given(windows, moments)
def test_an_opening_is_open_and_not_in_the_past(some: tuple[dict[str, Any], ...], now: datetime) -> None:
    """What is called an opening lies at most eight days ahead and is open itself."""
    opening = next_open(some, BERLIN, now)
    assert now <= opening <= now + timedelta(days=8)
    assert next_open(some, BERLIN, opening) == opening


@given(windows, moments)
def test_a_closing_ends_the_opening(some: tuple[dict[str, Any], ...], now: datetime) -> None:
    """Right before it closes a window is open; at its closing it is not, unless it is open all week."""
    opening = next_open(some, BERLIN, now)
    closing = next_closing(some, BERLIN, opening)
    if closing is not None:
        last = closing - timedelta(microseconds=1)
        assert next_open(some, BERLIN, last) == last
        assert next_open(some, BERLIN, closing) > closing
