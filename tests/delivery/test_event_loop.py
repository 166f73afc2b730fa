"""The event loop that drains run in: it hears of everything, at every length of wait, and keeps time."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from own_smtp.delivery.sending import event_loop

pytestmark = pytest.mark.skipif(not hasattr(event_loop, "ExactSelector"), reason="needs Linux, where waits are inexact")

WAITS = [None, -1, 0, event_loop.ROUGH / 4, event_loop.ROUGH, 2 * event_loop.ROUGH, 60]


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def high_descriptors() -> Iterator[None]:
    """From here on descriptors are above what `select` can watch."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("needs a limit of 2,048 open files or more (`ulimit -Hn`)")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    with ExitStack() as opened:
        while opened.enter_context(Path("/dev/null").open("rb")).fileno() < 1024:
            pass
        yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def hears(ends: tuple[socket.socket, socket.socket], wait: float | None) -> bool:
    ours, theirs = ends
    with closing(event_loop.ExactSelector()) as selector:
        selector.register(ours, 1, "ours")
        theirs.send(b"x")
        return [key.data for key, _events in selector.select(wait)] == ["ours"]


@pytest.mark.parametrize("wait", WAITS)
def test_what_is_there_is_heard_of(ends: tuple[socket.socket, socket.socket], wait: float | None) -> None:
    assert hears(ends, wait)


@pytest.mark.parametrize("wait", WAITS)
def test_so_it_is_with_a_thousand_files_open(
    high_descriptors: None, ends: tuple[socket.socket, socket.socket], wait: float | None
) -> None:
    assert hears(ends, wait)


@pytest.mark.parametrize("wait", [event_loop.ROUGH / 4, event_loop.ROUGH, 2 * event_loop.ROUGH])
def test_silence_ends_with_the_wait(ends: tuple[socket.socket, socket.socket], wait: float) -> None:
    with closing(event_loop.ExactSelector()) as selector:
        selector.register(ends[0], 1)
        assert selector.select(wait) == []


def test_a_loop_never_wakes_too_early() -> None:
    async def oversleep(seconds: float) -> float:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        await asyncio.sleep(seconds)
        return loop.time() - due

    async def run() -> list[float]:
        return [await oversleep(seconds) for seconds in (0.0005, 0.0019, 0.002, 0.0021, 0.0057)]

    assert min(event_loop.run(run())) >= -1e-6


def test_a_loop_is_woken_from_another_thread() -> None:
    async def run() -> int:
        return await asyncio.to_thread(os.getpid)

    assert event_loop.run(run()) == os.getpid()
