"""Configuration of all tests. The fixtures are in modules by subject."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# A background run ignores Ctrl-C, and so would every process that a test starts and then interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# An example that a busy machine held up is no fault.
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

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
"""Marks, ordered by the duration of their files."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with the slow files, so that the run does not end with one process still busy with such a file."""
    ranks: dict[Path, int] = {}
    for item in items:
        rank = next((at for at, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name)), len(LONGEST_FIRST))
        ranks[item.path] = min(rank, ranks.get(item.path, rank))
    items.sort(key=lambda item: ranks[item.path])


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `make gate`: the crash gate at full size (by default a tenth), and new snapshots of mails."""
    parser.addoption("--full-gate", action="store_true", help="run the crash gate at full size")
    parser.addoption("--renew-mails", action="store_true", help="write tests/data/mails anew, to be read and committed")
