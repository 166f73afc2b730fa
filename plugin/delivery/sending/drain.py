"""The drain: keeps a relay's connections busy at its pace while its bookkeeper puts every outcome on record.

Nothing that came back is out of its hands before it is known to be written. A turn may raise whatever it likes, and
nobody knows whether it was committed: its settlements stay where they are, and are written again.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from own_smtp.delivery.contract import (
    Bookkeeper,
    Channel,
    ClaimRequest,
    Closing,
    Load,
    Opened,
    SenderRuntime,
    Turn,
    TurnRequest,
)
from own_smtp.delivery.retry_policy import RetryPolicy
from own_smtp.delivery.sending.claim_size import ClaimSize
from own_smtp.delivery.sending.closing import closing_of
from own_smtp.delivery.sending.composer import Composer
from own_smtp.delivery.sending.connections import ConnectionPool
from own_smtp.delivery.sending.lease_clock import LeaseClock
from own_smtp.delivery.sending.refusal_brake import streak_of
from own_smtp.delivery.sending.send_queue import MANY, SendQueue
from own_smtp.errors import BookkeepingLostError, JournalError, LeaseLostError, OwnSMTPError
from own_smtp.outbox.journal import JournalWriter
from own_smtp.relays.rate_limits import Pacer, capped
from own_smtp.states import Route

log = logging.getLogger(__name__)

TURN = 0.25
"""Seconds that an outcome waits for others to be written with it, at most."""
RETRY_RECORDS = 0.5
"""Seconds between two tries while nothing can be written."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a drain ended."""

    ended: int
    """Attempts that came to an end."""
    is_due_again: bool
    """Whether it stopped although more was due."""


