"""Learned limits: each kind of server limit is used well, full speed returns soon, and both outlive a drain."""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from own_smtp.relays.learned_pace import CERTAIN, LONGEST_WAIT, TRY_MORE_EVERY, ConnectionLimit
from own_smtp.relays.rate_limits import Pacer
from own_smtp.smtp.values import Limits

NOON = 1_790_000_000.0
DRAIN = 60.0
LATENCY = 0.002
CONNECTIONS = 4


class Sliding:
    """A server with a limit per sliding period."""

    def __init__(self, limit: int, period: float) -> None:
        self.limit, self.period = limit, period
        self.taken: deque[float] = deque()

    def takes(self, now: float) -> bool:
        while self.taken and self.taken[0] <= now - self.period:
            self.taken.popleft()
        if len(self.taken) >= self.limit:
            return False
        self.taken.append(now)
        return True


class Fixed(Sliding):
    """A server with a limit per fixed period, as Postfix's anvil has."""

    def takes(self, now: float) -> bool:
        if self.taken and self.taken[0] <= now - self.period:
            self.taken.clear()
        return super().takes(now)


class Bucket:
    """A server with a token bucket."""

    def __init__(self, limit: int, period: float) -> None:
        self.left, self.limit, self.rate = float(limit), limit, limit / period
        self.at = NOON

    def takes(self, now: float) -> bool:
        self.left = min(self.limit, self.left + (now - self.at) * self.rate)
        self.at = now
        self.left -= (is_taken := self.left >= 1)
        return is_taken


class Storm:
    """A server that accepts nothing for a while, and everything before and after."""

    def __init__(self, start: float, end: float) -> None:
        self.start, self.end = NOON + start, NOON + end

    def takes(self, now: float) -> bool:
        return not self.start <= now < self.end


def answers(server: Any, seconds: float) -> Iterator[tuple[float, bool]]:
    """Send for so long over some connections, with a new drain each minute; yield each reply and its time."""
    now, number = NOON, 0
    pace = Pacer(Limits(), None, lambda: 0.5)
    drain_ends = NOON + DRAIN
    under_way: deque[tuple[float, int, bool]] = deque()
    stragglers: set[int] = set()
    while now < NOON + seconds:
        if now >= drain_ends and not under_way:
            pace = Pacer(Limits(), json.loads(json.dumps(pace.keep(now, 0))), lambda: 0.5, at=now)
            drain_ends = now + DRAIN
        next_at = pace.next_at(now) if len(under_way) < CONNECTIONS else float("inf")
        if not under_way or next_at < under_way[0][0]:
            now, number = next_at, number + 1
            if pace.acquire(now):
                under_way.append((now + LATENCY, number, server.takes(now)))
            continue
        now, answered, is_taken = under_way.popleft()
        if is_taken:
            pace.succeed(now, is_straggler=answered in stragglers)
        else:
            if not pace.is_waiting:
                stragglers = {other for _at, other, _taken in under_way}
            pace.slow_down(now)
        yield now - NOON, is_taken


@pytest.mark.parametrize("kind", [Sliding, Fixed, Bucket])
@pytest.mark.parametrize(
    ("limit", "period", "seconds"),
    [(5, 1, 120), (20, 1, 120), (100, 1, 60), (10, 60, 1200), (60, 60, 600), (600, 60, 600), (100, 3600, 8 * 3600)],
)
def test_most_of_each_limit_is_used(kind: Any, limit: int, period: float, seconds: float) -> None:
    """A server that refuses what is too much for a second, a minute or an hour gets four fifths of it in the long run,
    and three quarters from the start."""
    taken = [at for at, is_taken in answers(kind(limit, period), seconds) if is_taken]
    later = [at for at in taken if at > seconds / 2]
    assert len(later) >= 0.8 * limit * seconds / 2 / period
    assert len(taken) >= 0.75 * limit * seconds / period


@pytest.mark.parametrize("kind", [Sliding, Fixed, Bucket])
def test_little_is_refused_once_the_rate_is_known(kind: Any) -> None:
    """A server that accepts 20 per second refuses hardly one message in a hundred."""
    found = [is_taken for at, is_taken in answers(kind(20, 1), 240) if at > 60]
    assert found.count(False) <= 0.015 * len(found)


@pytest.mark.parametrize(("start", "end"), [(0, 20), (0, 60), (5, 65), (30, 90), (55, 3600)])
def test_full_speed_returns_within_a_share_of_the_storms_length(start: float, end: float) -> None:
    """The end is noticed within a third of the storm, and a few seconds later it has no effect any more."""
    noticed_by = end + 1 + (end - start) / 3
    found = answers(Storm(start, end), noticed_by + 30)
    refused, noticed_at = [], 0.0
    for at, is_taken in found:
        if not is_taken:
            refused.append(at)
        elif at >= end:
            noticed_at = at
            break
    assert end <= noticed_at <= noticed_by
    assert len(refused) <= 60
    taken = sum(is_taken for _at, is_taken in itertools.takewhile(lambda answer: answer[0] < noticed_at + 25, found))
    assert taken >= 0.8 * 25 * CONNECTIONS / LATENCY


