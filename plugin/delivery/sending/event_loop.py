"""The event loop that drains run in: it wakes up when it should, not a millisecond or two after."""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Coroutine
from selectors import SelectorKey
from typing import Any, TypeVar

T = TypeVar("T")

if sys.platform == "linux":
    from selectors import EpollSelector

    ROUGH = 0.002
    """Seconds by which `epoll_wait` may be late: it counts whole milliseconds, and what it is given is rounded up."""

    class ExactSelector(EpollSelector):
        """Sleeps the last of each wait with `select`, which counts microseconds.

        A relay that takes a message each 100 ms loses a hundredth of its rate otherwise: a gap that came out too long
        is never made up for by a short one.
        """

        def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
            if timeout is None or timeout <= 0:
                return super().select(timeout)
            if timeout > ROUGH:
                return super().select(timeout - ROUGH)  # the event loop asks again for the rest
            try:
                select.select([self], (), (), timeout)
            except ValueError:  # `select` cannot watch a descriptor above 1,023
                return super().select(timeout)
            return super().select(0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end, as `asyncio.run` does."""
    with asyncio.Runner(loop_factory=_make_loop) as runner:
        return runner.run(main)


def _make_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(ExactSelector()) if sys.platform == "linux" else asyncio.new_event_loop()
