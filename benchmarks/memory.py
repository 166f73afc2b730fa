"""P11: the memory of a real worker's process from its first messages to its last."""

from __future__ import annotations

import time

import psutil
from sqlalchemy import Engine, func, select

from benchmarks.measure import Plan
from benchmarks.sinks import Sink
from benchmarks.table import Row
from benchmarks.workers import Works, works
from own_smtp.models import Attempt

EARLY = 2_000
MIB = 1 << 20


def p11(plan: Plan) -> list[Row]:
    """One worker, one job, 100,000 messages."""
    messages = plan.pick(100_000, 6_000)
    with Sink() as sink, works(slice=600) as running:
        relay_id = running.platform.add_relay(sink, max_connections=10)
        running.platform.fill(relay_id, messages)
        running.hire()
        early, late = _watch(running, sink.port, messages)
    return [
        Row(
            id="P11",
            what=f"memory of a worker's sending process (RSS) up to {messages:,} messages, against up to {EARLY:,}",
            ours=f"{late:.0f} MiB",
            peer=f"{early:.0f} MiB",
            ratio=late / early,
            bar="<= 90 MiB",
            measured=late,
        )
    ]


def _watch(running: Works, port: int, messages: int) -> tuple[float, float]:
    """Return the most that the sending process had until its 2,000th message, and until its last."""
    process, early, late, written = running.wait_for_sender(port)[1], 0.0, 0.0, 0
    deadline = time.monotonic() + 240
    while written < messages and time.monotonic() < deadline:
        written = _written(running.platform.engine)
        try:
            late = max(late, process.memory_info().rss / MIB)
        except psutil.NoSuchProcess:
            break
        early = late if written <= EARLY or not early else early
        time.sleep(0.02)
    if _written(running.platform.engine) < messages:
        raise TimeoutError(f"Only {written} of {messages} messages were sent.")
    return early, late


def _written(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.scalar(select(func.max(Attempt.id))) or 0)
