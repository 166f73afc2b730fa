"""P5: the cost of a message when the server is 20 ms away, in round trips, on one connection."""

from __future__ import annotations

import smtplib
import statistics
import time
from collections.abc import Callable

from benchmarks.latency import FarAway
from benchmarks.measure import Figures, Plan, Rounds, folder, run_python
from benchmarks.peers import runs
from benchmarks.sinks import Sink
from benchmarks.stage import Stage
from benchmarks.table import Row
from tests.scripted import ScriptedServer

ONE_WAY = 0.01
WINDOW = 16


def p5(plan: Plan) -> list[Row]:
    """With PIPELINING against smtp-sink, with CHUNKING against a scripted server, and the libraries' costs."""
    few, many = plan.pick(400, 100), plan.pick(4_000, 800)
    with (
        Sink() as sink,
        ScriptedServer() as server,
        FarAway(sink.port, ONE_WAY) as pipelining,
        FarAway(server.port, ONE_WAY) as chunking,
    ):
        rounds = Rounds().run(
            plan.pick(3, 1),
            {
                "ours": _in_round_trips(pipelining.port, lambda: ours(pipelining.port, few)),
                "window": _in_round_trips(chunking.port, lambda: ours(chunking.port, many, window=WINDOW)),
                "smtplib": _in_round_trips(pipelining.port, lambda: _peer("smtplib", pipelining.port, few)),
                "aiosmtplib": _in_round_trips(pipelining.port, lambda: _peer("aiosmtplib", pipelining.port, few)),
            },
        )
    peers = ", ".join(f"{name} kept open {_rate_text(rounds, name)}" for name in ("smtplib", "aiosmtplib"))
    return [
        _row(rounds, "ours", f"PIPELINING, {few} messages", peers, "<= 1.1"),
        _row(rounds, "window", f"CHUNKING with a window of {WINDOW}, {many:,} messages", peers, "<= 0.1"),
    ]


def ours(port: int, messages: int, **settings: object) -> Figures:
    """Send through one connection, with all records."""
    with folder() as path:
        stage = Stage.on_sqlite(path, **settings)
        given = {"stage": stage.dump(), "port": port, "messages": messages, "connections": 1}
        return run_python("benchmarks.send", given)


def _peer(library: str, port: int, messages: int) -> Figures:
    return runs.one_connection(library, port, messages // 4)


def _in_round_trips(port: int, measure: Callable[[], Figures]) -> Callable[[], Figures]:
    """Divide a message's time by a round trip that is measured beside it."""

    def measured() -> Figures:
        before = round_trip(port)
        figures = measure()
        trip = (before + round_trip(port)) / 2
        return figures | {"trips": figures["seconds"] / figures["messages"] / trip}

    return measured


def round_trip(port: int) -> float:
    """Return the median duration of a NOOP, in seconds."""
    times = []
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as connection:
        for _ in range(9):
            started = time.perf_counter()
            connection.noop()
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def _rate_text(rounds: Rounds, name: str) -> str:
    return rounds.problem(name) or f"{rounds.median(name, 'trips'):.2f}"


def _row(rounds: Rounds, name: str, what: str, peers: str, bar: str) -> Row:
    trips = rounds.median(name, "trips")
    assert trips is not None
    best = rounds.ratio(name, "smtplib", "trips")
    return Row(
        id="P5",
        what=f"round trips a message at 20 ms, one connection: {what} ({rounds.rate_of(name)})",
        ours=f"{trips:.3f}",
        peer=peers,
        ratio=best,
        bar=f"{bar} round trips",
        measured=trips,
    )
