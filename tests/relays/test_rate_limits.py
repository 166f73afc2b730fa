"""The rate: configured limits, learned limits, and their state after a kill."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from own_smtp.relays.rate_limits import ENOUGH_SEEN, Pacer, capped
from own_smtp.relays.sliding_window import SLICES, SlidingWindow
from own_smtp.settings import Settings
from own_smtp.smtp.values import Limits

NOON = 1_790_000_000.0


def pacer(kept: dict[str, Any] | None = None, at: float = 0.0, lag: float = 0.0, **limits: Any) -> Pacer:
    return Pacer(Limits(**limits), kept, lambda: 0.5, at=at, lag=lag)


def send(pace: Pacer, now: float, count: int, latency: float = 0.0) -> list[float]:
    """Send as a drain does: at the first allowed moment, or a little later."""
    sent = []
    while len(sent) < count:
        now = max(now, pace.next_at(now))
        if pace.acquire(now):
            sent.append(now)
            now += latency
        else:
            now += 0.0005  # a drain's shortest sleep
    return sent


def most_in_any(sent: list[float], period: float) -> int:
    worst, first = 0, 0
    for last, time in enumerate(sent):
        while sent[first] <= time - period:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def test_without_limits_nothing_waits() -> None:
    """A relay without limits sends everything at once, and has no state to store."""
    pace = pacer()
    assert send(pace, NOON, 1000) == [NOON] * 1000
    assert pace.allowance(NOON, 1.0) is None
    assert "windows" not in (pace.keep(NOON, 10) or {})


def test_spacing_is_the_least_gap() -> None:
    """With an interval of two seconds no two messages are closer, and none waits longer than necessary."""
    sent = send(pacer(min_interval=2.0), NOON, 20)
    assert {round(b - a, 6) for a, b in itertools.pairwise(sent)} == {2.0}


def test_jitter_only_lengthens_the_spacing() -> None:
    """Half a jitter of 40 % makes 2.4 seconds of 2."""
    sent = send(pacer(min_interval=2.0, jitter=0.4), NOON, 5)
    assert {round(b - a, 6) for a, b in itertools.pairwise(sent)} == {2.4}


@pytest.mark.parametrize(
    ("name", "limit", "period"), [("per_second", 100, 1), ("per_minute", 30, 60), ("per_hour", 500, 3600)]
)
def test_no_window_ever_holds_more_than_its_limit_and_little_is_wasted(name: str, limit: int, period: float) -> None:
    """Over ten periods no stretch of one period exceeds the limit, and at least 99 % of it is used."""
    sent = send(pacer(**{name: limit}), NOON, 10 * limit)
    assert most_in_any(sent, period) <= limit
    assert (sent[-1] - sent[0]) <= 9 * period / 0.99


@settings(max_examples=60)
@given(
    st.integers(1, 20),
    st.integers(20, 90),
    st.floats(0, 0.5),
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.integers(0, 10),
)
def test_limits_hold_over_kills(
    per_second: int, per_minute: int, latency: float, lives: list[int], claimed: int
) -> None:
    """However often a drain is killed after any number of messages, no second and no minute exceeds its limit."""
    kept: dict[str, Any] | None = None
    sent: list[float] = []
    now = NOON
    for count in lives:
        pace = pacer(kept, at=now, per_second=per_second, per_minute=per_minute)
        for number in range(count):
            # What was written last may be older than several messages: it counts them as claimed.
            if number % (1 + claimed) == 0:
                kept = pace.keep(now, 1 + claimed)
            now = max(now, pace.next_at(now))
            sent += send(pace, now, 1)
            now = sent[-1] + latency
    assert most_in_any(sent, 1.0) <= per_second
    assert most_in_any(sent, 60.0) <= per_minute


@pytest.mark.parametrize("limits", [{"min_interval": 2.0}, {"per_second": 1}, {"per_second": 0.25}, {"per_minute": 1}])
@pytest.mark.parametrize("idle", [0.0, 0.7, 1.9])
def test_a_claimed_message_counts_as_sent_right_before_the_next_drain(limits: dict[str, Any], idle: float) -> None:
    """Its drain may have sent it long after the claim, and just before its death."""
    first = pacer(**limits)
    kept = first.keep(NOON, 1)
    (last,) = send(first, NOON + idle, 1)
    second = pacer(kept, at=last, **limits)
    assert send(second, last, 1)[0] - last >= 1 / limits.get("per_second", 0.5) * (1 - 1e-9)


def test_nothing_is_lost_after_a_clean_end() -> None:
    """A drain that released all its claims leaves the next one its interval, and no more."""
    first = pacer(min_interval=2.0)
    send(first, NOON, 1)
    assert pacer(first.keep(NOON + 1.5, 0), at=NOON + 1.5, min_interval=2.0).next_at(NOON + 1.5) == NOON + 2.0


def test_a_message_counts_when_it_is_written() -> None:
    """A process that stalls between taking a message and writing it delays all later ones."""
    spaced = pacer(min_interval=0.5)
    assert spaced.acquire(NOON)
    spaced.written(NOON + 0.3)
    assert spaced.next_at(NOON + 0.4) == NOON + 0.8
    counted = pacer(per_second=2)
    send(counted, NOON, 2)
    counted.written(NOON + 0.3)
    assert counted.next_at(NOON + 0.5) == pytest.approx(NOON + 1.0, abs=0.02)
    assert send(counted, NOON + 0.5, 2)[1] == pytest.approx(NOON + 1.3, abs=0.02)


def test_a_drain_whose_clock_may_be_ahead_waits_for_as_much_longer() -> None:
    """Reading the database's clock took a while: the elapsed interval may be shorter by that."""
    for limits in ({"min_interval": 2.0}, {"per_second": 1}):
        first = pacer(**limits)
        send(first, NOON, 1)
        kept = first.keep(NOON, 0)
        prompt, late = pacer(kept, **limits), pacer(kept, lag=0.2, **limits)
        assert late.next_at(NOON) - prompt.next_at(NOON) == pytest.approx(0.2, abs=0.004)


