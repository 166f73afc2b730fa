"""Runs things alternately and in processes of their own, and evaluates their figures."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LONGEST = 240.0
"""Timeout of a measurement, in seconds."""

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """The size of the run: everything, or just enough to see that it works."""

    is_quick: bool

    def pick(self, full: int, quick: int) -> int:
        """Return the size for this plan."""
        return quick if self.is_quick else full

    @property
    def rounds(self) -> int:
        """The number of rounds of a comparison."""
        return self.pick(5, 2)


class NotInstalledError(Exception):
    """A peer or a server is missing. The text names its package."""

    def __str__(self) -> str:
        return f"not installed: {self.args[0]}"


class Rounds:
    """Several things measured alternately: anything that slows the machine down affects them all.

    One that is not installed is left out; `problem` says so.
    """

    def __init__(self) -> None:
        self._figures: dict[str, list[Figures]] = {}
        self._problems: dict[str, str] = {}

    def run(self, rounds: int, things: Mapping[str, Callable[[], Figures]]) -> Rounds:
        for _ in range(rounds):
            for name, measure in things.items():
                if name not in self._problems:
                    self._turn(name, measure)
        return self

    def _turn(self, name: str, measure: Callable[[], Figures]) -> None:
        try:
            self._figures.setdefault(name, []).append(measure())
        except NotInstalledError as error:
            self._problems[name] = str(error)

    def problem(self, name: str) -> str | None:
        """Return why it has no figures."""
        return self._problems.get(name)

    def median(self, name: str, figure: str = "rate") -> float | None:
        """Return the median of its figures; `None` when there are none."""
        if name in self._problems:
            return None
        return float(statistics.median(each[figure] for each in self._figures[name]))

    def ratio(self, name: str, other: str, figure: str = "rate") -> float | None:
        """Return the median of the ratios within the rounds; `None` when one of them is missing."""
        if name in self._problems or other in self._problems:
            return None
        pairs = zip(self._figures[name], self._figures[other], strict=True)
        return float(statistics.median(mine[figure] / theirs[figure] for mine, theirs in pairs))

    def rate_of(self, name: str, unit: str = "msg/s") -> str:
        """Return its median rate as text, or why there is none."""
        return self.problem(name) or f"{self.median(name):,.0f} {unit}"


def run_python(module: str, arguments: Mapping[str, Any], **environment: str) -> Figures:
    """Run one of our modules in a process of its own; return the figures in its last line of output."""
    return run_json([sys.executable, "-m", module, json.dumps(arguments)], **environment)


def run_json(command: list[str], **environment: str) -> Figures:
    """Run a program whose last line of output is JSON; return it, with the rate of its messages, if any."""
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=LONGEST, cwd=ROOT, env=runtime(**environment)
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)[:300]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return with_rate(figures) if "messages" in figures else figures


def with_rate(figures: Figures) -> Figures:
    """Add messages a second."""
    return figures | {"rate": figures["messages"] / figures["seconds"]}


def runtime(**environment: str) -> dict[str, str]:
    """Return the environment of a process that can import our modules."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    return {**os.environ, "PYTHONPATH": path, **environment}


@contextmanager
def folder() -> Iterator[Path]:
    """A temporary folder."""
    with tempfile.TemporaryDirectory(prefix="own-smtp-benchmark-") as name:
        yield Path(name)
