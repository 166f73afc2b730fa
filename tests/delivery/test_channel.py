"""The pipe between the process that sends and the one that keeps its books: answers, errors, and either's death."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import psycopg
import pymysql
import pytest
import sqlalchemy.exc
from sqlalchemy import NullPool, StaticPool, create_engine
from sqlalchemy.exc import OperationalError

from own_smtp.delivery.bookkeeping import channel as bookkeeping_channel
from own_smtp.delivery.bookkeeping.channel import ProcessChannel, ThreadChannel
from own_smtp.delivery.bookkeeping.threads import UNBOUNDED, Lane, share_out
from own_smtp.delivery.contract import Channel
from own_smtp.errors import BookkeepingError, BookkeepingLostError, DatabaseError, LeaseLostError, OwnSMTPError
from own_smtp.storage.engine import most_connections
from tests.engine import Platform
from tests.servers.process import eventually

# A worker's process has no threads when it forks; that of the tests may have those of its runner.
pytestmark = pytest.mark.filterwarnings("ignore:.*is multi-threaded:DeprecationWarning")

LARGE = 3_000_000
"""Octets: more than a pipe holds."""


class Unreadable:
    """What can be packed and not unpacked."""

    def __reduce__(self) -> tuple[object, ...]:
        return refuse, ()


def refuse() -> None:
    raise MemoryError


class Unforeseen(Exception):
    """One that no other process could put together again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class OursOfTwo(OwnSMTPError):
    """One of ours, but not made of its text alone."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class Talker:
    """A bookkeeper for tests of the pipe: what it is asked is none of a drain's business."""

    def process_id(self) -> int:
        return os.getpid()

    def echo(self, value: bytes) -> bytes:
        return value

    def wait_for(self, path: str) -> str:
        """Return only when somebody else has made the file."""
        eventually(Path(path).exists, "the other call")
        return path

    def make(self, path: str) -> None:
        Path(path).touch()

    def lose_lease(self) -> None:
        raise LeaseLostError("Relay 7 is drained by another worker now.")

    def fail(self, error: type[BaseException]) -> None:
        raise ERRORS[error.__name__]

    def answer_oddly(self) -> object:
        return lambda: "nothing that goes through a pipe"

    def answer_unreadably(self) -> object:
        return Unreadable()

    def take(self, _value: object) -> None:
        raise AssertionError("It cannot be read.")

    def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=[ThreadChannel, ProcessChannel])
def channel(request: pytest.FixtureRequest, platform: Platform) -> Channel:
    return make_channel(request.param, platform)


def make_channel(kind: type[Channel], platform: Platform) -> Channel:
    return kind(Talker(), platform.engine)


