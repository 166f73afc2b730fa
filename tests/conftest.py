"""What all tests share. The fixtures themselves stand in modules by their subject."""

import signal

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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let `make gate` ask for the crash gate at full size (without, it runs at a tenth), and keep mails anew."""
    parser.addoption("--full-gate", action="store_true", help="run the crash gate at full size")
    parser.addoption("--renew-mails", action="store_true", help="write tests/data/mails anew, to be read and committed")
