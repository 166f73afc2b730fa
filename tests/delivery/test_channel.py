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

from own_smtp.delivery.bookkeeping.bookkeeper import Office
from own_smtp.delivery.bookkeeping.channel import Desk, ProcessDesk, ThreadDesk
from own_smtp.errors import DatabaseError, LeaseLostError, OfficeLostError, OwnSMTPError
from tests.engine import Platform
from tests.servers.process import eventually

# A worker's process has no threads when it forks; that of the tests may have those of its runner.
pytestmark = pytest.mark.filterwarnings("ignore:.*is multi-threaded:DeprecationWarning")

LARGE = 3_000_000
"""Octets: more than a pipe holds."""


def process_id(_office: Office) -> int:
    return os.getpid()


def echo(_office: Office, value: bytes) -> bytes:
    return value


def wait_for(_office: Office, path: str) -> str:
    """Return only when somebody else has made the file."""
    eventually(Path(path).exists, "the other call")
    return path


def make(_office: Office, path: str) -> None:
    Path(path).touch()


def lose_lease(_office: Office) -> None:
    raise LeaseLostError("Relay 7 is drained by another worker now.")


def lose_database(_office: Office) -> None:
    raise OperationalError("SELECT password", {}, ConnectionError("the driver's words"))


class Unforeseen(Exception):
    """One that no other process could put together again."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


class OursOfTwo(OwnSMTPError):
    """One of ours, but not made of its text alone."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def fail(_office: Office) -> None:
    raise Unforeseen(1, 2)


def fail_oddly(_office: Office) -> None:
    raise OursOfTwo(1, 2)


def die(_office: Office) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(params=[ThreadDesk, ProcessDesk])
def desk(request: pytest.FixtureRequest, platform: Platform) -> Desk:
    return make_desk(request.param, platform)


def make_desk(kind: type[Desk], platform: Platform) -> Desk:
    office = Office(platform.around)
    return ProcessDesk(office, 4, platform.engine.dispose) if kind is ProcessDesk else ThreadDesk(office)


def test_answers_come_back_whole(desk: Desk) -> None:
    """However large they are, and whatever order they are ready in."""

    async def run() -> None:
        async with desk:
            large = bytes(range(256)) * (LARGE // 256)
            assert await asyncio.gather(desk.call(echo, large), desk.call(echo, b"small")) == [large, b"small"]

    asyncio.run(run())


def test_a_call_does_not_wait_for_another(desk: Desk, tmp_path: Path) -> None:
    """One relay's slow database or host holds up no other relay's books."""

    async def run() -> None:
        async with desk:
            slow = asyncio.create_task(desk.call(wait_for, str(tmp_path / "made")))
            await desk.call(make, str(tmp_path / "made"))
            assert await slow == str(tmp_path / "made")

    asyncio.run(run())


def test_errors_are_raised_where_the_call_was_made(desk: Desk) -> None:
    """Ours as they are, the driver's without what they carry, and those that nobody foresaw."""

    async def run() -> None:
        async with desk:
            with pytest.raises(LeaseLostError, match="Relay 7"):
                await desk.call(lose_lease)
            with pytest.raises(DatabaseError, match=r"^OperationalError$"):
                await desk.call(lose_database)
            for odd in (fail, fail_oddly):
                with pytest.raises((Unforeseen, OursOfTwo, RuntimeError), match="1 and 2"):
                    await desk.call(odd)
            assert await desk.call(echo, b"still there") == b"still there"

    asyncio.run(run())


def test_books_are_kept_in_another_process(platform: Platform) -> None:
    """Which ends with the work, and holds no part of the pipe's other end."""

    async def run() -> int:
        async with make_desk(ProcessDesk, platform) as desk:
            return await desk.call(process_id)

    keeper = asyncio.run(run())
    assert keeper != os.getpid()
    assert not psutil.pid_exists(keeper)


def test_the_death_of_the_books_is_told_to_all_who_wait(platform: Platform, tmp_path: Path) -> None:
    """And to those who call later."""

    async def run() -> None:
        async with make_desk(ProcessDesk, platform) as desk:
            waiting = asyncio.create_task(desk.call(wait_for, str(tmp_path / "never")))
            for call in (desk.call(die), waiting, desk.call(process_id)):
                with pytest.raises(OfficeLostError):
                    await call

    asyncio.run(run())


def test_books_end_when_the_process_that_sends_is_killed(platform: Platform, tmp_path: Path) -> None:
    """An end of the pipe is all that they learn of it."""

    async def send_for_ever() -> None:
        async with make_desk(ProcessDesk, platform) as desk:
            (tmp_path / "keeper").write_text(str(await desk.call(process_id)))
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
