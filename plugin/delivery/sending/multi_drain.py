"""One worker's work: the relay that its job names, and others that are due while it waits for slow servers.

A job names one relay, but a relay that does not answer must not keep a worker from those that do. So a worker whose
drains all wait takes on further relays that are due, in the same event loop.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
from concurrent.futures import ThreadPoolExecutor

from own_smtp.delivery.bookkeeping.bookkeeper import Bookkeeper
from own_smtp.delivery.bookkeeping.channel import Channel, ProcessChannel, ThreadChannel
from own_smtp.delivery.sending import event_loop
from own_smtp.delivery.sending.drain import Drain, begin_drain
from own_smtp.errors import BookkeepingLostError, DatabaseError, JournalError
from own_smtp.runtime import Runtime
from own_smtp.states import Route

log = logging.getLogger(__name__)

FIRST_LOOK = 0.05
"""Seconds without any progress after which a worker looks for further relays."""
LONGEST_LOOK = 2.0
LITTLE_GARBAGE = 20_000
"""Objects by which a sending process may grow before it looks for garbage: a message leaves next to none."""
MOST_URGENT = 4
"""Errands for urgent mails at a time: each may wait for a slow server."""


class MultiDrain:
    """Runs drains until nothing is due or the slice is over. `stop` ends them after the messages on the wire."""

    def __init__(self, runtime: Runtime, channel: Channel) -> None:
        self._runtime = runtime
        self._channel = channel
        self._drains: dict[asyncio.Task[None], Drain] = {}
        self._urgent: set[asyncio.Task[None]] = set()
        self._due_again: set[int] = set()
        self._fruitless: set[int] = set()
        """Relays whose drain ended without an attempt: another one in the same job would end the same way."""
        self._is_stopping = False
        self._ended_before = 0
        self._ended_seen = 0
        self._urgent_at = 0.0

    async def run(self, relay_id: int, route: Route = Route.RELAY) -> set[int]:
        """Drain `relay_id`, and what else is due while that waits. Return relays that are due again."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        # Look-ups of dead names block threads for long.
        loop.set_default_executor(ThreadPoolExecutor(threads_for(self._runtime)))
        ends_at = loop.time() + self._runtime.settings.slice.total_seconds()
        async with self._channel:
            await self._start(relay_id, route)
            while self._drains or (loop.time() < ends_at and await self._adopt()):
                await self._watch()
            if self._urgent:
                await asyncio.wait(self._urgent)
        return self._due_again

    def stop(self) -> None:
        """Send nothing new."""
        self._is_stopping = True
        for drain in self._drains.values():
            drain.stop()

    async def _watch(self) -> None:
        """Until all present drains have ended: look after urgent mails, and take on more when nothing moves."""
        look = FIRST_LOOK
        while self._drains:
            done, _waiting = await asyncio.wait(self._drains, timeout=look, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                self._end(self._drains.pop(task), task)
            self._run_urgent()
            moves = self._has_moved() or (bool(self._drains) and await self._adopt())
            look = FIRST_LOOK if moves else min(2 * look, LONGEST_LOOK)

    async def _start(self, relay_id: int, route: Route = Route.RELAY) -> bool:
        drain = await begin_drain(self._runtime, self._channel, relay_id, route)
        if drain is None:
            return False
        self._drains[asyncio.create_task(self._run(drain))] = drain
        if self._is_stopping:
            drain.stop()
        return True

    async def _run(self, drain: Drain) -> None:
        ending = await drain.run()
        if ending.is_due_again:
            self._due_again.add(drain.relay_id)

    def _end(self, drain: Drain, task: asyncio.Task[None]) -> None:
        self._ended_before += drain.queue.ended
        if not drain.queue.ended:
            self._fruitless.add(drain.relay_id)
        if (error := task.exception()) is not None:
            # What it had claimed is settled or left to the recovery; the other relays go on.
            log.error("%r broke down.", drain, exc_info=error)

    async def _adopt(self) -> bool:
        """Take on further relays that are due. Return whether there were any."""
        room = self._runtime.settings.relays_per_worker - len(self._drains)
        if self._is_stopping or room <= 0:
            return False
        try:
            passed_over = self._passed_over
            due = await self._channel.call(Bookkeeper.find_due, room + len(passed_over))
            return any([await self._start(relay_id) for relay_id in due if relay_id not in passed_over])
        except (DatabaseError, JournalError, BookkeepingLostError) as error:
            log.warning("Taking on further relays failed: %s", error)
            return False

    @property
    def _passed_over(self) -> set[int]:
        """Relays that are not taken on: one whose drain is just ending has given back its lease already."""
        return self._fruitless | {drain.relay_id for drain in self._drains.values()}

    def _has_moved(self) -> bool:
        """Whether any message came to an end since the last look."""
        ended = self._ended_before + sum(drain.queue.ended for drain in self._drains.values())
        moved, self._ended_seen = ended > self._ended_seen, ended
        return moved

    def _run_urgent(self) -> None:
        """Confirmations and tests do not wait until a busy worker is free again."""
        now = asyncio.get_running_loop().time()
        if now - self._urgent_at < LONGEST_LOOK or self._is_stopping or len(self._urgent) >= MOST_URGENT:
            return
        self._urgent_at = now
        urgent = asyncio.create_task(self._channel.call(Bookkeeper.run_urgent))
        self._urgent.add(urgent)
        urgent.add_done_callback(self._end_urgent)

    def _end_urgent(self, urgent: asyncio.Task[None]) -> None:
        self._urgent.discard(urgent)
        if (error := urgent.exception()) is not None:
            log.error("An urgent mail could not be sent.", exc_info=error)


def threads_for(runtime: Runtime) -> int:
    """Each relay of a worker may keep one thread busy with its books, and one with something slow."""
    return 2 * runtime.settings.relays_per_worker


def run_drains(runtime: Runtime, relay_id: int, route: Route = Route.RELAY) -> set[int]:
    """Run a worker's job to its end, in a thread without an event loop. Return relays that are due again."""
    return event_loop.run(MultiDrain(runtime, ThreadChannel(Bookkeeper(runtime))).run(relay_id, route))


def run_drains_forked(runtime: Runtime, relay_id: int, route: Route = Route.RELAY) -> set[int]:
    """Do the same with the books in a process of their own. For a process that does nothing else and has no threads."""
    # What is there by now stays: looking through it again and again for garbage would cost a tenth of the time.
    gc.freeze()
    gc.set_threshold(LITTLE_GARBAGE)
    channel = ProcessChannel(Bookkeeper(runtime), threads_for(runtime), lambda: runtime.engine.dispose(close=False))
    return event_loop.run(MultiDrain(runtime, channel).run(relay_id, route))
