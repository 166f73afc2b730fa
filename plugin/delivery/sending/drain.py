"""The drain: keeps a relay's connections busy at its pace while its books put every outcome on record."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass

from own_smtp.delivery.bookkeeping.bookkeeper import Office
from own_smtp.delivery.bookkeeping.channel import Desk
from own_smtp.delivery.contract import Closing, Load, Opened, Wanted
from own_smtp.delivery.retry_policy import RetryPolicy
from own_smtp.delivery.sending.composer import Composer
from own_smtp.delivery.sending.connections import Crew
from own_smtp.delivery.sending.lease_clock import LeaseClock
from own_smtp.delivery.sending.send_queue import MANY, Feed
from own_smtp.errors import DatabaseError, JournalError, LeaseLostError, OfficeLostError
from own_smtp.outbox.journal import JournalWriter
from own_smtp.outbox.values import Settlement
from own_smtp.relays.rate_limits import Pacer, capped
from own_smtp.runtime import Surroundings
from own_smtp.smtp.values import Outcome
from own_smtp.states import PauseReason, Route

log = logging.getLogger(__name__)

FIRST_CLAIM = 50
MOST_CLAIMED = 500
RESERVE = 2
"""So many turns of the books must what is claimed last, lest connections wait for them."""
AHEAD = 0.5
"""Seconds of sending that are claimed at a time: what a lost machine leaves `unknown` stays small with a slow relay."""
TURN = 0.25
"""Seconds that an outcome waits for others to be written with it, at most."""
RETRY_BOOKS = 0.5
"""Seconds between two tries while the database is away."""


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
        self, around: Surroundings, desk: Desk, opened: Opened, journal: JournalWriter, route: Route = Route.RELAY
    ) -> None:
        self.relay_id = opened.taken.relay_id
        self._clock = LeaseClock(around.clock, opened.settings.lease)
        self._clock.set(opened.taken.at, opened.asked_at)
        self._began_at = asyncio.get_running_loop().time()
        self._settings = settings = opened.settings
        self._taken = taken = opened.taken
        self._profile = profile = opened.profile
        self._desk = desk
        self._journal = journal
        self._composer = Composer(profile)
        self.feed = Feed(
            self._composer,
            Pacer(capped(profile.limits, settings), taken.pace if route is Route.RELAY else None, around.random),
            journal,
            RetryPolicy.from_settings(settings, around.random, route),
            self._clock.now,
        )
        resolve = around.resolver(settings) if route is Route.RELAY else around.resolve_platform
        self._crew = Crew(profile, settings, self.feed, resolve, around.dialer)
        self._after_batch = 0
        self._claim_size = FIRST_CLAIM
        self._is_cut_short = False
        self._teller: asyncio.Task[None] | None = None
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
        return Ending(self.feed.ended, self._is_cut_short)

    def stop(self) -> None:
        """Send nothing new; what is on the wire may finish."""
        self._is_cut_short = self._is_cut_short or not self.feed.is_exhausted
        self.feed.close()

    async def _deliver(self) -> None:
        work = asyncio.create_task(self._crew.run())
        try:
            while not work.done():
                await self._next_turn(work)
                await self._turn()
        finally:
            self.feed.close()
            await work

    async def _next_turn(self, work: asyncio.Task[None]) -> None:
        """Wait until there is enough to write or to claim, for the end of the work, or for the clock."""
        self.feed.full.clear()
        if self.feed.wants_more or len(self.feed.settlements) >= MANY or work.done():
            return
        full = asyncio.create_task(self.feed.full.wait())
        pause = TURN if self.feed.settlements else min(TURN * 4, self._lease_seconds / 4)
        await asyncio.wait({full, work}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        full.cancel()

    @property
    def _lease_seconds(self) -> float:
        return self._settings.lease.total_seconds()

    # One turn of the books

    async def _turn(self) -> bool:
        """Write and claim in one transaction; return whether there is anything to send. Survives a lost database."""
        settlements, self.feed.settlements = self.feed.settlements, []
        wanted = Wanted(self._size_claim(), self._after_batch, self._composer.known)
        pace = self.feed.pacer.keep(self._clock.now(), self.feed.unfinished + wanted.count)
        began = asyncio.get_running_loop().time()
        try:
            turn = await self._desk.call(Office.write_turn, self._taken.token, settlements, wanted, pace)
        except (LeaseLostError, DatabaseError, OfficeLostError) as error:
            self.feed.settlements = settlements + self.feed.settlements
            await self._endure(error)
            return False
        self._clock.set(turn.at, turn.asked_at)
        if turn.has_news and (self._teller is None or self._teller.done()):
            self._teller = asyncio.create_task(self._tell())
        if turn.load is not None:
            self._take(turn.load, asyncio.get_running_loop().time() - began)
        return self.feed.backlog > 0

    async def _tell(self) -> None:
        """Let the host know, beside everything else."""
        with suppress(OfficeLostError):
            while (heard := await self._desk.call(Office.tell_some, self._taken.token)) is not None:
                # Without this line the host only hears of them once more, should the process die.
                with suppress(JournalError):
                    if heard and not self._is_closed:
                        self._journal.told(heard)

    @property
    def _rate(self) -> float:
        """Messages a second so far."""
        return self.feed.taken / max(asyncio.get_running_loop().time() - self._began_at, 0.001)

    def _size_claim(self) -> int:
        """Return how many to claim: what will be sent within half a second, as far as limits allow."""
        if not self.feed.wants_more:
            return 0
        if self.feed.taken and not self.feed.backlog:
            self._claim_size = min(MOST_CLAIMED, self._claim_size * 2)  # the connections waited for the books
        wanted = max(self._claim_size, min(MOST_CLAIMED, int(AHEAD * self._rate)))
        allowed = self.feed.pacer.allowance(self._clock.now(), AHEAD)
        return wanted if allowed is None else max(1, min(wanted, allowed))

    def _take(self, load: Load, turn_seconds: float) -> None:
        self._composer.learn(load.learned)
        self._composer.forget(self.feed.batches | load.learned.keys())
        if load.letters:
            self._after_batch = load.letters[-1].batch_id
        else:
            self.feed.is_dry = True
        reserve = min(RESERVE * MOST_CLAIMED, int(RESERVE * turn_seconds * self._rate))
        self.feed.fill(load.letters, self._clock.may_send, reserve)
        if not load.is_active or load.revision != self._profile.revision:
            # What is claimed is given back: it goes out as the relay is configured now, or not at all.
            self._is_cut_short = load.is_active
            self.feed.close()

    async def _endure(self, error: LeaseLostError | DatabaseError | OfficeLostError) -> None:
        """Without the lease nothing more is sent; without the database what is claimed, while the lease holds."""
        if not isinstance(error, DatabaseError):
            log.warning("%r ends: %s", self, error)
            self.feed.failure = error
            self.feed.close()
            return
        log.warning("%r cannot reach the database: %s", self, error)
        if not self._clock.may_send():
            self.feed.close()
        await asyncio.sleep(RETRY_BOOKS)

    # The end

    async def _finish(self) -> None:
        """Settle everything, give the rest and the relay back. Books that stay away leave it to the recovery."""
        closing = self._closing(self.feed.abandon())
        settlements, self.feed.settlements = self.feed.settlements, []
        try:
            await self._insist(settlements, closing)
        except (DatabaseError, OfficeLostError) as error:
            log.warning("%r leaves its books to the recovery: %s", self, error)
            self._close(delete=False)
            if self._teller is not None:
                self._teller.cancel()
        else:
            self._close(delete=True)
            await self._tell_rest()
        with suppress(OfficeLostError):
            await self._desk.call(Office.close, self._taken.token)

    async def _tell_rest(self) -> None:
        if self._teller is not None:
            await self._teller
        with suppress(OfficeLostError):  # then the dispatcher tells it
            await self._desk.call(Office.tell_rest, self._taken.token)

    def _close(self, *, delete: bool) -> None:
        self._is_closed = True
        self._journal.close(delete=delete)

    def _closing(self, released: list[int]) -> Closing:
        failure = self._crew.failure
        return Closing(
            released=released,
            ended=self.feed.ended,
            pace=self.feed.pacer.keep(self._clock.now(), 0),
            wake_at=self.feed.wake_at,
            last_success_at=self.feed.last_success_at,
            failure=failure or self.feed.pause,
            is_unreachable=failure is not None,
            pause=self.feed.pause or self._unreachable(),
            facts=self._crew.facts,
        )

    def _unreachable(self) -> Outcome | None:
        """Return why there was no connection, when that makes the relay pause: at once, or after too long a time."""
        failure = self._crew.failure
        if failure is None or failure.pause is not None:
            return failure
        since = None if self.feed.ended else self._taken.failing_since
        if since is None or self._clock.now() - since.timestamp() < self._settings.retry_horizon.total_seconds():
            return None
        return failure._replace(pause=PauseReason.UNREACHABLE)

    async def _insist(self, settlements: list[Settlement], closing: Closing) -> None:
        """Try for as long as the lease would last."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lease_seconds
        while True:
            try:
                return await self._desk.call(Office.write_end, self._taken.token, settlements, closing)
            except DatabaseError:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(RETRY_BOOKS)


async def begin_drain(around: Surroundings, desk: Desk, relay_id: int, route: Route = Route.RELAY) -> Drain | None:
    """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

    With `Route.PLATFORM` the drain sends what is left to the platform's own mail.

    Raises `JournalError` when the journal cannot be written.
    """
    name = secrets.token_hex(16)
    journal = JournalWriter(around.machine, name)
    opened, has_answer = None, False
    try:
        opened = await desk.call(Office.open, relay_id, route, name)
        has_answer = True
    finally:
        if opened is None:
            journal.close(delete=has_answer)  # without an answer there may be a row, which must find its file
    return None if opened is None else Drain(around, desk, opened, journal, route)
