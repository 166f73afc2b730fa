"""One worker's work: the relay that its job names, and others that are due while it waits for slow servers.

A job names one relay, but a relay that does not answer must not keep a worker from those that do. So a worker whose
drains all wait takes on further relays that are due, in the same event loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from own_smtp.delivery.contract import Bookkeeper, Channel, SenderRuntime
from own_smtp.delivery.sending.drain import Drain, begin_drain, unforeseen
from own_smtp.relays.urgent_tasks import MOST, PER_TENANT, UrgentTask
from own_smtp.states import Route

log = logging.getLogger(__name__)

FIRST_LOOK = 0.05
"""Seconds without any progress after which a worker looks for further relays."""
LONGEST_LOOK = 2.0
URGENT_LOOK = 1.0
"""Seconds between two looks for tests and confirmation mails."""
LAST_MESSAGES = 600.0
"""Seconds beside the deadline of a final dot that what is on the wire gets when the slice is over. RQ ends a job after
900, in the middle of whatever it does."""


class MultiDrain:
    """Runs drains until nothing is due or the slice is over. `stop` ends them after the messages on the wire."""

    def __init__(self, runtime: SenderRuntime, channel: Channel) -> None:
        self._runtime = runtime
        self._channel = channel
        self._drains: dict[asyncio.Task[None], Drain] = {}
        self._urgent: dict[asyncio.Task[None], UrgentTask] = {}
        self._due_again: set[int] = set()
        self._fruitless: set[int] = set()
        """Relays whose drain ended without an attempt: another one in the same job would end the same way."""
        self._is_stopping = False
        self._ended_before = 0
        self._ended_seen = 0
        self._urgent_at = -URGENT_LOOK
        self._broken: set[UrgentTask] = set()
        """Tasks that raised: the same job does not try them again and again."""

    async def run(self, relay_id: int | None, route: Route = Route.RELAY) -> set[int]:
        """Drain `relay_id`, and what else is due while that waits. Return relays that are due again.

        Tests and confirmation mails run beside the drains; without a `relay_id` they come first. Ends with the slice,
        whatever is due by then. Raises what kept the drain of `relay_id` from beginning.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        # Look-ups of dead names block threads for long.
        loop.set_default_executor(ThreadPoolExecutor(2 * self._runtime.settings.relays_per_worker))
        slice_end = loop.call_later(self._runtime.settings.slice.total_seconds(), self.stop)
        last_end = loop.time() + self._runtime.settings.slice.total_seconds() + self._longest_ending
        async with self._channel:
            try:
                if relay_id is not None:
                    await self._start(relay_id, route)
                await self._serve(last_end)
            finally:
                slice_end.cancel()
                await self._cut_off([*self._drains, *self._urgent])
        return self._due_again

    @property
    def _longest_ending(self) -> float:
        return self._runtime.settings.deadlines.final_dot + LAST_MESSAGES

    def stop(self) -> None:
        """Send nothing new."""
        self._is_stopping = True
        for drain in self._drains.values():
            drain.stop()

    async def _serve(self, last_end: float) -> None:
        """Look after urgent mails, and take on more relays when nothing moves, until nothing is due or `last_end`."""
        loop, look = asyncio.get_running_loop(), FIRST_LOOK
        while self._drains or self._urgent or await self._run_urgent() or await self._adopt():
            if (left := last_end - loop.time()) <= 0:
                return
            waiting = [*self._drains, *self._urgent]
            await asyncio.wait(waiting, timeout=min(look, left), return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in self._drains if task.done()]:
                self._end(self._drains.pop(task), task)
            if loop.time() - self._urgent_at >= URGENT_LOOK:
                await self._run_urgent()
            moves = self._has_moved() or await self._adopt()
            look = FIRST_LOOK if moves else min(2 * look, LONGEST_LOOK)

    async def _cut_off(self, tasks: Iterable[asyncio.Task[None]]) -> None:
        """End what must not go on: a drain leaves what it cannot write to the recovery."""
        running = [task for task in tasks if not task.done()]
        for task in running:
            task.cancel()
        if running:
            log.error("Ended %d conversations or calls that took too long.", len(running))
            await asyncio.wait(running)

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
        if not task.cancelled() and (error := task.exception()) is not None:
            # What it had claimed is settled or left to the recovery; the other relays go on.
            log.error("%r broke down.", drain, exc_info=error)

    async def _adopt(self) -> bool:
        """Take on further relays that are due. Return whether there were any."""
        room = self._runtime.settings.relays_per_worker - len(self._drains)
        if self._is_stopping or room <= 0:
            return False
        passed_over = self._passed_over
        try:
            due = await self._channel.call(Bookkeeper.find_due, room + len(passed_over))
        except Exception as error:
            log.warning("Further relays cannot be looked for: %s", error, exc_info=unforeseen(error))
            return False
        return any([await self._try_to_start(relay_id) for relay_id in due if relay_id not in passed_over])

    async def _try_to_start(self, relay_id: int) -> bool:
        """What is wrong with this relay, or with the database just now, is no matter to those that are at work."""
        try:
            return await self._start(relay_id)
        except Exception as error:
            log.warning("Relay %s cannot be taken on: %s", relay_id, error, exc_info=unforeseen(error))
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

    async def _run_urgent(self) -> bool:
        """Begin tests and confirmation mails: they do not wait for an idle worker. Return whether any began."""
        if self._is_stopping or len(self._urgent) >= MOST:
            return False
        self._urgent_at = asyncio.get_running_loop().time()
        running = Counter(task.tenant_id for task in self._urgent.values())
        full = frozenset(tenant for tenant, number in running.items() if number >= PER_TENANT)
        try:
            due = await self._channel.call(Bookkeeper.find_urgent, full)
        except Exception as error:
            log.warning("Urgent mails cannot be looked for: %s", error, exc_info=unforeseen(error))
            return False
        begun = 0
        for task in due:
            # One that runs may have been found before it was claimed.
            is_new = task not in self._urgent.values() and task not in self._broken
            if is_new and len(self._urgent) < MOST and running[task.tenant_id] < PER_TENANT:
                running[task.tenant_id] += 1
                begun += 1
                urgent = asyncio.create_task(self._channel.call(Bookkeeper.run_urgent, task))
                self._urgent[urgent] = task
                urgent.add_done_callback(self._end_urgent)
        return begun > 0

    def _end_urgent(self, urgent: asyncio.Task[None]) -> None:
        task = self._urgent.pop(urgent)
        self._urgent_at = -URGENT_LOOK  # the next one need not wait for the clock
        if not urgent.cancelled() and (error := urgent.exception()) is not None:
            self._broken.add(task)
            log.error("The %s %d could not be completed.", task.kind, task.id, exc_info=error)
