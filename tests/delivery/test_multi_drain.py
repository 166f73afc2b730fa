"""One worker serves many relays: the slow ones do not keep it from the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from own_smtp.delivery.bookkeeping.bookkeeper import DatabaseBookkeeper
from own_smtp.delivery.bookkeeping.channel import ThreadChannel
from own_smtp.delivery.due import find_due
from own_smtp.delivery.sending import connections, multi_drain
from own_smtp.delivery.sending.drain import Drain, begin_drain
from own_smtp.delivery.sending.multi_drain import MultiDrain
from own_smtp.delivery.workers.drain_job import run_drains
from own_smtp.relays.urgent_tasks import UrgentTask
from own_smtp.settings import Deadlines
from own_smtp.smtp.network import Target
from own_smtp.smtp.session import Session
from own_smtp.smtp.values import RelayProfile
from own_smtp.storage.models import Journal
from tests.engine import Platform, recipients_of
from tests.scripted import HANG, PASS, BlackHole, ScriptedServer, Wait

LONG = Deadlines(connect=60, banner=60, command=60, data=60, body=60, final_dot=60, quit=1)


def test_a_relay_is_due_only_while_it_may_send_and_nobody_drains_it(
    platform: Platform, scripted: ScriptedServer
) -> None:
    """Paused, unconfirmed, resting and drained relays are left alone; those without work, too."""
    due = platform.add_relay(scripted)
    paused = platform.add_relay(scripted)
    idle = platform.add_relay(scripted)
    for relay in (due, paused):
        platform.send(relay, 1)
    platform.change(paused, state="paused")
    assert find_due(platform.runtime, 10) == [due]
    platform.drain(due)
    assert find_due(platform.runtime, 10) == []
    assert idle not in find_due(platform.runtime, 10)


def test_relays_served_longest_ago_come_first(platform: Platform, scripted: ScriptedServer) -> None:
    """A relay never drained comes before one drained long ago, and that one before one drained just now."""
    first, second, third = (platform.add_relay(scripted) for _ in range(3))
    for relay in (second, first):
        platform.send(relay, 1)
        platform.drain(relay)
    for relay in (first, second, third):
        platform.send(relay, 1)
    assert find_due(platform.runtime, 10) == [third, second, first]


def test_dead_relays_do_not_keep_a_worker_from_a_healthy_one(
    make_platform: Callable[..., Platform], scripted: ScriptedServer
) -> None:
    """While twenty relays never answer, the job of one of them delivers the healthy relay's invitations, too."""
    platform = make_platform(deadlines=LONG)
    with BlackHole() as hole:
        dead = [platform.add_relay(hole) for _ in range(20)]
        healthy = platform.add_relay(scripted)
        for relay in dead:
            platform.send(relay, 1)
        platform.send(healthy, 30)
        worker = Worker(platform, dead[0])
        scripted.wait_for(lambda: len(scripted.copies) == 30, 60)
        worker.stop()
    assert len(recipients_of(scripted.copies)) == 30
    assert platform.states() == {"accepted": 30, "queued": 20}


