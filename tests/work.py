"""How much more work a text takes that is longer, as a ratio: no machine changes it, however fast or busy it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TIMES = 8
"""So many times as long a text is taken."""
LINEAR = 3 * TIMES
"""At most so many times the work; what reads a text once for each of its characters takes `TIMES * TIMES`."""


def growth(work: Callable[[T], object], few: T, many: T) -> float:
    """Return by how much more of the processor `work` takes for `many`, which is `TIMES` times as long as `few`."""
    return _least(work, many) / max(_least(work, few), 1e-6)


def _least(work: Callable[[T], object], given: T) -> float:
    return min(_measured(work, given) for _ in range(3))


def _measured(work: Callable[[T], object], given: T) -> float:
    before = time.thread_time()
    work(given)
    return time.thread_time() - before
