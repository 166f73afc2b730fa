"""Limits at the server's clock: when its kernel got each MAIL, on a machine that has more to do than it can."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest

from own_smtp.hooks.events import Attachment
from tests.engine import CONTENT
from tests.scripted import EXTENSIONS, PASS, Behaviour, Moment, ScriptedServer
from tests.workers import settled, worker_for

pytestmark = pytest.mark.exhaustive

BURN = "import time; end = time.monotonic() + 120\nwhile time.monotonic() < end: sum(range(10_000))"
BURNERS = 6
EXACT = 0.999
"""The wall clock of the server's kernel may be slewed a little while a test runs."""
LARGE = replace(
    CONTENT, attachments=[Attachment(filename="a.bin", content_type="application/octet-stream", data=bytes(300_000))]
)


@contextmanager
def busy_machine() -> Iterator[None]:
    """More processes than processors, none of which ever waits. They end by themselves after two minutes at most."""
    burners = [subprocess.Popen([sys.executable, "-c", BURN]) for _ in range(BURNERS)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


class Timing:
    """A server that notes when each MAIL arrived."""

    def __init__(self, server: ScriptedServer) -> None:
        self.arrived: list[float] = []
        server.on("mail", self._note)

    def _note(self, moment: Moment) -> Behaviour:
        self.arrived.append(moment.arrived)
        return PASS

    @property
    def shortest_gap(self) -> float:
        return min(later - earlier for earlier, later in pairwise(sorted(self.arrived)))

    def most_in(self, period: float) -> int:
        """Return the most that arrived in any such period."""
        times = sorted(self.arrived)
        return max(sum(start <= at < start + period * EXACT for at in times) for start in times)


def keeps(timing: Timing, limits: dict[str, float]) -> bool:
    """Whether the server saw the limits kept; a failure shows the figures."""
    if "min_interval" in limits:
        assert timing.shortest_gap >= limits["min_interval"] * EXACT
    else:
        assert timing.most_in(1.0) <= limits["per_second"]
    return True


LIMITS: Sequence[dict[str, float]] = ({"per_second": 5}, {"per_second": 40}, {"min_interval": 0.1})


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_a_limit_is_kept_on_a_busy_machine(platform, scripted, limits):
    """Whatever keeps the process from writing what it has taken from the queue, the server sees no more than it may."""
    timing = Timing(scripted)
    relay = platform.add_relay(scripted, max_connections=4, **limits)
    count = 1 + int(3 / limits["min_interval"] if "min_interval" in limits else 3 * limits["per_second"])
    platform.send(relay, count)
    with busy_machine():
        platform.drain(relay)
    assert platform.states() == {"accepted": count}
    assert keeps(timing, limits)


def test_a_limit_is_kept_with_large_messages(platform, scripted):
    """Nothing is taken from the queue to be written behind a text that takes its time."""
    timing = Timing(scripted)
    relay = platform.add_relay(scripted, max_connections=3, min_interval=0.2)
    platform.send(relay, 10, content=LARGE)
    with busy_machine():
        platform.drain(relay)
    assert platform.states() == {"accepted": 10}
    assert keeps(timing, {"min_interval": 0.2})


def test_a_limit_is_kept_after_refused_recipients(platform):
    """What a connection must say before the next MAIL is said before the next message is taken."""
    with ScriptedServer(gather=0.06, extensions=[name for name in EXTENSIONS if name != "PIPELINING"]) as server:
        timing = Timing(server)
        for number in range(1, 40, 2):
            server.on("rcpt", "550 5.1.1 nobody", recipient=f"user{number}@example.org")
        relay = platform.add_relay(server, max_connections=4, min_interval=0.08)
        platform.send(relay, 40)
        platform.drain(relay)
    assert platform.states() == {"accepted": 20, "refused": 20}
    assert len(server.connections) > 1
    assert keeps(timing, {"min_interval": 0.08})


@pytest.mark.servers
@pytest.mark.slow
@pytest.mark.parametrize("limits", [{"per_second": 5}, {"min_interval": 0.25}], ids=str)
def test_a_limit_is_kept_over_kills_and_changes_of_workers(platform, scripted, redis_url, limits):
    """Two workers take turns every second, three times the one that sends is killed, and the machine is busy."""
    timing = Timing(scripted)
    relay = platform.add_relay(scripted, max_connections=2, **limits)
    platform.send(relay, 60)
    with (
        worker_for(platform, redis_url, slice=1) as first,
        worker_for(platform, redis_url, slice=1) as second,
        busy_machine(),
    ):
        for _kill in range(3):
            so_far = len(timing.arrived)
            scripted.wait_for(lambda so_far=so_far: len(timing.arrived) >= so_far + 7, 60)
            for worker in (first, second):
                if (horse := worker.find_horse()) is not None:
                    horse.kill()
        states = settled(platform)
    assert sum(states.values()) == 60
    assert keeps(timing, limits)
