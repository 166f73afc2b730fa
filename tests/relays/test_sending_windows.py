"""Sending windows in the tenant's time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
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
    """Friday from 22:00 to 06:00 allows sending on Saturday at five, and not at seven."""
    saturday = at("2026-11-28T05:00+01:00")
    assert next_open(NIGHT, BERLIN, saturday) == saturday
    assert next_open(NIGHT, BERLIN, at("2026-11-28T07:00+01:00")) == at("2026-12-04T22:00+01:00")
    assert next_closing(NIGHT, BERLIN, saturday) == at("2026-11-28T06:00+01:00")


@pytest.mark.parametrize(
    ("zone", "window", "opens", "closes"),
    [
        # 02:00 to 03:00 is skipped on March 29, and comes twice on October 25.
        (BERLIN, ("02:30", "05:00"), "2026-03-29T03:00+02:00", "2026-03-29T05:00+02:00"),
        (BERLIN, ("01:00", "02:30"), "2026-03-29T01:00+01:00", "2026-03-29T03:00+02:00"),
        (BERLIN, ("02:30", "05:00"), "2026-10-25T02:30+02:00", "2026-10-25T02:00+01:00"),
        (BERLIN, ("01:00", "02:30"), "2026-10-25T01:00+02:00", "2026-10-25T02:30+02:00"),
        (BERLIN, ("02:15", "02:45"), "2026-10-25T02:15+02:00", "2026-10-25T02:45+02:00"),
        ("America/New_York", ("02:30", "05:00"), "2026-03-08T03:00-04:00", "2026-03-08T05:00-04:00"),
        ("America/New_York", ("00:00", "01:30"), "2026-11-01T00:00-04:00", "2026-11-01T01:30-04:00"),
        # Half an hour: 02:00 to 02:30 is skipped on October 4, and 01:30 to 02:00 comes twice on April 5.
        ("Australia/Lord_Howe", ("02:15", "05:00"), "2026-10-04T02:30+11:00", "2026-10-04T05:00+11:00"),
        ("Australia/Lord_Howe", ("00:00", "01:45"), "2026-04-05T00:00+11:00", "2026-04-05T01:45+11:00"),
        # Ramadan: an hour earlier from February 15 on, and back on March 22.
        ("Africa/Casablanca", ("00:00", "02:30"), "2026-02-15T00:00+01:00", "2026-02-15T02:30+01:00"),
        ("Africa/Casablanca", ("02:30", "05:00"), "2026-03-22T03:00+01:00", "2026-03-22T05:00+01:00"),
    ],
)
def test_an_edge_that_the_clock_skips_or_repeats(zone: str, window: tuple[str, str], opens: str, closes: str) -> None:
    """A skipped edge lies at the change; a repeated one opens or closes the window each time."""
    sundays = ({"days": [6], "start": window[0], "end": window[1]},)
    opening = next_open(sundays, zone, at(opens) - timedelta(hours=12))
    assert opening == at(opens)
    assert next_closing(sundays, zone, opening) == at(closes)


def test_a_window_opens_again_when_the_clock_shows_its_hours_again() -> None:
    """From 01:00 to 02:30 means half an hour more in the night in which 02:00 to 02:30 comes twice."""
    night = ({"days": [6], "start": "01:00", "end": "02:30"},)
    again = next_open(night, BERLIN, at("2026-10-25T02:30+02:00"))
    assert again == at("2026-10-25T02:00+01:00")
    assert next_closing(night, BERLIN, again) == at("2026-10-25T02:30+01:00")


def test_a_window_within_a_skipped_hour_is_none_that_day() -> None:
    """It does not last from one end of nothing to the other, nor for a moment."""
    gap = ({"days": [6], "start": "02:15", "end": "02:45"},)
    for before in ("2026-03-22T02:45+01:00", "2026-03-28T12:00+01:00"):
        assert next_open(gap, BERLIN, at(before)) == at("2026-04-05T02:15+02:00")


def test_without_windows_it_is_always_open_and_never_closes() -> None:
    """No window means no restriction."""
    now = at("2026-11-22T03:00+01:00")
    assert next_open((), BERLIN, now) == now
    assert next_closing((), BERLIN, now) is None


CHANGES = [
    at(text)
    for text in (
        "2026-03-29T01:00+00:00",
        "2026-10-25T01:00+00:00",
        "2026-03-08T07:00+00:00",
        "2026-11-01T06:00+00:00",
        "2026-04-04T15:00+00:00",
        "2026-10-03T15:30+00:00",
        "2026-02-15T02:00+00:00",
        "2026-03-22T02:00+00:00",
    )
]
"""Moments at which the clocks of these zones are changed."""
ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca")


@given(st.sampled_from(ZONES), st.sampled_from(CHANGES), hours, hours, st.integers(-300, 300))
def test_it_is_open_when_the_clock_says_so(zone: str, change: datetime, start: str, end: str, minutes: int) -> None:
    """Around changes of the clock, too: with a window on every day, what a clock shows decides."""
    every_day = ({"days": list(range(7)), "start": start, "end": end},)
    now = change + timedelta(minutes=minutes)
    is_open = next_open(every_day, zone, now) == now
    local = now.astimezone(ZoneInfo(zone))
    shown = f"{local:%H:%M}"
    says_so = start <= shown < end if start < end else (shown >= start or shown < end)
    assert is_open == says_so


near_changes = st.builds(
    lambda change, minutes: change + timedelta(minutes=minutes), st.sampled_from(CHANGES), st.integers(-900, 900)
)


@given(st.sampled_from(ZONES), windows, moments | near_changes)
def test_an_opening_is_open_and_not_in_the_past(zone: str, some: tuple[dict[str, Any], ...], now: datetime) -> None:
    """An opening lies at most eight days ahead, or two weeks where a change skips it, and is open itself."""
    opening = next_open(some, zone, now)
    assert now <= opening <= now + timedelta(days=15)
    assert next_open(some, zone, opening) == opening


@given(st.sampled_from(ZONES), windows, moments | near_changes)
def test_a_closing_ends_the_opening(zone: str, some: tuple[dict[str, Any], ...], now: datetime) -> None:
    """Right before it closes a window is open; at its closing it is not, unless it is open all week."""
    opening = next_open(some, zone, now)
    closing = next_closing(some, zone, opening)
    if closing is not None:
        last = closing - timedelta(microseconds=1)
        assert next_open(some, zone, last) == last
        assert next_open(some, zone, closing) > closing
