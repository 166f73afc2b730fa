"""The pipe between the process that sends and the one that keeps its books: answers, errors, and either's death."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from sqlalchemy.exc import OperationalError

from own_smtp.delivery.bookkeeping.bookkeeper import Bookkeeper
from own_smtp.delivery.bookkeeping.channel import Channel, ProcessChannel, ThreadChannel
from own_smtp.errors import BookkeepingLostError, DatabaseError, LeaseLostError, OwnSMTPError
from tests.engine import Platform
from tests.servers.process import eventually

# A worker's process has no threads when it forks; that of the tests may have those of its runner.
pytestmark = pytest.mark.filterwarnings("ignore:.*is multi-threaded:DeprecationWarning")

LARGE = 3_000_000
"""Octets: more than a pipe holds."""


def process_id(_bookkeeper: Bookkeeper) -> int:
    return os.getpid()


def echo(_bookkeeper: Bookkeeper, value: bytes) -> bytes:
    return value


def wait_for(_bookkeeper: Bookkeeper, path: str) -> str:
    """Return only when somebody else has made the file."""
    eventually(Path(path).exists, "the other call")
    return path


def make(_bookkeeper: Bookkeeper, path: str) -> None:
    Path(path).touch()


def lose_lease(_bookkeeper: Bookkeeper) -> None:
    raise LeaseLostError("Relay 7 is drained by another worker now.")


def lose_database(_bookkeeper: Bookkeeper) -> None:
    raise OperationalError("SELECT password", {}, ConnectionError("the driver's words"))


class Unforeseen(Exception):
    """One that no other process could put together again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class OursOfTwo(OwnSMTPError):
    """One of ours, but not made of its text alone."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail(_bookkeeper: Bookkeeper) -> None:
    raise Unforeseen(1, 2)


def fail_oddly(_bookkeeper: Bookkeeper) -> None:
    raise OursOfTwo(1, 2)


def die(_bookkeeper: Bookkeeper) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=[ThreadChannel, ProcessChannel])
def channel(request: pytest.FixtureRequest, platform: Platform) -> Channel:
    return make_desk(request.param, platform)


def make_desk(kind: type[Channel], platform: Platform) -> Channel:
    bookkeeper = Bookkeeper(platform.runtime)
    return (
        ProcessChannel(bookkeeper, 4, platform.engine.dispose) if kind is ProcessChannel else ThreadChannel(bookkeeper)
    )


def test_answers_come_back_whole(channel: Channel) -> None:
    """However large they are, and whatever order they are ready in."""

    async def run() -> None:
        async with channel:
            large = bytes(range(256)) * (LARGE // 256)
            assert await asyncio.gather(channel.call(echo, large), channel.call(echo, b"small")) == [large, b"small"]

    asyncio.run(run())


def test_a_call_does_not_wait_for_another(channel: Channel, tmp_path: Path) -> None:
    """One relay's slow database or host holds up no other relay's books."""

    async def run() -> None:
        async with channel:
            slow = asyncio.create_task(channel.call(wait_for, str(tmp_path / "made")))
            await channel.call(make, str(tmp_path / "made"))
            assert await slow == str(tmp_path / "made")

    asyncio.run(run())


def test_errors_are_raised_where_the_call_was_made(channel: Channel) -> None:
    """Ours as they are, the driver's without what they carry, and those that nobody foresaw."""

    async def run() -> None:
        async with channel:
            with pytest.raises(LeaseLostError, match="Relay 7"):
                await channel.call(lose_lease)
            with pytest.raises(DatabaseError, match=r"^OperationalError$"):
                await channel.call(lose_database)
            for odd in (fail, fail_oddly):
                with pytest.raises((Unforeseen, OursOfTwo, RuntimeError), match="1 and 2"):
                    await channel.call(odd)
            assert await channel.call(echo, b"still there") == b"still there"

    asyncio.run(run())


def test_books_are_kept_in_another_process(platform: Platform) -> None:
    """Which ends with the work, and holds no part of the pipe's other end."""

    async def run() -> int:
        async with make_desk(ProcessChannel, platform) as channel:
            return await channel.call(process_id)

    keeper = asyncio.run(run())
    assert keeper != os.getpid()
    assert not psutil.pid_exists(keeper)


def test_the_death_of_the_books_is_told_to_all_who_wait(platform: Platform, tmp_path: Path) -> None:
    """And to those who call later."""

    async def run() -> None:
        async with make_desk(ProcessChannel, platform) as channel:
            waiting = asyncio.create_task(channel.call(wait_for, str(tmp_path / "never")))
            for call in (channel.call(die), waiting, channel.call(process_id)):
                with pytest.raises(BookkeepingLostError):
                    await call

    asyncio.run(run())


def test_books_end_when_the_process_that_sends_is_killed(platform: Platform, tmp_path: Path) -> None:
    """An end of the pipe is all that they learn of it."""

    async def send_for_ever() -> None:
        async with make_desk(ProcessChannel, platform) as channel:
            (tmp_path / "keeper").write_text(str(await channel.call(process_id)))
            await asyncio.Event().wait()

    def run() -> None:
        asyncio.run(send_for_ever())

    with forked(run) as sender:
        keeper = int(eventually(lambda: (tmp_path / "keeper").exists() and (tmp_path / "keeper").read_text(), "a call"))
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(keeper, number)  # as service managers do, who signal all processes of a service
        assert psutil.pid_exists(keeper)
        os.kill(sender, signal.SIGKILL)
        eventually(lambda: not psutil.pid_exists(keeper), "the books are closed")


@contextmanager
def forked(target: object) -> Iterator[int]:
    assert callable(target)
    process = multiprocessing.get_context("fork").Process(target=target)
    process.start()
    assert process.pid is not None
    try:
        yield process.pid
    finally:
        process.kill()
        process.join()
