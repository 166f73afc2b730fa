"""How long a drain trusts its lease and its relay's configuration: never longer than nobody else can have taken it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from own_smtp.delivery.sending.lease_clock import LeaseClock
from tests.engine import Platform, recipients_of
from tests.scripted import PASS, ScriptedServer, Wait

AT = datetime(2026, 9, 21, 12, 0, tzinfo=UTC)
LEASE = timedelta(seconds=100)


class Steady:
    """A machine's clock that a test moves."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def test_a_lease_is_trusted_for_nine_tenths_of_its_time() -> None:
    """The rest is for what happens between the last look at the clock and the send."""
    steady = Steady()
    clock = LeaseClock(steady, LEASE)
    assert not clock.may_send()  # nobody has taken it yet
    clock.set(AT, asked_at=1000.0)
    for seconds, is_trusted in [(0.0, True), (89.0, True), (90.0, False), (91.0, False), (1000.0, False)]:
        steady.now = 1000.0 + seconds
        assert clock.may_send() is is_trusted


def test_a_lease_counts_from_the_question_and_not_from_the_answer() -> None:
    """The database may have renewed it at once and answered late."""
    steady = Steady(1080.0)
    clock = LeaseClock(steady, LEASE)
    clock.set(AT, asked_at=1000.0)
    assert clock.may_send()
    steady.now = 1095.0
    assert not clock.may_send()


def test_a_renewal_prolongs_the_trust_and_leaves_the_time_alone() -> None:
    """Limits are kept by a time that runs steadily, whatever the answers to renewals take."""
    steady = Steady()
    clock = LeaseClock(steady, LEASE)
    clock.set(AT, asked_at=1000.0)
    steady.now = 1060.0
    clock.set(AT + timedelta(seconds=75), asked_at=1060.0)
    assert clock.now() == AT.timestamp() + 60
    steady.now = 1149.0
    assert clock.may_send()
    steady.now = 1150.0
    assert not clock.may_send()
    assert clock.now() == AT.timestamp() + 150


# In a drain


@contextmanager
def unwritable(platform: Platform) -> Iterator[None]:
    """Keep every other writer out of the database."""
    with platform.engine.connect() as connection:
        connection.execute(text("BEGIN IMMEDIATE"))
        yield
        connection.rollback()


@pytest.mark.parametrize(("share", "sent"), [(0.7, 5), (1.0, 1)])
def test_nothing_is_sent_under_a_lease_that_may_have_run_out(
    make_platform: Callable[..., Platform], scripted: ScriptedServer, share: float, sent: int
) -> None:
    """While no renewal gets through, the drain sends what it claimed until its lease may be another's, and no longer.

    What it did not send waits again, and leaves once.
    """
    platform = make_platform(lease=20)
    set_ahead = [0.0]
    platform.with_parts(clock=lambda: time.monotonic() + set_ahead[0])
    relay = platform.add_relay(scripted)
    platform.send(relay, 5)
    gate = Wait()
    at_its_end = scripted.on("dot", (gate, PASS), message=1)
    with ThreadPoolExecutor(1) as threads:
        drain = threads.submit(platform.drain_in_thread, relay)
        scripted.wait_for(lambda: at_its_end.hits)
        with unwritable(platform):
            set_ahead[0] = share * 20
            gate.event.set()
            scripted.wait_for(lambda: len(scripted.copies) == 5 or scripted.connections[0].ended)
        drain.result()
    assert len(scripted.copies) == sent
    assert platform.states() == {"accepted": 5} if sent == 5 else {"accepted": 1, "queued": 4}
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 5}
    assert recipients_of(scripted.copies) == [f"user{number}@example.org" for number in range(1, 6)]


def test_an_edited_relay_gets_no_more_than_was_claimed_before(platform: Platform, scripted: ScriptedServer) -> None:
    """What is claimed after an edit waits for a drain that knows the new settings."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 200)
    gate = Wait()
    at_its_end = scripted.on("dot", (gate, PASS), message=1)
    with ScriptedServer() as other, ThreadPoolExecutor(1) as threads:
        drain = threads.submit(platform.drain_in_thread, relay)
        scripted.wait_for(lambda: at_its_end.hits)
        platform.change(relay, host=other.host, port=other.port)
        gate.event.set()
        drain.result()
        before = len(scripted.copies)
        assert 1 <= before <= 50
        assert platform.states() == {"accepted": before, "queued": 200 - before}
        platform.drain(relay)
        assert (len(scripted.copies), len(other.copies)) == (before, 200 - before)
        assert len(set(recipients_of([*scripted.copies, *other.copies]))) == 200
