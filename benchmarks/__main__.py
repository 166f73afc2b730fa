"""Run the named benchmarks, or all of them, and print one table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path

from benchmarks import composing, growth, isolation, kills, memory, paces, round_trips, server_limits, throughput
from benchmarks.machine import facts
from benchmarks.measure import NotInstalledError, Plan
from benchmarks.table import Row, from_mapping, markdown, missed, write_between


def composed(_plan: Plan) -> list[Row]:
    """Composing a message."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:  # its memory is measured, too
        return [from_mapping(row) for row in alone.submit(composing.run).result()]


def intake_rows(_plan: Plan) -> list[Row]:
    """The host's "send" of 100,000 invitations."""
    if find_spec("benchmarks.intake") is None:
        raise NotInstalledError("benchmarks.intake")
    return [from_mapping(row) for row in import_module("benchmarks.intake").run()]


BENCHMARKS: dict[str, Sequence[Callable[[Plan], list[Row]]]] = {
    "P1": [throughput.p1],
    "P2": [throughput.p2],
    "P3": [throughput.p3],
    "P4": [throughput.p4],
    "P5": [round_trips.p5],
    "P6": [intake_rows],
    "P7": [paces.p7],
    "P8": [isolation.p8],
    "P9": [growth.p9],
    "P10": [kills.p10],
    "P11": [composed, memory.p11],
    "P18": [server_limits.p18],
}


def main() -> int:
    given = _parser().parse_args()
    plan = Plan(is_quick=given.quick)
    about, started = facts(), time.monotonic()
    rows = [row for name in given.names or BENCHMARKS for row in run(name, plan)]
    minutes = (time.monotonic() - started) / 60
    hint = ", few messages: a check that it runs, not a result" if plan.is_quick else ""
    text = f"Measured {about}; {minutes:.0f} minutes{hint}.\n\n{markdown(rows)}"
    print(text)
    if given.write:
        write_between(given.write, text)
    return 1 if missed(rows) and given.strict else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="P1", help="which to run; all of them when none is named")
    parser.add_argument("--quick", action="store_true", help="few messages and rounds: whether it runs, not how fast")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the markers of this file")
    parser.add_argument("--strict", action="store_true", help="end with 1 when a bar is missed")
    return parser


def run(name: str, plan: Plan) -> list[Row]:
    """Run one benchmark; a missing peer or server becomes a line of the table, too."""
    print(f"{name} ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    rows = [row for measure in BENCHMARKS[name] for row in _rows(name, measure, plan)]
    print(f"{markdown(rows)}({time.monotonic() - started:.0f} s)\n", file=sys.stderr, flush=True)
    return rows


def _rows(name: str, measure: Callable[[Plan], list[Row]], plan: Plan) -> list[Row]:
    try:
        return measure(plan)
    except NotInstalledError as error:
        return [Row(id=name, what=(measure.__doc__ or name).splitlines()[0], ours=str(error))]


if __name__ == "__main__":
    sys.exit(main())