def test_while_the_server_accepts_nothing_single_messages_are_tried() -> None:
    """During the storm each refusal is followed by a wait of at most a quarter of an hour."""
    refused = [at for at, is_taken in answers(Storm(0, 20_000), 20_000) if not is_taken][CONNECTIONS:]
    waits = [later - earlier for earlier, later in itertools.pairwise(refused)]
    assert min(waits) >= 0.5
    assert max(waits) <= LONGEST_WAIT + LATENCY * 2
    assert len(refused) < 100


def pacer(kept: dict[str, Any] | None) -> Pacer:
    return Pacer(Limits(), kept, lambda: 0.5)


@pytest.mark.parametrize("spacing", [0.5, 12.8, 60.0, 300.0])
def test_any_interval_is_a_hundredth_after_ten_minutes_and_soon_dropped(spacing: float) -> None:
    """Also if each drain sends no more than one message."""
    kept: dict[str, Any] | None = {"learned": spacing, "basis": spacing, "slowed_at": NOON - 1, "healthy_since": NOON}
    now = NOON
    while (pace := pacer(kept)).learned is not None:
        now = max(now, pace.next_at(now))
        assert pace.acquire(now)
        pace.succeed(now)
        kept = pace.keep(now, 0)
        if now > NOON + 600:
            assert (pace.learned or 0.0) <= spacing / 100
    assert now <= NOON + 700


def test_an_interval_learned_by_an_older_version_is_soon_dropped() -> None:
    """Its state lacks some times: the next accepted message counts as the first after a storm."""
    pace = pacer({"learned": 12.8, "slowed_at": NOON - 387})
    for _ in range(20):
        pace.succeed(NOON)
    assert pace.learned is None


def test_late_timers_do_not_slow_a_learned_rate() -> None:
    """The next message makes up for a few milliseconds of delay, but not for a rest."""
    since = NOON - 1
    pace = pacer({"learned": 0.1, "basis": 0.1, "slowed_at": since, "healthy_since": since, "next": NOON})
    now = NOON
    for _ in range(100):
        now = pace.next_at(now) + 0.02
        assert pace.acquire(now)
        pace.written(now)
    assert now == pytest.approx(NOON + 99 * 0.1 + 0.02, abs=1e-4)
    assert pace.acquire(now + 60)
    assert pace.next_at(now + 60) >= now + 60.05


def test_messages_in_flight_neither_end_the_wait_nor_prolong_it() -> None:
    """Ten replies at the same moment are one request, and a message sent before it proves nothing."""
    pace = pacer(None)
    for hundredth in range(10):
        pace.slow_down(NOON + hundredth / 100)
    assert pace.next_at(NOON + 0.1) == pytest.approx(NOON + 0.59, abs=1e-6)
    pace.succeed(NOON + 0.2, is_straggler=True)
    assert pace.is_waiting
    pace.succeed(NOON + 0.6)
    assert not pace.is_waiting


def test_the_wait_outlives_the_drain() -> None:
    """The next drain waits for the rest of it, sends one message, and continues with longer waits."""
    pace = pacer(None)
    for second in range(0, 40, 2):
        pace.slow_down(NOON + second)
    again = pacer(json.loads(json.dumps(pace.keep(NOON + 38, 0))))
    assert again.next_at(NOON + 38) == pace.next_at(NOON + 38) == NOON + 38 + 9.5
    assert again.acquire(NOON + 48)
    assert not again.acquire(NOON + 50)
    again.slow_down(NOON + 48)
    assert again.next_at(NOON + 48) == NOON + 60


def test_a_rate_that_was_never_slowed_stores_nothing() -> None:
    """Healthy relays would otherwise write that state four times per second."""
    pace = pacer(None)
    for _ in range(100):
        assert pace.acquire(NOON)
        pace.succeed(NOON)
    assert pace.keep(NOON + 1, 0) is None


# Messages per connection


def test_a_number_of_messages_per_connection_is_learned_when_it_is_certain() -> None:
    """Three connections that end after the same number show a limit, others are accidents."""
    limit = ConnectionLimit({})
    for after in (5, 5, 9, 5, 5):
        limit.cut(after)
    assert limit.most is None
    limit.cut(5)
    assert (CERTAIN, limit.most) == (3, 5)
    assert ConnectionLimit({"per_connection": limit.most}).most == 5


def test_a_learned_number_is_tested_and_dropped_if_more_is_accepted() -> None:
    """One connection in fifty is used for as long as the server allows."""
    limit = ConnectionLimit({"per_connection": 5})
    most = [limit.next_most() for _ in range(TRY_MORE_EVERY)]
    assert most == [5] * (TRY_MORE_EVERY - 1) + [None]
    limit.bear(5)
    assert limit.most == 5
    limit.bear(6)
    assert limit.most is None