def test_a_restart_after_a_clean_end_wastes_nothing() -> None:
    """A drain that ends cleanly hands on exactly its use of a quota."""
    first = pacer(per_hour=10)
    send(first, NOON, 4)
    second = pacer(first.keep(NOON, 0), per_hour=10)
    assert second.allowance(NOON, 1.0) == 7  # six are left, and one may become free within the second
    assert send(second, NOON, 6) == [NOON] * 6
    assert second.next_at(NOON) >= NOON + 3600


def test_sending_waits_for_its_window() -> None:
    """On a Sunday nothing may be sent by a relay that sends on Mondays."""
    sunday = 1_795_338_000.0  # 2026-11-22 09:00 UTC
    pace = pacer(sending_windows=({"days": [0], "start": "08:00", "end": "18:00"},), timezone="UTC")
    assert not pace.acquire(sunday)
    assert pace.next_at(sunday) == sunday + 23 * 3600


def test_slow_limits_in_seconds_become_spacing() -> None:
    """Half a message a second is one every two seconds."""
    assert pacer(per_second=0.5).spacing == 2.0


@given(st.lists(st.floats(0, 500), max_size=60), st.integers(1, 10))
def test_a_windows_counts_are_consistent(gaps: list[float], limit: int) -> None:
    """The rest and the count never contradict each other, however time passes."""
    window, now = SlidingWindow(60.0, limit), NOON
    for gap in gaps:
        now += gap
        if window.left(now):
            window.add(now, 1)
        else:
            assert window.next_at(now) > now
        assert window.total == sum(count for _slice, count in window.slices) <= limit


@given(
    st.fixed_dictionaries(
        {name: st.none() | st.integers(1, 30) for name in ("per_second", "per_minute", "per_hour", "per_day")}
        | {"min_interval": st.none() | st.floats(0.1, 100)}
    ),
    st.integers(0, 100),
)
def test_reported_blockers_end_with_the_wait(limits: dict[str, Any], count: int) -> None:
    """No reported holdup lasts longer than the wait, and without a holdup there is no wait."""
    pace = pacer(pacer(**limits).keep(NOON, count), **limits)
    found = pace.blockers(NOON)
    assert bool(found) == (pace.next_at(NOON) > NOON)
    assert all(NOON < at <= pace.next_at(NOON) for at in found.values())


def test_a_slice_is_forgotten_only_when_all_of_it_is_over() -> None:
    """A message at the end of a slice counts for its whole period, and for no more than a slice longer."""
    window = SlidingWindow(float(SLICES), 1)  # slices of one second
    window.add(1000.9, 1)
    assert window.next_at(1250.5) == 1251.0
    assert (window.left(1250.5), window.left(1250.999), window.left(1252.0)) == (0, 0, 1)


