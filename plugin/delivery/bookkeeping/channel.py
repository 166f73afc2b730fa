"""How drains reach their bookkeeper: calls that block, made from an event loop that must not.

Python runs one thread at a time. Beside an event loop that writes thousands of messages a second, a thread that writes
to the database costs more in passing that turn to and fro than in work, and a host's slow hook stops the sending. So a
worker keeps its records in a process of its own: what goes through the pipe between both are a few calls a second, each
about hundreds of messages.

Neither process needs the other to be right. The one that sends dies: the pipe ends, the other one finishes the
transaction that it is in, and a recovery reads the journal. The one that keeps the records dies: nothing more is
claimed, what is on the wire ends in the journal.

Each call is answered, whatever becomes of it: by its result, by an error, or by the end of the pipe.
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
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from threading import Lock
from typing import Any, BinaryIO, Self, TypeVar, TypeVarTuple

from sqlalchemy import Engine

from own_smtp.delivery.bookkeeping.threads import BookkeeperThreads
from own_smtp.delivery.contract import Bookkeeper
from own_smtp.errors import BookkeepingError, BookkeepingLostError

log = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_HEAD = struct.Struct("!QQ")
"""Before each message: the number of its call, and its length in octets."""

LAST_CALLS = 20.0
"""Seconds for calls that are still running when the work is over. A transaction that hangs for longer is left to the
database, which ends it when the process is gone."""


class ThreadChannel:
    """Runs calls in threads of this process."""

    def __init__(self, bookkeeper: Bookkeeper, engine: Engine) -> None:
        self._threads = BookkeeperThreads(bookkeeper, engine)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await asyncio.to_thread(self._threads.shutdown)

    async def call(self, method: Callable[[Bookkeeper, *Ts], T], *arguments: *Ts) -> T:
        result: T = await asyncio.wrap_future(self._threads.submit(method.__name__, arguments))
        return result


class ProcessChannel:
    """Runs calls in threads of a process that is forked for them, before this one has threads itself."""

    def __init__(self, bookkeeper: Bookkeeper, engine: Engine) -> None:
        self._channel, theirs = socket.socketpair()
        context = multiprocessing.get_context("fork")
        arguments = (bookkeeper, engine, theirs, self._channel)
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
        await asyncio.to_thread(self._end_process)

    def _end_process(self) -> None:
        self._process.join(LAST_CALLS)
        if self._process.is_alive():
            log.warning("A call of the bookkeeper hangs: its process is ended.")
            self._process.kill()
            self._process.join()

    async def call(self, method: Callable[[Bookkeeper, *Ts], T], *arguments: *Ts) -> T:
        if self._writer is None or self._listener is None or self._listener.done():
            raise BookkeepingLostError("The bookkeeping process is gone.")
        number = next(self._numbers)
        message = _packed(number, (method.__name__, arguments))
        answer = self._open[number] = asyncio.get_running_loop().create_future()
        try:
            self._writer.write(message)
            result: T = await answer
            return result
        finally:
            del self._open[number]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    number, length = _HEAD.unpack(await reader.readexactly(_HEAD.size))
                    self._answer(number, await reader.readexactly(length))
        except Exception:
            log.exception("The pipe to the bookkeeping process broke.")
        finally:
            for waiting in self._open.values():
                if not waiting.done():
                    waiting.set_exception(BookkeepingLostError("The bookkeeping process is gone."))

    def _answer(self, number: int, data: bytes) -> None:
        answer = self._open.get(number)
        if answer is None or answer.done():
            return  # who asked was cancelled
        try:
            result, error = pickle.loads(data)  # noqa: S301 -- from our own child
        except Exception as broken:
            log.exception("An answer of the bookkeeper cannot be read.")
            result, error = None, BookkeepingError(type(broken).__name__)
        if error is None:
            answer.set_result(result)
        else:
            answer.set_exception(error)


# In the bookkeeping process


def _run_bookkeeper(bookkeeper: Bookkeeper, engine: Engine, channel: socket.socket, others: socket.socket) -> None:
    """Take calls until the other process is gone. It decides when to stop: signals to both of them are for it."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)
    others.close()  # or the pipe would never end
    engine.dispose(close=False)  # its connections are the other process's
    threads, lock = BookkeeperThreads(bookkeeper, engine), Lock()
    with channel.makefile("rb") as stream:
        while (call := _read(stream)) is not None:
            number, data = call
            _begin(threads, data, partial(_send_answer, channel, lock, number))
    threads.shutdown()


def _read(stream: BinaryIO) -> tuple[int, bytes] | None:
    """Return the number and the octets of the next call, or `None` at the end; half a call is none."""
    with suppress(ConnectionError):
        head = stream.read(_HEAD.size)
        if len(head) == _HEAD.size:
            number, length = _HEAD.unpack(head)
            data = stream.read(length)
            if len(data) == length:
                return number, data
    return None


def _begin(threads: BookkeeperThreads, data: bytes, answer: Callable[[Future[Any]], None]) -> None:
    """Have a call run; `answer` takes its end, also when it cannot even begin."""
    try:
        method, arguments = pickle.loads(data)  # noqa: S301 -- from our own parent
        running = threads.submit(method, arguments)
    except Exception as error:
        log.exception("A call of the bookkeeper could not begin.")
        running = Future()
        running.set_exception(BookkeepingError(type(error).__name__))
    running.add_done_callback(answer)


def _send_answer(channel: socket.socket, lock: Lock, number: int, done: Future[Any]) -> None:
    error = done.exception()
    try:
        answer = _packed(number, (None if error else done.result(), error))
    except Exception as unpackable:
        log.exception("An answer of the bookkeeper cannot be sent.")
        answer = _packed(number, (None, BookkeepingError(type(unpackable).__name__)))
    with lock:
        try:
            channel.sendall(answer)
        except OSError:
            # Half an answer would be taken for the head of the next one: the other process must see an end instead.
            with suppress(OSError):
                channel.shutdown(socket.SHUT_RDWR)


def _packed(number: int, message: object) -> bytes:
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _HEAD.pack(number, len(data)) + data
