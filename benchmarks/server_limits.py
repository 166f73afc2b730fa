"""P18: the share of a server's own limits that is used when they are not configured.

Each kind of limit is compared with the best rate that it allows: for messages per connection, the same server with that
number configured, in the same run; for a second and a minute, the most that the server accepts; for a storm, the rate
before it. Messages count at the server, from the first one on.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.measure import Plan
from benchmarks.table import Row
from benchmarks.workers import worker_pool
from tests.scripted import CLOSE, PASS, Behaviour, Moment, ScriptedServer
from tests.servers.process import eventually

PER_CONNECTION = 5
PER_SECOND = 20
PER_MINUTE = 120
LATENCY = 0.02
"""Seconds that the server with storms takes for each message: its own speed is a limit, too."""


class Limited:
    """A server with a limit, which records when it accepted each message."""

    def __init__(self, server: ScriptedServer, refuses: Callable[[Moment, float], Behaviour | None]) -> None:
        self.server = server
        self.host, self.port = server.host, server.port
        self.taken: list[float] = []
        self.refused = 0
        self._refuses = refuses
        server.on("mail", self._answer)
        server.on("dot", self._note)

    def _answer(self, moment: Moment) -> Behaviour:
        refusal = self._refuses(moment, time.monotonic())
        self.refused += refusal is not None
        return PASS if refusal is None else refusal

    def _note(self, _moment: Moment) -> Behaviour:
        self.taken.append(time.monotonic())
        return PASS


class Window:
    """At most `limit` messages in any `period` seconds."""

    def __init__(self, limit: int, period: float) -> None:
        self._limit, self._period = limit, period
        self._taken: deque[float] = deque()

    def __call__(self, _moment: Moment, now: float) -> Behaviour | None:
        while self._taken and self._taken[0] <= now - self._period:
            self._taken.popleft()
        if len(self._taken) >= self._limit:
            return "450 4.7.1 too many messages for now"
        self._taken.append(now)
        return None


class Storm:
    """The server refuses everything from `start` to `end`, in seconds since the first message."""

    def __init__(self, start: float, end: float) -> None:
        self._start, self._end = start, end
        self.began_at: float | None = None

    def __call__(self, _moment: Moment, now: float) -> Behaviour | None:
        self.began_at = self.began_at or now
        return "451 4.3.2 try again later" if self._start <= now - self.began_at < self._end else None

    def rates(self, taken: list[float], until: float) -> tuple[float, float]:
        """Return the rates before and after the storm, in messages a second."""
        assert self.began_at is not None
        before = sum(at < self.began_at + self._start for at in taken) / self._start
        after = sum(at >= self.began_at + self._end for at in taken) / (until - self.began_at - self._end)
        return before, after


def too_many_on_this(moment: Moment, _now: float) -> Behaviour | None:
    return ("421 4.7.0 too many messages on this connection", CLOSE) if moment.turn > PER_CONNECTION else None


@contextmanager
def sending(refuses: Callable[[Moment, float], Behaviour | None], messages: int, **relay: Any) -> Iterator[Limited]:
    """Two workers that send through such a server."""
    gather = relay.pop("gather", 0.0)
    with worker_pool() as running, ScriptedServer(gather=gather) as scripted:
        server = Limited(scripted, refuses)
        running.start(2)
        relay_id = running.platform.add_relay(server, **{"max_connections": 4, **relay})
        running.platform.fill(relay_id, messages)
        eventually(lambda: server.taken, "the first message was taken", 60)
        yield server


@dataclass(frozen=True, slots=True)
class Found:
    """The messages that a server accepted, and the most that it would have accepted."""

    rate: float
    best: float
    refused: float


def p18(plan: Plan) -> list[Row]:
    """Per connection, per second, per minute, and a storm."""
    return [
        _row(f"{PER_CONNECTION} messages a connection, then 421", _per_connection(plan)),
        _row(f"{PER_SECOND} a second, then 450", _window(PER_SECOND, 1.0, plan.pick(120, 20))),
        _row(f"{PER_MINUTE} a minute, then 450", _window(PER_MINUTE, 60.0, plan.pick(480, 120))),
        _row("451 to everything for a while, from the end of the storm on", _storm(plan)),
    ]


def _row(what: str, found: Found) -> Row:
    return Row(
        id="P18",
        what=f"a limit that nobody entered: {what}; {100 * found.refused:.1f} % of the messages were refused first",
        ours=f"{found.rate:.1f}/s",
        peer=f"{found.best:.1f}/s allowed",
        ratio=found.rate / found.best,
        bar=">= 0.8",
    )


def _per_connection(plan: Plan) -> Found:
    """Learned, and configured."""
    messages, rounds = plan.pick(2_000, 300), plan.pick(3, 1)
    pairs = [
        (_whole_rate(messages), _whole_rate(messages, messages_per_connection=PER_CONNECTION)) for _ in range(rounds)
    ]
    learned, entered = (statistics.median(found[0] for found in side) for side in zip(*pairs, strict=True))
    return Found(learned, entered, statistics.median(mine[1] for mine, _theirs in pairs))


def _whole_rate(messages: int, **relay: Any) -> tuple[float, float]:
    with sending(too_many_on_this, messages, **relay) as server:
        eventually(lambda: len(server.taken) >= messages, "all were taken", 120)
        return messages / (server.taken[-1] - server.taken[0]), server.refused / messages


def _window(limit: int, period: float, seconds: float) -> Found:
    with sending(Window(limit, period), int(2 * limit * (seconds / period + 1))) as server:
        began_at = server.taken[0]
        eventually(lambda: time.monotonic() >= began_at + seconds, "the time is over", seconds + 30)
        taken = sum(at < began_at + seconds for at in server.taken)
        # Full windows only: the first one is free at once, and the last one may not be over.
        return Found(taken / seconds, limit / period, server.refused / taken)


def _storm(plan: Plan) -> Found:
    storm = Storm(plan.pick(10, 3), plan.pick(70, 9))
    seconds = plan.pick(240, 30)
    with sending(storm, int(4.4 * seconds / LATENCY), gather=LATENCY) as server:
        until = server.taken[0] + seconds
        eventually(lambda: time.monotonic() >= until, "the time is over", seconds + 30)
        before, after = storm.rates([at for at in server.taken if at < until], until)
        return Found(after, before, server.refused / len(server.taken))
