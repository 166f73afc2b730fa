"""P8: the effect of 50 unresponsive relays on a healthy relay's tenant."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import func, select

from benchmarks.clock import Timed, timed
from benchmarks.latency import FarAway
from benchmarks.measure import Plan
from benchmarks.table import Row
from benchmarks.workers import WorkerPool, worker_pool
from own_smtp.storage.models import Lease
from tests.scripted import BlackHole, SilentPort
from tests.servers.process import eventually

DEAD = 50
HEALTHY = 500
WORKERS = 2


def p8(plan: Plan) -> list[Row]:
    """500 invitations over a server that is 20 ms away, first alone, then beside the unresponsive relays."""
    rounds = plan.pick(5, 1)
    with worker_pool() as running, timed() as server, FarAway(server.port) as healthy, black_holes() as dead:
        running.start(WORKERS)
        alone = [_send(running, server, healthy, number) for number in range(rounds)]
        _wait_for_dead(running, dead)
        beside = [_send(running, server, healthy, rounds + number) for number in range(rounds)]
    mine, theirs = statistics.median(beside), statistics.median(alone)
    return [
        Row(
            id="P8",
            what=f"a healthy relay's {HEALTHY} invitations beside {DEAD} dead relays, {WORKERS} workers, against alone",
            ours=f"{mine:.2f} s",
            peer=f"{theirs:.2f} s",
            ratio=mine / theirs,
            bar="<= 1.2",
        )
    ]


def _send(running: WorkerPool, server: Timed, healthy: FarAway, number: int) -> float:
    """Return the seconds from the host's commit to the last message at the server, through a new relay."""
    relay_id = running.platform.add_relay(healthy, max_connections=4)
    target = len(server.taken) + HEALTHY
    running.platform.fill(relay_id, HEALTHY, f"healthy-{number}")
    started = time.monotonic()
    server.wait_for(target, 120)
    return server.taken[-1] - started


@contextmanager
def black_holes() -> Iterator[list[Any]]:
    """Ports of two kinds: one where no connection is established, and one where it is but no reply follows."""
    with ExitStack() as stack:
        yield [stack.enter_context(BlackHole() if number % 2 else SilentPort()) for number in range(DEAD)]


def _wait_for_dead(running: WorkerPool, dead: list[Any]) -> None:
    """Wait until the workers are handling all unresponsive relays."""
    for number, port in enumerate(dead):
        relay_id = running.platform.add_relay(port, label=f"Dead {number}")
        running.platform.fill(relay_id, 20, f"dead-{number}")
    tried = select(func.count()).select_from(Lease).where(Lease.relay_id.is_not(None), Lease.token > 0)

    def is_buried() -> bool:
        with running.platform.engine.connect() as connection:
            return int(connection.scalar(tried) or 0) >= DEAD

    eventually(is_buried, "the workers tried every dead relay", 120)
