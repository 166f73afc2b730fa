"""What a drain leaves behind for its relay: how long it rests, why it failed, what its people are told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import update

from own_smtp.states import PauseReason
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Invitation, Lease
from tests.engine import Platform
from tests.scripted import ClosedPort, ScriptedServer

SECOND = timedelta(seconds=1)


def let_it_wake(platform: Platform, **values: timedelta) -> None:
    """Let the rest be over; other columns of the lease are given as their distance from now."""
    with platform.engine.begin() as connection:
        now = read_clock(connection)
        given = {name: now + value for name, value in values.items()}
        connection.execute(update(Lease).values(wake_at=None, **given))
        connection.execute(update(Invitation).values(next_attempt_at=now))


def rest_of(platform: Platform, relay: int) -> timedelta:
    with platform.engine.connect() as connection:
        rest = platform.lease(relay).wake_at - read_clock(connection)
    assert isinstance(rest, timedelta)
    return rest


def test_a_relay_that_cannot_be_reached_rests_longer_each_time(platform: Platform, scripted: ScriptedServer) -> None:
    """Doubling from the first wait; the first failure stays the first, and a message that is taken ends it all."""
    platform.with_parts(random=lambda: 0.5)
    first = platform.runtime.settings.reconnect
    with ClosedPort() as closed:
        relay = platform.add_relay(closed)
        platform.send(relay, 1)
        rests, since = [], set()
        for _time in range(3):
            platform.drain(relay)
            rests.append(rest_of(platform, relay))
            since.add(platform.lease(relay).failing_since)
            let_it_wake(platform)
    for number, rest in enumerate(rests):
        assert first * 2**number - 5 * SECOND < rest <= first * 2**number
    assert len(since) == 1
    lease = platform.lease(relay)
    assert (lease.failures, lease.error_count) == (3, 3)
    assert platform.states() == {"queued": 1}
    platform.change(relay, host=scripted.host, port=scripted.port)
    platform.drain(relay)
    lease = platform.lease(relay)
    assert (lease.failures, lease.failing_since, lease.wake_at) == (0, None, None)
    assert lease.last_success_at is not None


def test_another_error_begins_another_count(platform: Platform, scripted: ScriptedServer) -> None:
    """The page says since when and how often it is this one; a message that was taken in between begins anew."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 5)
    counts = []
    for reply in ("421 later", "421 later", "450 not now", "421 later", None, "421 later"):
        rule = scripted.on("banner", reply or "220 welcome")
        platform.drain(relay)
        counts.append((platform.lease(relay).error_count, platform.lease(relay).error_cause))
        rule.times = 0
        let_it_wake(platform)
        platform.send(relay, 1)
    assert [count for count, _cause in counts] == [1, 2, 1, 1, 1, 1]
    assert counts[1][1] == counts[3][1] != counts[2][1]


@pytest.mark.parametrize("is_over", [False, True])
def test_a_relay_pauses_that_could_not_be_reached_for_the_whole_horizon(
    make_platform: Callable[..., Platform], *, is_over: bool
) -> None:
    """Not before, and its people hear of it once; it is tried again by itself."""
    platform = make_platform(retry_horizon=timedelta(days=1))
    with ClosedPort() as closed:
        relay = platform.add_relay(closed)
        platform.send(relay, 1)
        platform.drain(relay)
        since = timedelta(hours=-25 if is_over else -23)
        let_it_wake(platform, failing_since=since)
        platform.drain(relay)
    row = platform.relay(relay)
    if is_over:
        assert (row.state, row.pause_reason) == ("paused", PauseReason.UNREACHABLE)
        assert row.probe_at > row.paused_at
        assert [change.pause_reason for change in platform.host.relay_changes] == ["unreachable"]
    else:
        assert row.state == "active"
        assert platform.host.relay_changes == []
    assert platform.states() == {"queued": 1}


def test_a_relay_that_is_tried_again_is_mended_by_a_message_that_was_taken(
    platform: Platform, scripted: ScriptedServer
) -> None:
    """Its people hear of the end once; without a message that was taken the reason stays."""
    relay = platform.add_relay(scripted, pause_reason="quota", pause_text="550 5.4.5 too many today")
    scripted.on("rcpt", "550 5.1.1 no such user", times=1)
    platform.send(relay, 1)
    platform.drain(relay)
    assert platform.states() == {"refused": 1}
    assert platform.relay(relay).pause_reason == "quota"
    assert platform.host.relay_changes == []
    for _send in range(2):
        platform.send(relay, 1)
        platform.drain(relay)
    assert platform.relay(relay).pause_reason is None
    assert [(change.state, change.pause_reason) for change in platform.host.relay_changes] == [("active", None)]


def test_what_a_drain_did_is_added_to_what_others_did(platform: Platform, scripted: ScriptedServer) -> None:
    """Each drain counts once, and leaves the relay to anybody."""
    relay = platform.add_relay(scripted)
    for number in range(1, 3):
        platform.send(relay, 1)
        platform.drain(relay)
        lease = platform.lease(relay)
        assert (lease.drains, lease.expires_at, lease.owner) == (number, None, None)
        assert lease.drained_at is not None
