"""P9: the cost of a message, and of a page, when a million invitations wait instead of ten thousand."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures, Plan, folder, run_json
from benchmarks.sinks import Sink
from benchmarks.slow_disk import BenchPostgreSQL
from benchmarks.stage import Stage
from benchmarks.table import Row
from benchmarks.waiting import COPIED as FEW
from benchmarks.waiting import QUERIES

SECONDS = 4
"""Duration of each drain: it sends a part of the waiting invitations."""


def p9(plan: Plan) -> list[Row]:
    """The drain and the report page, on SQLite and on PostgreSQL."""
    many = plan.pick(1_000_000, 50_000)
    with Sink() as sink:
        with folder() as path:
            rows = _rows(_measure(sink.port, many, _on_sqlite(path)), "SQLite", many)
        with folder() as path, BenchPostgreSQL() as server, server.fresh() as few, server.fresh() as more:
            stages = {"few": _stage(few, path / "few"), "many": _stage(more, path / "many")}
            rows += _rows(_measure(sink.port, many, stages), "PostgreSQL", many)
    return rows


def _on_sqlite(path: Path) -> dict[str, Stage]:
    return {name: _stage(f"sqlite:///{path}/{name}.sqlite3", path / name) for name in ("few", "many")}


def _stage(url: str, path: Path) -> Stage:
    path.mkdir()
    return Stage(url, str(path), {"slice": SECONDS})


def _measure(port: int, many: int, stages: Mapping[str, Stage]) -> dict[str, Figures]:
    """Return each platform's costs. The drain is measured last, because it changes the platform."""
    dumped = {name: stage.dump() for name, stage in stages.items()}
    waiting = {"few": FEW, "many": many}
    relays = {
        name: run_waiting("fill", stage=stage, port=port, waiting=waiting[name]) for name, stage in dumped.items()
    }
    asked = run_waiting("ask", stages=dumped)
    return {name: asked[name] | run_waiting("drain", stage=dumped[name], **relays[name]) for name in dumped}


def run_waiting(action: str, **given: Any) -> Figures:
    """Run one of the actions of `benchmarks.waiting` in a process of its own."""
    return run_json([sys.executable, "-m", "benchmarks.waiting", action, json.dumps(given)])


def _rows(measured: Mapping[str, Figures], database: str, many: int) -> list[Row]:
    what = f"{many:,} waiting against {FEW:,}, {database}: "
    kinds = (
        ("cpu_each", "the drain's processor time a message", "µs"),
        ("seconds_each", "the drain's time a message, the database's included", "µs"),
        ("memory", "the drain's memory", "MiB"),
        ("due", "looking for relays with work", "ms"),
        *((name, f"a page's `{name}`", "ms") for name in QUERIES),
    )
    return [
        Row(
            id="P9",
            what=what + text,
            ours=f"{measured['many'][name]:.1f} {unit}",
            peer=f"{measured['few'][name]:.1f} {unit}",
            ratio=measured["many"][name] / measured["few"][name],
            bar="<= 1.1",
        )
        for name, text, unit in kinds
    ]
