"""P7: a limit is used up and never exceeded, by the server's clock, across kills and changes of worker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmarks.clock import Timed, timed, worst_window
from benchmarks.measure import Plan
from benchmarks.table import Row
from benchmarks.workers import WorkerPool, worker_pool
from own_smtp.settings import Settings

SHORT_SLICE = 2.0
"""Duration of a job, in seconds: short, so that the worker changes often."""
SHORT_LEASE = 3.0
TOLERANCE = 0.99
"""Tolerance of a second in which messages are counted: the delay between sending and arriving varies a little."""


@dataclass(frozen=True, slots=True)
class Pace:
    """A limit, the rate it allows, and the size of a burst."""

    what: str
    allowed: float
    burst: int
    limits: dict[str, Any]


SLOW = Pace("1 a second", 1, 1, {"per_second": 1})
MIDDLE = Pace("10 a second", 10, 10, {"per_second": 10})
FAST = Pace("100 a second", 100, 100, {"per_second": 100})
SPACED = Pace("100 ms between two messages", 10, 1, {"min_interval": 0.1})


@dataclass(frozen=True, slots=True)
class Run:
    """The times of messages under one limit."""

    pace: Pace
    times: list[float]

    @property
    def rate(self) -> float:
        """Messages a second. The messages of a window may arrive at its beginning: its last one counts for the whole
        window.
        """
        ordered, burst = sorted(self.times), self.pace.burst
        windows = (len(ordered) - 1) // burst
        return windows * burst / (ordered[windows * burst] - ordered[0])

    @property
    def fullest(self) -> float:
        """The highest number in any second, as a share of the limit."""
        most = self.pace.limits.get("per_second") or self.pace.allowed
        return worst_window(self.times, TOLERANCE) / float(most)


def p7(plan: Plan) -> list[Row]:
    """Paces from slow to fast, then with changes of worker, then with kills."""
    seconds = plan.pick(12, 4)
    steady = [_steady(pace, int(seconds * pace.allowed) + 1) for pace in (SLOW, MIDDLE, FAST, SPACED)]
    changing = _changing(plan.pick(15, 5))
    killed = _killed(plan.pick(4, 1))
    return [
        *map(_row, steady),
        _changes_row(changing),
        Row(
            id="P7",
            what=f"the most in any second of these runs and of one with {plan.pick(4, 1)} kills, of the limit",
            ours=f"{max(run.fullest for run in [*steady, changing, killed]):.2f}",
            ratio=max(run.fullest for run in [*steady, changing, killed]),
            bar="<= 1.0",
        ),
    ]


def _row(run: Run) -> Row:
    what = f"pace: {run.pace.what}, two workers, {len(run.times):,} messages, at the server's clock"
    allowed = f"{run.pace.allowed:g}/s allowed"
    return Row(
        id="P7", what=what, ours=f"{run.rate:.2f}/s", peer=allowed, ratio=run.rate / run.pace.allowed, bar=">= 0.99"
    )


def _changes_row(run: Run) -> Row:
    """Workers change more often here than in production: the cost of one change is counted once for each slice."""
    seconds = max(run.times) - min(run.times)
    lost = seconds - seconds * run.rate / run.pace.allowed
    changes = max(1, int(seconds / SHORT_SLICE))
    slice_ = Settings().slice.total_seconds()
    return Row(
        id="P7",
        what=f"pace: {run.pace.what}, a drain passed on {changes} times, as it is after each slice of {slice_:.0f} s",
        ours=f"{lost / changes:.2f} s lost each time",
        ratio=1 - lost / changes / slice_,
        bar=">= 0.99",
    )


def _steady(pace: Pace, messages: int) -> Run:
    with worker_pool() as running, timed() as server:
        running.start(2)
        _begin(running, server, messages, pace)
        server.wait_for(messages, 30 + 2 * messages / pace.allowed)
        return Run(pace, server.begun)


def _changing(seconds: int) -> Run:
    messages = int(seconds * MIDDLE.allowed)
    with worker_pool(slice=SHORT_SLICE) as running, timed() as server:
        running.start(2)
        _begin(running, server, messages, MIDDLE)
        server.wait_for(messages, 30 + 3 * seconds)
        return Run(MIDDLE, server.begun)


def _killed(kills: int) -> Run:
    """Kill the sending process and its whole worker in turn; a new worker replaces it."""
    with worker_pool(lease=SHORT_LEASE) as running, timed() as server:
        running.start(2)
        _begin(running, server, 100 * (kills + 1), MIDDLE)
        for kill in range(kills):
            server.wait_for(len(server.taken) + 25, 60)
            worker, process = running.wait_for_sender(server.port)
            if kill % 2:
                worker.kill()
                running.start()
            else:
                process.kill()
        server.wait_for(len(server.taken) + 25, 60)
        return Run(MIDDLE, list(server.begun))


def _begin(running: WorkerPool, server: Timed, messages: int, pace: Pace) -> None:
    relay_id = running.platform.add_relay(server, max_connections=2, **pace.limits)
    running.platform.fill(relay_id, messages)
