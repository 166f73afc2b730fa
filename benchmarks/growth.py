"""P9: what a message costs, and what a page costs, when a million invitations wait instead of ten thousand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.measure import Figures, Plan, Rounds, folder, run_python
from benchmarks.sinks import Sink
from benchmarks.slow_disk import BenchPostgreSQL
from benchmarks.stage import Stage
from benchmarks.table import Row
from benchmarks.waiting import COPIED as FEW
from benchmarks.waiting import QUERIES

SECONDS = 4
"""How long each drain runs: a part of what waits."""


def p9(plan: Plan) -> list[Row]:
    """The drain and the report page, on SQLite and on PostgreSQL."""
    many = plan.pick(1_000_000, 50_000)
    with Sink() as sink:
        rows = _rows(_measure(sink.port, many, _on_sqlite), "SQLite", many)
        with BenchPostgreSQL() as server:

            def on_postgresql(given: dict[str, Any]) -> Figures:
                with folder() as path, server.fresh() as url:
                    return run_python("benchmarks.waiting", {"stage": _stage(url, path).dump(), **given})

            rows += _rows(_measure(sink.port, many, on_postgresql), "PostgreSQL", many)
    return rows


def _on_sqlite(given: dict[str, Any]) -> Figures:
    with folder() as path:
        stage = _stage(f"sqlite:///{path}/platform.sqlite3", path)
        return run_python("benchmarks.waiting", {"stage": stage.dump(), **given})


def _stage(url: str, path: object) -> Stage:
    return Stage(url, str(path), {"slice": SECONDS})


def _measure(port: int, many: int, run: Callable[[dict[str, Any]], Figures]) -> Rounds:
    return Rounds().run(
        1,
        {
            "few": lambda: run({"port": port, "waiting": FEW}),
            "many": lambda: run({"port": port, "waiting": many}),
        },
    )


def _rows(rounds: Rounds, database: str, many: int) -> list[Row]:
    what = f"{many:,} waiting against {FEW:,}, {database}: "
    kinds = (
        ("cpu_each", "the drain's processor time a message", "µs"),
        ("seconds_each", "the drain's time a message, the database's included", "µs"),
        ("memory", "the drain's memory", "MiB"),
        ("due", "looking for relays with work", "ms"),
        *((name, f"a page's `{name}`", "ms") for name in QUERIES),
    )
    return [_row(rounds, name, what + text, unit) for name, text, unit in kinds]


def _row(rounds: Rounds, name: str, what: str, unit: str) -> Row:
    figures = {which: f"{rounds.median(which, name):.1f} {unit}" for which in ("many", "few")}
    return Row(
        id="P9",
        what=what,
        ours=figures["many"],
        peer=figures["few"],
        ratio=rounds.ratio("many", "few", name),
        bar="<= 1.1",
    )
