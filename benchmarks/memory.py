"""P11: the memory of a real worker's processes, from the first to the last message."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil
from sqlalchemy import Engine, func, select

from benchmarks.measure import Plan
from benchmarks.sinks import Sink
from benchmarks.table import Row
from benchmarks.workers import WorkerPool, worker_pool
from own_smtp.storage.models import Attempt

EARLY = 2_000
MIB = 1 << 20


class PeakMemory:
    """A process's peak memory, early and overall, in MiB."""

    def __init__(self, process: psutil.Process) -> None:
        self.early = self.late = 0.0
        self._process = process

    def look(self, *, is_early: bool) -> None:
        with suppress(psutil.NoSuchProcess):
            self.late = max(self.late, self._process.memory_info().rss / MIB)
        if is_early or not self.early:
            self.early = self.late


def p11(plan: Plan) -> list[Row]:
    """One worker, one job, 100,000 messages."""
    messages = plan.pick(100_000, 6_000)
    with Sink() as sink, worker_pool(slice=600, allowed_ports=[sink.port]) as running:
        relay_id = running.platform.add_relay(sink, max_connections=10)
        running.platform.fill(relay_id, messages)
        running.start()
        sender, outbox = _watch(running, sink.port, messages)
    return [_row("sends", sender, messages), _row("keeps the records", outbox, messages)]


def _row(does: str, grown: PeakMemory, messages: int) -> Row:
    return Row(
        id="P11",
        what=f"memory of a worker's process that {does} (RSS) up to {messages:,} messages, against up to {EARLY:,}",
        ours=f"{grown.late:.0f} MiB",
        peer=f"{grown.early:.0f} MiB",
        ratio=grown.late / grown.early,
        bar="<= 90 MiB",
        measured=grown.late,
    )


def _watch(running: WorkerPool, port: int, messages: int) -> tuple[PeakMemory, PeakMemory]:
    """Measure the sending and the bookkeeping process until the last message."""
    sender = running.wait_for_sender(port)[1]
    watched = (PeakMemory(sender), PeakMemory(sender.children()[0]))
    written, deadline = 0, time.monotonic() + 240
    while written < messages and time.monotonic() < deadline:
        written = _written(running.platform.engine)
        for grown in watched:
            grown.look(is_early=written <= EARLY)
        time.sleep(0.02)
    if _written(running.platform.engine) < messages:
        raise TimeoutError(f"Only {written} of {messages} messages were sent.")
    return watched


def _written(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(select(func.max(Attempt.id))) or 0)