class Drain:
    """Delivers what is due for one relay while it holds the lease. Made by `begin_drain`."""

    def __init__(
        self,
        runtime: SenderRuntime,
        channel: Channel,
        opened: Opened,
        journal: JournalWriter,
        route: Route = Route.RELAY,
    ) -> None:
        self.relay_id = opened.taken.relay_id
        self._clock = LeaseClock(runtime.clock, opened.settings.lease)
        self._clock.set(opened.taken.at, opened.asked_at)
        self._opened = opened
        self._settings = settings = opened.settings
        self._taken = taken = opened.taken
        self._profile = profile = opened.profile
        self._channel = channel
        self._journal = journal
        self._composer = Composer(profile)
        self.queue = SendQueue(
            self._composer,
            Pacer(
                capped(profile.limits, settings),
                taken.pace if route is Route.RELAY else None,
                runtime.random,
                at=self._clock.now(),
                lag=runtime.clock() - opened.asked_at,
            ),
            journal,
            RetryPolicy.from_settings(settings, runtime.random, route),
            self._clock.now,
            streak=streak_of(opened),
        )
        resolve = runtime.resolver(settings) if route is Route.RELAY else runtime.resolve_platform
        self._pool = ConnectionPool(profile, settings, self.queue, resolve, runtime.dialer)
        self._after_batch = 0
        self._claim_size = ClaimSize(self.queue, asyncio.get_running_loop().time())
        self._is_cut_short = False
        self._notifier: asyncio.Task[None] | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"<Drain of relay {self.relay_id}, token {self._taken.token}>"

    async def run(self) -> Ending:
        """Deliver until nothing is due, the slice is over, or the relay cannot go on."""
        slice_end = asyncio.get_running_loop().call_later(self._settings.slice.total_seconds(), self.stop)
        try:
            if await self._turn():
                await self._deliver()
        finally:
            slice_end.cancel()
            await self._finish()
        return Ending(self.queue.ended, self._is_cut_short)

    def stop(self) -> None:
        """Send nothing new; what is on the wire may finish."""
        self._is_cut_short = self._is_cut_short or not self.queue.is_exhausted
        self.queue.close()

    async def _deliver(self) -> None:
        work = asyncio.create_task(self._pool.run())
        try:
            while not work.done():
                await self._next_turn(work)
                await self._turn()
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            self.queue.close()
            await asyncio.wait({work})
        work.result()

    async def _next_turn(self, work: asyncio.Task[None]) -> None:
        """Wait until there is enough to write or to claim, for the end of the work, or for the clock."""
        self.queue.full.clear()
        if self.queue.wants_more or len(self.queue.settlements) >= MANY or work.done():
            return
        full = asyncio.create_task(self.queue.full.wait())
        pause = TURN if self.queue.settlements else min(TURN * 4, self._lease_seconds / 4)
        await asyncio.wait({full, work}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        full.cancel()

    @property
    def _lease_seconds(self) -> float:
        return self._settings.lease.total_seconds()

    # One turn

    async def _turn(self) -> bool:
        """Write and claim in one transaction; return whether there is anything to send. Survives a lost database."""
        began = asyncio.get_running_loop().time()
        count = self._claim_size.next(began, self._clock.now())
        wanted = ClaimRequest(count, self._after_batch, self._composer.known)
        try:
            turn = await self._write(wanted)
        except Exception as error:  # noqa: BLE001 -- whatever it is, nothing is lost by it: see the module's docstring
            await self._endure(error)
            return False
        self._clock.set(turn.at, turn.asked_at)
        if turn.has_events and (self._notifier is None or self._notifier.done()):
            self._notifier = asyncio.create_task(self._attempt(self._notify()))
        if turn.load is not None:
            self._take(turn.load, asyncio.get_running_loop().time() - began)
        return self.queue.backlog > 0

    async def _write(self, wanted: ClaimRequest) -> Turn:
        """Let go of the settlements only when they are known to be written."""
        settlements = list(self.queue.settlements)
        pace = self.queue.pacer.keep(self._clock.now(), self.queue.unfinished + wanted.count)
        request = TurnRequest(token=self._taken.token, settlements=settlements, wanted=wanted, pace=pace)
        turn = await self._channel.call(Bookkeeper.write_turn, request)
        del self.queue.settlements[: len(settlements)]
        return turn

    async def _notify(self) -> None:
        """Let the host know, beside everything else."""
        while (heard := await self._channel.call(Bookkeeper.notify_some, self._taken.token)) is not None:
            # Without this line the host only hears of them once more, should the process die.
            with suppress(JournalError):
                if heard and not self._is_closed:
                    self._journal.told(heard)

    def _take(self, load: Load, turn_seconds: float) -> None:
        self._composer.learn(load.learned)
        self._composer.forget(self.queue.batches | load.learned.keys())
        if load.letters:
            self._after_batch = load.letters[-1].batch_id
        else:
            self.queue.is_dry = True
        reserve = self._claim_size.reserve(asyncio.get_running_loop().time(), turn_seconds)
        self.queue.fill(load.letters, self._clock.may_send, reserve)
        if not load.is_active or load.revision != self._profile.revision:
            # What is claimed is given back: it goes out as the relay is configured now, or not at all.
            self._is_cut_short = load.is_active
            self.queue.close()

    async def _endure(self, error: Exception) -> None:
        """Without the lease nothing more is sent; without the database what is claimed, while the lease holds."""
        if isinstance(error, (LeaseLostError, BookkeepingLostError)):
            log.warning("%r ends: %s", self, error)
            self.queue.failure = error
            self.queue.close()
            return
        log.warning("%r cannot write its records: %s", self, error, exc_info=unforeseen(error))
        if not self._clock.may_send():
            self.queue.close()
        await asyncio.sleep(RETRY_RECORDS)

    # The end

    async def _finish(self) -> None:
        """Settle everything, and give back the rest and the relay. What cannot be written is left to the recovery."""
        is_settled = False
        try:
            is_settled = await self._write_end()
        finally:
            # Whatever happened: as long as this process has the journal, no recovery reads it.
            self._is_closed = True
            self._journal.close(delete=is_settled)
            if self._notifier is not None and not is_settled:
                self._notifier.cancel()
        if is_settled:
            await self._attempt(self._notify_rest())
        await self._attempt(self._channel.call(Bookkeeper.close, self._taken.token))

    async def _notify_rest(self) -> None:
        if self._notifier is not None:
            await asyncio.wait({self._notifier})
        await self._channel.call(Bookkeeper.notify_rest, self._taken.token)

    async def _attempt(self, call: Coroutine[Any, Any, None]) -> None:
        """Do what may fail: what the host does not hear here, the dispatcher tells it."""
        try:
            await call
        except Exception as error:
            log.warning("%r: %s", self, error, exc_info=unforeseen(error))

    async def _write_end(self) -> bool:
        """Return whether all is known to be settled. Tries for as long as the lease would last."""
        released = self.queue.abandon()
        closing = closing_of(self.queue, self._pool, self._opened, released, self._clock.now())
        try:
            async with asyncio.timeout(self._lease_seconds):
                is_settled = await self._insist(closing)
        except Exception as error:
            log.warning("%r leaves its records to the recovery: %r", self, error, exc_info=unforeseen(error))
            return False
        if not is_settled:
            log.error("%r: not all that its journal says is settled; it is left to the recovery.", self)
        return is_settled

    async def _insist(self, closing: Closing) -> bool:
        while True:
            settlements = list(self.queue.settlements)
            try:
                return await self._channel.call(Bookkeeper.write_end, self._taken.token, settlements, closing)
            except BookkeepingLostError:
                raise
            except Exception as error:
                log.warning("%r cannot write its end: %s", self, error, exc_info=unforeseen(error))
                await asyncio.sleep(RETRY_RECORDS)


def unforeseen(error: Exception) -> Exception | None:
    """Return the error if its traceback says more than its text: ours are logged where they are raised."""
    return None if isinstance(error, (OwnSMTPError, TimeoutError)) else error


async def begin_drain(
    runtime: SenderRuntime, channel: Channel, relay_id: int, route: Route = Route.RELAY
) -> Drain | None:
    """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

    With `Route.PLATFORM` the drain sends what is left to the platform's own mail.

    Raises `JournalError` when the journal cannot be written, and what `Channel.call` may raise.
    """
    name = secrets.token_hex(16)
    journal = JournalWriter(runtime.machine, name)
    try:
        opened = await channel.call(Bookkeeper.open, relay_id, route, name)
        drain = None if opened is None else Drain(runtime, channel, opened, journal, route)
    except BaseException:
        # Without an answer there may be a row, which must find its file.
        journal.close(delete=False)
        raise
    if drain is None:
        journal.close(delete=True)
    return drain