def test_a_stop_finishes_the_message_on_the_wire_and_queues_the_rest(
    platform: Platform, scripted: ScriptedServer
) -> None:
    """TERM in mid-message: its reply is waited for, what is claimed waits again, and the relay is given back.

    The envelope of a second message may be on the wire behind the first one: that one is finished as well.
    """
    go_on = threading.Event()
    scripted.on("dot", (Wait(go_on), PASS), message=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    worker = Worker(platform, relay)
    scripted.wait_for(lambda: "DATA" in scripted.commands)
    worker.ask_to_stop()
    go_on.set()
    worker.join()
    states = platform.states()
    assert states["accepted"] == len(scripted.copies) in {1, 2}
    assert states["accepted"] + states["queued"] == 10
    assert platform.lease(relay).expires_at is None


def test_what_a_slice_leaves_is_due_again(make_platform: Callable[..., Platform], scripted: ScriptedServer) -> None:
    """A job that ends with its slice says that its relay is due again; job by job everything arrives once."""
    platform = make_platform(slice=0.1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 2000)
    answers = [platform.drain(relay)]
    while answers[-1] and len(answers) < 1000:
        answers.append(platform.drain(relay))
    assert answers[0] == {relay}
    assert platform.states() == {"accepted": 2000}
    assert len(set(recipients_of(scripted.copies))) == len(scripted.copies) == 2000


def test_a_drain_that_can_do_nothing_is_not_begun_again_and_again(
    platform: Platform, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is due and cannot be claimed for whatever reason does not keep a worker busy."""
    begun: list[int] = []

    async def begin(*arguments: Any) -> Drain | None:
        begun.append(1)
        return await begin_drain(*arguments)

    monkeypatch.setattr("own_smtp.delivery.sending.multi_drain.begin_drain", begin)
    monkeypatch.setattr("own_smtp.outbox.claims._mark", lambda *_arguments: [])
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    platform.drain(relay)
    assert len(begun) == 1


def test_urgent_mails_are_sent_by_a_busy_worker(platform: Platform, scripted: ScriptedServer) -> None:
    """A worker that waits for a slow server looks after confirmations and tests meanwhile."""
    asked = threading.Event()

    class Urgent:
        def find(self, _passed_over: frozenset[str]) -> list[UrgentTask]:
            asked.set()
            return []

    platform.with_parts(urgent=Urgent())
    scripted.on("banner", HANG)
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    worker = Worker(platform, relay)
    assert asked.wait(20)
    worker.stop()


def test_one_drain_that_breaks_down_does_not_end_the_others(platform: Platform, scripted: ScriptedServer) -> None:
    """A fault that nobody foresaw in one relay's drain is logged; the job goes on with the next relay."""
    broken, healthy = platform.add_relay(scripted, label="broken"), platform.add_relay(scripted)
    for relay in (broken, healthy):
        platform.send(relay, 2)

    async def resolve(profile: RelayProfile) -> Target:
        if profile.relay_id == broken:
            raise ZeroDivisionError
        return await whole.resolver(whole.settings)(profile)

    whole = platform.runtime
    platform.with_parts(resolver=lambda _settings: resolve)
    run_drains(platform.runtime, broken)
    assert platform.states() == {"accepted": 2, "queued": 2}


def test_a_slice_ends_a_job_whatever_is_due(
    make_platform: Callable[..., Platform], scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slow relays that become due in turns, for ever, do not keep a job from its end: RQ would kill it there."""
    platform = make_platform(slice=4)
    relays = [platform.add_relay(scripted) for _relay in range(4)]
    for relay in relays:
        platform.send(relay, 1500)
    adoptions: list[int] = []
    real = MultiDrain._start

    async def start(self: MultiDrain, relay_id: int, *route: Any) -> bool:
        # Like relays whose pace gives the worker back at once: each drain ends soon, and others are due by then.
        adoptions.append(relay_id)
        self._fruitless.clear()
        begun = await real(self, relay_id, *route)
        asyncio.get_running_loop().call_later(0.1, lambda: [drain.stop() for drain in self._drains.values()])
        return begun

    monkeypatch.setattr(MultiDrain, "_start", start)
    assert platform.drain(relays[0])
    assert len(adoptions) > len(relays)
    assert platform.states().keys() == {"accepted", "queued"}
    assert all(platform.lease(relay).expires_at is None for relay in relays)


def test_a_job_is_cut_off_in_time(
    make_platform: Callable[..., Platform], scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that never answers a final dot costs that message its certainty, and the job leaves all in order."""
    monkeypatch.setattr(multi_drain, "LAST_MESSAGES", 0.2)
    deadlines = replace(LONG, final_dot=0.3)
    platform = make_platform(slice=0.5, deadlines=deadlines)
    # The deadline in force is an administrator's, and longer than the one that the job counts with.
    monkeypatch.setattr(connections, "Session", lambda profile, _deadlines: Session(profile, LONG))
    scripted.on("dot", HANG, message=3)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    platform.drain(relay)
    assert platform.states() == {"accepted": 2, "queued": 7, "unknown": 1}
    assert platform.rows(Journal) == []
    assert platform.lease(relay).expires_at is None


class Worker:
    """A worker's job in a thread of its own."""

    def __init__(self, platform: Platform, relay_id: int) -> None:
        self._service = MultiDrain(
            platform.runtime, ThreadChannel(DatabaseBookkeeper(platform.runtime), platform.engine)
        )
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(relay_id,))
        self._thread.start()

    def _run(self, relay_id: int) -> None:
        # Signals are the main thread's: the test calls `stop` itself.
        self._loop.add_signal_handler = lambda *_arguments: None  # type: ignore[assignment,method-assign]
        self._loop.run_until_complete(self._service.run(relay_id))
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    def ask_to_stop(self) -> None:
        self._loop.call_soon_threadsafe(self._service.stop)

    def stop(self) -> None:
        self.ask_to_stop()
        self.join()

    def join(self) -> None:
        self._thread.join(90)
        assert not self._thread.is_alive()
