"""How drains reach their office: calls that block, made from an event loop that must not.

Python runs one thread at a time. Beside an event loop that writes thousands of messages a second, a thread with books
costs more in passing that turn to and fro than in work, and a host's slow hook stops the sending. So a worker keeps its
books in a process of its own: what goes through the pipe between both are a few calls a second, each about hundreds of
messages.

Neither process needs the other to be right. The one that sends dies: the pipe ends, the other one finishes the
transaction that it is in, and a recovery reads the journal. The one that keeps the books dies: nothing more is claimed,
what is on the wire ends in the journal.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import pickle
import signal
import socket
import struct
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from threading import Lock
from typing import Any, BinaryIO, Protocol, Self, TypeVar, TypeVarTuple

from sqlalchemy.exc import DBAPIError

from own_smtp.delivery.bookkeeping.bookkeeper import Bookkeeper
from own_smtp.errors import BookkeepingLostError, DatabaseError, OwnSMTPError

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_HEAD = struct.Struct("!Q")
"""Before each message: its length in octets."""


class Channel(Protocol):
    """Takes calls for an office. An asynchronous context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_error: object) -> None: ...

    async def call(self, method: Callable[[Bookkeeper, *Ts], T], *arguments: *Ts) -> T:
        """Run a method of the bookkeeper, and return what it returns.

        Raises what it raises; `DatabaseError` for the driver's errors; `BookkeepingLostError` when the process is gone.
        """


def _run(bookkeeper: Bookkeeper, method: Callable[..., T], *arguments: Any) -> T:
    try:
        return method(bookkeeper, *arguments)
    except DBAPIError as error:
        raise DatabaseError(type(error).__name__) from error  # the driver's may hold what no log should


class ThreadChannel:
    """Runs calls in the event loop's threads."""

    def __init__(self, bookkeeper: Bookkeeper) -> None:
        self._bookkeeper = bookkeeper

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        pass

    async def call(self, method: Callable[[Bookkeeper, *Ts], T], *arguments: *Ts) -> T:
        return await asyncio.to_thread(_run, self._bookkeeper, method, *arguments)


class ProcessChannel:
    """Runs calls in `threads` threads of a process that is forked for them, before this one has threads itself."""

    def __init__(self, bookkeeper: Bookkeeper, threads: int, prepare: Callable[[], None]) -> None:
        self._channel, theirs = socket.socketpair()
        context = multiprocessing.get_context("fork")
        arguments = (bookkeeper, threads, prepare, theirs, self._channel)
        self._process = context.Process(target=_run_bookkeeper, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        self._numbers = count()
        self._open: dict[int, asyncio.Future[Any]] = {}
        self._writer: asyncio.StreamWriter | None = None
        self._listener: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        reader, self._writer = await asyncio.open_connection(sock=self._channel)
        self._listener = asyncio.create_task(self._listen(reader))
        return self

    async def __aexit__(self, *_error: object) -> None:
        assert self._writer is not None
        assert self._listener is not None
        self._writer.close()
        self._listener.cancel()
        await asyncio.to_thread(self._process.join)

    async def call(self, method: Callable[[Bookkeeper, *Ts], T], *arguments: *Ts) -> T:
        if self._writer is None or self._listener is None or self._listener.done():
            raise BookkeepingLostError("The process that keeps the books is gone.")
        number = next(self._numbers)
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        self._writer.write(_packed((number, method, arguments)))
        try:
            result: T = await answer
            return result
        finally:
            del self._open[number]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    (length,) = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                    answer = pickle.loads(await reader.readexactly(length))  # noqa: S301 -- from our own child
                    self._answer(*answer)
        finally:
            for waiting in self._open.values():
                if not waiting.done():
                    waiting.set_exception(BookkeepingLostError("The process that keeps the books is gone."))

    def _answer(self, number: int, result: object, error: BaseException | None) -> None:
        answer = self._open.get(number)
        if answer is None or answer.done():
            return  # who asked was cancelled
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)


# In the process that keeps the books


def _run_bookkeeper(
    bookkeeper: Bookkeeper, threads: int, prepare: Callable[[], None], channel: socket.socket, others: socket.socket
) -> None:
    """Take calls until the other process is gone. It decides when to stop: signals to both of them are for it."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    others.close()  # or the pipe would never end
    prepare()
    answer = partial(_send_answer, channel, Lock())
    with ThreadPoolExecutor(threads) as pool, channel.makefile("rb") as stream:
        while (call := _read(stream)) is not None:
            number, method, arguments = call
            pool.submit(_run, bookkeeper, method, *arguments).add_done_callback(partial(answer, number))


def _read(stream: BinaryIO) -> tuple[int, Callable[..., Any], tuple[Any, ...]] | None:
    """Return the next call, or `None` at the end; half a call is none."""
    with suppress(ConnectionError):
        head = stream.read(_HEAD.size)
        if len(head) == _HEAD.size:
            (length,) = _HEAD.unpack(head)
            data = stream.read(length)
            if len(data) == length:
                number, method, arguments = pickle.loads(data)  # noqa: S301 -- from our own parent
                return number, method, arguments
    return None


def _send_answer(channel: socket.socket, lock: Lock, number: int, done: Future[Any]) -> None:
    error = done.exception()
    if error is not None and not _can_travel(error):
        log.error("The books met an error that nobody foresaw.", exc_info=error)
        error = RuntimeError(f"{type(error).__name__}: {error}")  # who knows what it carries
    answer = _packed((number, None if error else done.result(), error))
    with lock, suppress(ConnectionError):
        channel.sendall(answer)


def _can_travel(error: BaseException) -> bool:
    """Whether the other process can put the error together again: one of ours that is made of its text alone."""
    return isinstance(error, OwnSMTPError) and type(error).__init__ is Exception.__init__


def _packed(message: object) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(len(data)) + data
