"""P10: how long a relay's sending stops when its worker is killed."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from benchmarks.clock import Timed, timed
from benchmarks.measure import Plan
from benchmarks.table import Row
from benchmarks.workers import WorkerPool, worker_pool
from own_smtp.settings import Settings

PER_SECOND = 50


def p10(plan: Plan) -> list[Row]:
    """Kill the sending process, the bookkeeping process, and their whole worker; another worker takes over."""
    kills = plan.pick(3, 1)
    with worker_pool() as running, timed() as server:
        running.start(2)
        relay_id = running.platform.add_relay(server, per_second=PER_SECOND)
        running.platform.fill(relay_id, 10_000)
        process = [_gap(running, server, _kill_process) for _ in range(kills)]
        outbox = [_gap(running, server, _kill_bookkeeping) for _ in range(kills)]
        worker = [_gap(running, server, _kill_worker) for _ in range(kills)]
    whats = ("the sending process", "the bookkeeping process", "the whole worker")
    return [_row(*pair) for pair in zip(whats, (process, outbox, worker), strict=True)]


def _gap(running: WorkerPool, server: Timed, kill: Callable[[WorkerPool, int], None]) -> float:
    """Return the seconds from the kill to the next message at the server."""
    server.wait_for(len(server.taken) + PER_SECOND, 120)
    # Data that a killed process wrote before is still read: only a new connection counts as resumed sending.
    known = len(server.server.connections)
    killed = time.monotonic()
    kill(running, server.port)
    server.server.wait_for(lambda: any(taken.connection > known for taken in server.server.copies), 120)
    return server.taken[-1] - killed


def _kill_process(running: WorkerPool, port: int) -> None:
    running.wait_for_sender(port)[1].kill()


def _kill_bookkeeping(running: WorkerPool, port: int) -> None:
    running.wait_for_sender(port)[1].children()[0].kill()


def _kill_worker(running: WorkerPool, port: int) -> None:
    running.wait_for_sender(port)[0].kill()
    running.start()


def _row(what: str, gaps: list[float]) -> Row:
    lease = Settings().lease.total_seconds()
    return Row(
        id="P10",
        what=f"{what} is killed (-9), a second worker is there: until its relay sends again, worst of {len(gaps)}",
        ours=f"{max(gaps):.1f} s, median {statistics.median(gaps):.1f} s",
        peer=f"lease {lease:.0f} s",
        ratio=max(gaps) / lease,
        bar="<= 1.5",
    )
