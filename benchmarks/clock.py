"""A server that records when each message begins and when it is accepted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.scripted import PASS, Behaviour, Moment, ScriptedServer


class Timed:
    """A scripted server with its records, in seconds of one monotonic clock."""

    def __init__(self, server: ScriptedServer) -> None:
        self.server = server
        self.host, self.port = server.host, server.port
        self.begun: list[float] = []
        """The time of each MAIL command: servers count their limits by it."""
        self.taken: list[float] = []
        server.on("mail", self._note(self.begun))
        server.on("dot", self._note(self.taken))

    @staticmethod
    def _note(times: list[float]) -> Behaviour:
        def note(_moment: Moment) -> Behaviour:
            times.append(time.monotonic())
            return PASS

        return note

    def wait_for(self, count: int, seconds: float) -> None:
        """Wait until so many messages were accepted."""
        self.server.wait_for(lambda: len(self.taken) >= count, seconds)


@contextmanager
def timed() -> Iterator[Timed]:
    """Run a server that records times."""
    with ScriptedServer() as server:
        yield Timed(server)


def worst_window(times: list[float], period: float = 1.0) -> int:
    """Return the highest number in any period, excluding its end."""
    ordered, first, worst = sorted(times), 0, 0
    for last, time_ in enumerate(ordered):
        while ordered[first] <= time_ - period:
            first += 1
        worst = max(worst, last - first + 1)
    return worst
