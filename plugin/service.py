"""One worker's work: the relay that its job names, and others that are due while it waits for slow servers.

A job names one relay, but a relay that does not answer must not keep a worker from those that do. So a worker whose
drains all wait takes on further relays that are due, in the same event loop.
"""

from __future__ import annotations

import asyncio
import logging
import signal

from sqlalchemy import exists, or_, select
from sqlalchemy.exc import DBAPIError

from own_smtp.clock import read_clock
from own_smtp.delivery import Drain, begin_drain
from own_smtp.models import Batch, Invitation, Lease, Relay
from own_smtp.states import BatchState, RelayState, State
from own_smtp.surroundings import Surroundings

log = logging.getLogger(__name__)

FIRST_LOOK = 0.05
"""Seconds without any progress after which a worker looks for further relays."""
LONGEST_LOOK = 2.0


def find_due(around: Surroundings, most: int) -> list[int]:
    """Return relays with invitations that may be sent now and that nobody drains, those served longest ago first."""
    with around.engine.connect() as connection:
        now = read_clock(connection)
        due = exists().where(
            Batch.relay_id == Relay.id,
            Batch.state == BatchState.OPEN,
            Invitation.batch_id == Batch.id,
            Invitation.state == State.QUEUED,
            Invitation.next_attempt_at <= now,
        )
        free = or_(Lease.expires_at.is_(None), Lease.expires_at < now)
        rested = or_(Lease.wake_at.is_(None), Lease.wake_at <= now)
        return list(
            connection.scalars(
                select(Relay.id)
                .outerjoin(Lease, Lease.relay_id == Relay.id)
                .where(Relay.state == RelayState.ACTIVE, Relay.deleted_at.is_(None), free, rested, due)
                .order_by(Lease.drained_at.is_not(None), Lease.drained_at, Relay.id)
                .limit(most)
            )
        )


class Service:
    """Runs drains until none is left. `stop` ends them after the messages on the wire."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._drains: dict[asyncio.Task[None], Drain] = {}
        self._due_again: set[int] = set()
        self._is_stopping = False
        self._ended_before = 0

    async def run(self, relay_id: int) -> set[int]:
        """Drain `relay_id`, and what else is due while that waits. Return relays that are due again."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        await self._start(relay_id)
        look = FIRST_LOOK
        while self._drains:
            done, _waiting = await asyncio.wait(self._drains, timeout=look, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del self._drains[task]
                task.result()
            look = FIRST_LOOK if await self._adopt() else min(2 * look, LONGEST_LOOK)
        return self._due_again

    def stop(self) -> None:
        """Send nothing new."""
        self._is_stopping = True
        for drain in self._drains.values():
            drain.stop()

    async def _start(self, relay_id: int) -> bool:
        drain = await asyncio.to_thread(begin_drain, self._around, relay_id)
        if drain is None:
            return False
        self._drains[asyncio.create_task(self._run(drain))] = drain
        if self._is_stopping:
            drain.stop()
        return True

    async def _run(self, drain: Drain) -> None:
        ending = await drain.run()
        self._ended_before += ending.ended
        if ending.is_due_again:
            self._due_again.add(drain.relay_id)

    async def _adopt(self) -> bool:
        """Take on further relays if nothing moved since the last look. Return whether anything moves."""
        moved = self._has_moved()
        room = self._around.settings.relays_per_worker - len(self._drains)
        if moved or self._is_stopping or room <= 0 or not self._drains:
            return moved
        try:
            for relay_id in await asyncio.to_thread(find_due, self._around, room):
                moved = await self._start(relay_id) or moved
        except DBAPIError as error:
            log.warning("Looking for further relays failed: %s", type(error).__name__)
        return moved

    def _has_moved(self) -> bool:
        ended = self._ended_before + sum(drain.feed.ended for drain in self._drains.values())
        moved, self._seen = ended > self._seen, ended
        return moved

    _seen = 0


def serve(around: Surroundings, relay_id: int) -> set[int]:
    """Run a worker's job to its end, from a thread without an event loop. Return relays that are due again."""
    return asyncio.run(Service(around).run(relay_id))
