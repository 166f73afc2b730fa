"""A bookkeeper whose calls raise what a test says: before they do anything, at their commit, or after it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

from own_smtp.delivery.bookkeeping.bookkeeper import DatabaseBookkeeper
from own_smtp.delivery.bookkeeping.channel import ThreadChannel
from own_smtp.delivery.contract import Channel
from own_smtp.delivery.sending import event_loop
from own_smtp.delivery.sending.multi_drain import MultiDrain
from tests.engine import Platform

METHODS = ("open", "write_turn", "write_end", "notify_some", "notify_rest", "close", "find_due")
BEFORE, AT_COMMIT, AFTER, IN_PIPE_BEFORE, IN_PIPE_AFTER = "before", "at commit", "after", "pipe before", "pipe after"
MOMENTS = (BEFORE, AT_COMMIT, AFTER, IN_PIPE_BEFORE, IN_PIPE_AFTER)
"""At the commit: the database has committed, and the driver says that it has not."""

Plan = Callable[[str, int], tuple[str, BaseException] | None]
"""Says for a method and the number of its call, from 0, when it raises what; `None` when it does not."""


@dataclass
class Faults:
    """What is to be raised, and what was."""

    plan: Plan
    raised: Counter[tuple[str, str]] = field(default_factory=Counter)
    _calls: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, method: str) -> tuple[str, BaseException] | None:
        with self._lock:
            fault = self.plan(method, self._calls[method])
            self._calls[method] += 1
            if fault is not None:
                self.raised[method, fault[0]] += 1
            return fault


class FaultyChannel:
    """The channel of threads, with faults on both of its sides. A fault of the pipe is raised as it is."""

    def __init__(self, platform: Platform, faults: Faults) -> None:
        self._faults = faults
        bookkeeper: Any = FaultyBookkeeper(platform)
        self._channel = ThreadChannel(bookkeeper, platform.engine)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._channel.__aexit__(*error)

    async def call(self, method: Callable[..., Any], *arguments: Any) -> Any:
        when, error = self._faults.take(method.__name__) or ("", None)
        if when == IN_PIPE_BEFORE:
            raise error
        fault = (when, error) if when in {BEFORE, AT_COMMIT, AFTER} else None
        result = await asyncio.wrap_future(self._channel._threads.submit(method.__name__, (fault, *arguments)))
        if when == IN_PIPE_AFTER:
            raise error
        return result


class FaultyBookkeeper:
    """Takes the fault of a call as its first argument."""

    def __init__(self, platform: Platform) -> None:
        self._bookkeeper = DatabaseBookkeeper(platform.runtime)
        self._local = threading.local()
        dialect = platform.engine.dialect
        commit = dialect.do_commit

        def commit_and_raise(connection: Any) -> None:
            commit(connection)
            if error := self._local.__dict__.pop("error", None):
                raise error

        dialect.do_commit = commit_and_raise

    def __getattr__(self, method: str) -> Callable[..., Any]:
        return partial(self._call, method)

    def _call(self, method: str, fault: tuple[str, BaseException] | None, *arguments: Any) -> Any:
        when, error = fault or ("", None)
        if when == BEFORE:
            raise error
        self._local.error = error if when == AT_COMMIT else None
        try:
            result = getattr(self._bookkeeper, method)(*arguments)
        finally:
            self._local.error = None
        if when == AFTER:
            raise error
        return result


def run_with(platform: Platform, faults: Faults, relay_id: int) -> set[int]:
    """Run a worker's job whose calls raise."""
    channel: Channel = FaultyChannel(platform, faults)
    return event_loop.run(MultiDrain(platform.runtime, channel).run(relay_id))