def test_answers_come_back_whole(channel: Channel) -> None:
    """However large they are, and whatever order they are ready in."""

    async def run() -> None:
        async with channel:
            large = bytes(range(256)) * (LARGE // 256)
            assert await asyncio.gather(channel.call(Talker.echo, large), channel.call(Talker.echo, b"small")) == [
                large,
                b"small",
            ]

    asyncio.run(run())


def test_a_call_does_not_wait_for_another(channel: Channel, tmp_path: Path) -> None:
    """One relay's slow database or host holds up no other relay's books."""

    async def run() -> None:
        async with channel:
            slow = asyncio.create_task(channel.call(Talker.wait_for, str(tmp_path / "made")))
            await channel.call(Talker.make, str(tmp_path / "made"))
            assert await slow == str(tmp_path / "made")

    asyncio.run(run())


ERRORS: dict[str, BaseException] = {
    type(error).__name__: error
    for error in (
        OperationalError("SELECT password", {}, ConnectionError("the driver's words")),
        sqlalchemy.exc.TimeoutError("QueuePool limit"),
        pymysql.err.InterfaceError("the driver's words"),
        psycopg.DatabaseError("the driver's words"),
        sqlite3.ProgrammingError("the driver's words"),
        Unforeseen(1, 2),
        OursOfTwo(1, 2),
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(3),
        StopIteration(),
        GeneratorExit(),
        BrokenPipeError(),
        EOFError(),
    )
}
OF_THE_DATABASE = {"OperationalError", "TimeoutError", "InterfaceError", "DatabaseError", "ProgrammingError"}


@pytest.mark.parametrize("name", ERRORS)
def test_any_error_is_answered_by_the_name_of_its_class(channel: Channel, name: str) -> None:
    """Whatever is raised ends the call, tells nothing of what a driver quotes, and hurts no other call."""
    expected = DatabaseError if name in OF_THE_DATABASE else BookkeepingError

    async def run() -> None:
        async with channel:
            with pytest.raises(BookkeepingError, match=f"^{name}$") as caught:
                await channel.call(Talker.fail, type(ERRORS[name]))
            assert type(caught.value) is expected
            assert await channel.call(Talker.echo, b"still there") == b"still there"

    asyncio.run(run())


def test_errors_of_ours_come_as_they_are(channel: Channel) -> None:
    """A lost lease means something to the drain that asked."""

    async def run() -> None:
        async with channel:
            with pytest.raises(LeaseLostError, match="Relay 7"):
                await channel.call(Talker.lose_lease)

    asyncio.run(run())


@pytest.mark.parametrize("method", [Talker.answer_oddly, Talker.answer_unreadably])
def test_an_answer_that_cannot_travel_is_an_error(platform: Platform, method: Callable[..., object]) -> None:
    """Nobody waits for ever for what could not be packed, or not be unpacked."""

    async def run() -> None:
        async with make_channel(ProcessChannel, platform) as channel:
            with pytest.raises(BookkeepingError):
                await channel.call(method)
            assert await channel.call(Talker.echo, b"still there") == b"still there"

    asyncio.run(run())


def test_a_call_that_cannot_be_read_is_an_error(platform: Platform) -> None:
    """The bookkeeper goes on with the next one."""

    async def run() -> None:
        async with make_channel(ProcessChannel, platform) as channel:
            with pytest.raises(BookkeepingError, match="MemoryError"):
                await channel.call(Talker.take, Unreadable())
            assert await channel.call(Talker.echo, b"still there") == b"still there"

    asyncio.run(run())


def test_a_call_that_hangs_holds_up_no_end(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the work is over, a process whose database does not answer is ended; its database rolls back."""
    monkeypatch.setattr(bookkeeping_channel, "LAST_CALLS", 0.2)

    async def run() -> int:
        async with make_channel(ProcessChannel, platform) as channel:
            keeper = await channel.call(Talker.process_id)
            hanging = asyncio.create_task(channel.call(Talker.wait_for, str(tmp_path / "never")))
            await asyncio.sleep(0)
        with pytest.raises(BookkeepingLostError):
            await hanging
        return keeper

    assert not psutil.pid_exists(asyncio.run(run()))


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 15, 30, 100, None])
def test_threads_fit_the_pool(most: int | None) -> None:
    """A checkout never waits for another thread's: calls to the host may take a second connection each."""
    lanes = share_out(most)
    assert min(lanes.values()) >= 1
    if most is None or most >= 4:
        assert lanes[Lane.RECORDS] + 2 * lanes[Lane.HOST] < (most or UNBOUNDED)  # the rest is for urgent tasks


def test_the_pool_says_how_many_connections_it_gives_out(tmp_path: Path) -> None:
    """Its size and what it may overflow by; a pool without a bound says so."""
    url = f"sqlite:///{tmp_path / 'a.sqlite3'}"
    assert most_connections(create_engine(url)) == 15
    assert most_connections(create_engine(url, pool_size=2, max_overflow=1)) == 3
    assert most_connections(create_engine(url, max_overflow=-1)) is None
    assert most_connections(create_engine(url, poolclass=NullPool)) is None
    assert most_connections(create_engine(url, poolclass=StaticPool)) == 1


def test_books_are_kept_in_another_process(platform: Platform) -> None:
    """Which ends with the work, and holds no part of the pipe's other end."""

    async def run() -> int:
        async with make_channel(ProcessChannel, platform) as channel:
            return await channel.call(Talker.process_id)

    keeper = asyncio.run(run())
    assert keeper != os.getpid()
    assert not psutil.pid_exists(keeper)


def test_the_death_of_the_books_is_told_to_all_who_wait(platform: Platform, tmp_path: Path) -> None:
    """And to those who call later."""

    async def run() -> None:
        async with make_channel(ProcessChannel, platform) as channel:
            waiting = asyncio.create_task(channel.call(Talker.wait_for, str(tmp_path / "never")))
            for call in (channel.call(Talker.die), waiting, channel.call(Talker.process_id)):
                with pytest.raises(BookkeepingLostError):
                    await call

    asyncio.run(run())


def test_books_end_when_the_process_that_sends_is_killed(platform: Platform, tmp_path: Path) -> None:
    """An end of the pipe is all that they learn of it."""

    async def send_for_ever() -> None:
        async with make_channel(ProcessChannel, platform) as channel:
            (tmp_path / "keeper").write_text(str(await channel.call(Talker.process_id)))
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
