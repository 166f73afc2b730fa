"""Fill an outbox and drain it, in a process of its own, and print what that took: `python -m benchmarks.send JSON`."""

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


class At:
    """Where a relay is."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port


def send(stage: Stage, *, port: int, messages: int, connections: int, **relay: Any) -> Figures:
    """Send `messages` through a relay, the whole way, and prove that all of it happened."""
    platform = stage.open(prepare=True)
    relay_id = platform.add_relay(At("127.0.0.1", port), max_connections=connections, **relay)
    platform.fill(relay_id, messages)
    figures = drain(platform, relay_id)
    check(platform, messages)
    return figures | {"messages": messages}


def drain(platform: Platform, relay_id: int, jobs: int = 100) -> Figures:
    """Run workers' jobs until nothing is due, or so many. The processor's time is that of both of a job's processes."""
    runtime = platform.runtime  # opening the journal's folder is a worker's start, not a message's
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
    """Return the most that this process had resident, in MiB. `getrusage` would count its parent's, too."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def check(platform: Platform, messages: int) -> None:
    """Raise unless each invitation was accepted, has one attempt on record, and the host was told of it."""
    found = (platform.counts(), platform.count_attempts(), platform.host.told)
    if found != ({"accepted": messages}, messages, messages):
        raise RuntimeError(f"States, attempts and changes told should all be {messages}, and are {found}.")


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    arguments = json.loads(sys.argv[1])
    stage = Stage.load(arguments.pop("stage"))
    print(json.dumps(send(stage, **arguments)))


if __name__ == "__main__":
    main()