def test_moved_messages_are_taken_from_the_latest_slices() -> None:
    """However many slices they are in: each counts once, and none is counted earlier than before."""
    window = SlidingWindow(float(SLICES), 10)
    for second, count in [(1000, 2), (1001, 1), (1002, 1)]:
        window.add(second, count)
    window.move_last(1005, 3)
    assert (window.dump(), window.total) == ([[1000, 1], [1005, 3]], 4)
    window.move_last(1003, 3)
    assert window.dump() == [[1000, 1], [1005, 3]]
    window.move_last(1006, 9)  # more than it knows of
    assert (window.dump(), window.total) == ([[1006, 4]], 4)


def test_a_windows_state_is_as_small_as_its_slices() -> None:
    """It is written with each claim: thousands of messages within one slice are one number."""
    pace = pacer(per_hour=5000)
    send(pace, NOON, 4000)
    assert pace.keep(NOON, 0)["windows"] == {"hour": [[int(NOON // 14.4), 4000]]}


def test_limits_may_change_between_two_drains() -> None:
    """A limit that is gone holds nothing up, and one that is new counts from now, also after a crash."""
    first = pacer(per_hour=5)
    send(first, NOON, 3)
    kept = first.keep(NOON, 2)
    second = pacer(kept, at=NOON, per_minute=4)
    assert send(second, NOON, 4) == [NOON] * 4
    assert second.next_at(NOON) >= NOON + 60


def test_the_interval_that_the_server_demands_outlives_a_crash() -> None:
    """What a killed drain had claimed may have left a moment ago."""
    learned = {"learned": 1.0, "basis": 1.0, "slowed_at": NOON - 2, "healthy_since": NOON - 1}
    kept = pacer(learned).keep(NOON, 1)
    assert pacer(kept, at=NOON + 5).next_at(NOON + 5) == NOON + 6


@pytest.mark.parametrize("learned", [False, True])
def test_an_interval_is_reported_as_the_reason_of_a_wait(learned: bool) -> None:
    """Whether a person set it or the server demands it."""
    known = {"learned": 2.0, "basis": 2.0, "slowed_at": NOON - 2, "healthy_since": NOON - 1}
    pace = pacer(known) if learned else pacer(min_interval=2.0)
    assert pace.acquire(NOON)
    assert pace.blockers(NOON + 0.5) == {"spacing": pace.next_at(NOON + 0.5)}
    assert pace.next_at(NOON + 0.5) >= NOON + 1.9


def test_closed_hours_are_reported_as_the_reason_of_a_wait() -> None:
    """With the time at which they end."""
    sunday = 1_795_338_000.0  # 2026-11-22 09:00 UTC
    pace = pacer(sending_windows=({"days": [0], "start": "08:00", "end": "18:00"},), timezone="UTC")
    assert pace.blockers(sunday) == {"hours": sunday + 23 * 3600}


def test_no_more_is_claimed_than_may_leave_soon() -> None:
    """A claimed invitation that has to wait is kept from a worker that could send it."""
    assert pacer(min_interval=2.0).allowance(NOON, 10.0) == 6
    assert pacer(min_interval=2.0, per_minute=3).allowance(NOON, 10.0) == 4
    waiting = pacer(min_interval=60.0)
    assert waiting.acquire(NOON)
    assert waiting.allowance(NOON, 10.0) == 0
    waiting = pacer()
    waiting.slow_down(NOON)
    assert waiting.allowance(NOON + 1, 10.0) == 21  # probes, half a second apart


def test_the_measured_rate_is_that_of_the_messages_sent() -> None:
    """Known after enough of them, and kept for the next drain until it has measured its own."""
    pace = pacer(min_interval=0.5)
    sent = send(pace, NOON, ENOUGH_SEEN - 1)
    assert pace.seen is None
    (last,) = send(pace, sent[-1], 1)
    assert pace.seen == pytest.approx(2.0, rel=0.05)
    after = pacer(pace.keep(last, 0))
    assert after.acquire(last + 1000)
    assert after.seen == pace.seen


@pytest.mark.parametrize(
    ("own", "ceiling", "result"), [(None, None, None), (7, None, 7), (None, 5, 5), (4, 5, 4), (5, 5, 5), (6, 5, 5)]
)
def test_no_relay_is_faster_than_the_platform_allows(own: int | None, ceiling: int | None, result: int | None) -> None:
    """The lower one of both limits counts."""
    assert capped(Limits(per_second=own), Settings(ceiling_per_second=ceiling)).per_second == result
