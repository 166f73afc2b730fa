"""Fill an outbox and drain it, in a process of its own, and print the figures: `python -m benchmarks.send JSON`."""

from __future__ import annotations

import json
import logging
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures
from benchmarks.stage import Platform, Stage
from own_smtp.delivery.workers import drain_job


class RelayAddress:
    """The address of a relay."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port


def send(stage: Stage, *, port: int, messages: int, connections: int, **relay: Any) -> Figures:
    """Send `messages` through a relay, with every step, and verify the result."""
    platform = stage.open(prepare=True)
    relay_id = platform.add_relay(RelayAddress("127.0.0.1", port), max_connections=connections, **relay)
    platform.fill(relay_id, messages)
    figures = drain(platform, relay_id)
    check(platform, messages)
    return figures | {"messages": messages}


def drain(platform: Platform, relay_id: int, jobs: int = 100) -> Figures:
    """Run workers' jobs until nothing is due, or at most so many. Processor time is that of both processes of a job."""
    runtime = platform.runtime  # opening the journal's folder is part of a worker's start, not of a message
    started, worked = time.perf_counter(), time.process_time() + _time_of_children()
    for _ in range(jobs):
        if not drain_job.run_drains_forked(runtime, relay_id):
            break
    seconds, cpu = time.perf_counter() - started, time.process_time() + _time_of_children() - worked
    return {"seconds": seconds, "cpu": cpu, "memory": most_memory()}


def _time_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def most_memory() -> float:
    """Return the peak resident memory of this process, in MiB. `getrusage` would include its parent's."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def check(platform: Platform, messages: int) -> None:
    """Raise unless each invitation was accepted, has one recorded attempt, and was reported to the host."""
    found = (platform.counts(), platform.count_attempts(), platform.host.notified)
    if found != ({"accepted": messages}, messages, messages):
        raise RuntimeError(f"States, attempts and reported changes should all be {messages}, and are {found}.")


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    arguments = json.loads(sys.argv[1])
    stage = Stage.load(arguments.pop("stage"))
    print(json.dumps(send(stage, **arguments)))


if __name__ == "__main__":
    main()
