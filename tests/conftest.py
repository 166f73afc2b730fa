"""Common configuration of all tests. The fixtures are in modules by their subject."""

import os
import signal
from pathlib import Path

import pytest

# A run in the background ignores Ctrl-C, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = [
    "tests.engine",
    "tests.scripted.fixtures",
    "tests.servers.fixtures",
    "tests.web.fixtures",
    "tests.web.browser",
]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Three processes for two processors: nearly half of the time a test waits for a server, a disk or a deadline."""
    return min(12, ((os.cpu_count() or 1) * 3 + 1) // 2)


LONGEST_FIRST = ("gate", "slow", "browser", "servers")
"""Marks, in the order of what their files take."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take long, so that no process has one left while the others are done."""
    ranks: dict[Path, int] = {}
    for item in items:
        rank = next((at for at, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name)), len(LONGEST_FIRST))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make gate` ask for the crash gate at full size (without, it runs at a tenth), and keep mails anew."""
    parser.addoption("--full-gate", action="store_true", help="run the crash gate at full size")
    parser.addoption("--renew-mails", action="store_true", help="write tests/data/mails anew, to be read and committed")
