"""The drain: keeps a relay's connections busy at its pace while its books put every outcome on record."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import suppress
from dataclasses import dataclass

from own_smtp.delivery.bookkeeping.bookkeeper import Bookkeeper
from own_smtp.delivery.bookkeeping.channel import Channel
from own_smtp.delivery.contract import ClaimRequest, Closing, Load, Opened
from own_smtp.delivery.retry_policy import RetryPolicy
from own_smtp.delivery.sending.composer import Composer
from own_smtp.delivery.sending.connections import ConnectionPool
from own_smtp.delivery.sending.lease_clock import LeaseClock
from own_smtp.delivery.sending.send_queue import MANY, Ended, SendQueue
from own_smtp.errors import BookkeepingLostError, DatabaseError, JournalError, LeaseLostError
from own_smtp.outbox.journal import JournalWriter
from own_smtp.outbox.values import Settlement
from own_smtp.relays.rate_limits import Pacer, capped
from own_smtp.runtime import Runtime
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.replies.refusal_streak import RefusalStreak, said_key
from own_smtp.smtp.values import Outcome, Reply
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
RETRY_RECORDS = 0.5
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
        self, runtime: Runtime, channel: Channel, opened: Opened, journal: JournalWriter, route: Route = Route.RELAY
    ) -> None:
        self.relay_id = opened.taken.relay_id
        self._clock = LeaseClock(runtime.clock, opened.settings.lease)
        self._clock.set(opened.taken.at, opened.asked_at)
        self._began_at = asyncio.get_running_loop().time()
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
            streak=_streak_of(opened),
        )
        resolve = runtime.resolver(settings) if route is Route.RELAY else runtime.resolve_platform
        self._pool = ConnectionPool(profile, settings, self.queue, resolve, runtime.dialer)
        self._after_batch = 0
        self._claim_size = FIRST_CLAIM
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
        finally:
            self.queue.close()
            await work

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

    # One turn of the books

    async def _turn(self) -> bool:
        """Write and claim in one transaction; return whether there is anything to send. Survives a lost database."""
        settlements, self.queue.settlements = self.queue.settlements, []
        wanted = ClaimRequest(self._size_claim(), self._after_batch, self._composer.known)
        pace = self.queue.pacer.keep(self._clock.now(), self.queue.unfinished + wanted.count)
        began = asyncio.get_running_loop().time()
        try:
            turn = await self._channel.call(Bookkeeper.write_turn, self._taken.token, settlements, wanted, pace)
        except (LeaseLostError, DatabaseError, BookkeepingLostError) as error:
            self.queue.settlements = settlements + self.queue.settlements
            await self._endure(error)
            return False
        self._clock.set(turn.at, turn.asked_at)
        if turn.has_events and (self._notifier is None or self._notifier.done()):
            self._notifier = asyncio.create_task(self._notify())
        if turn.load is not None:
            self._take(turn.load, asyncio.get_running_loop().time() - began)
        return self.queue.backlog > 0

    async def _notify(self) -> None:
        """Let the host know, beside everything else."""
        with suppress(BookkeepingLostError):
            while (heard := await self._channel.call(Bookkeeper.notify_some, self._taken.token)) is not None:
                # Without this line the host only hears of them once more, should the process die.
                with suppress(JournalError):
                    if heard and not self._is_closed:
                        self._journal.told(heard)

    @property
    def _rate(self) -> float:
        """Messages a second so far."""
        return self.queue.taken / max(asyncio.get_running_loop().time() - self._began_at, 0.001)

    def _size_claim(self) -> int:
        """Return how many to claim: what will be sent within half a second, as far as limits allow."""
        if not self.queue.wants_more:
            return 0
        if self.queue.taken and not self.queue.backlog:
            self._claim_size = min(MOST_CLAIMED, self._claim_size * 2)  # the connections waited for the books
        wanted = max(self._claim_size, min(MOST_CLAIMED, int(AHEAD * self._rate)))
        allowed = self.queue.pacer.allowance(self._clock.now(), AHEAD)
        return wanted if allowed is None else max(1, min(wanted, allowed))

    def _take(self, load: Load, turn_seconds: float) -> None:
        self._composer.learn(load.learned)
        self._composer.forget(self.queue.batches | load.learned.keys())
        if load.letters:
            self._after_batch = load.letters[-1].batch_id
        else:
            self.queue.is_dry = True
        reserve = min(RESERVE * MOST_CLAIMED, int(RESERVE * turn_seconds * self._rate))
        self.queue.fill(load.letters, self._clock.may_send, reserve)
        if not load.is_active or load.revision != self._profile.revision:
            # What is claimed is given back: it goes out as the relay is configured now, or not at all.
            self._is_cut_short = load.is_active
            self.queue.close()

    async def _endure(self, error: LeaseLostError | DatabaseError | BookkeepingLostError) -> None:
        """Without the lease nothing more is sent; without the database what is claimed, while the lease holds."""
        if not isinstance(error, DatabaseError):
            log.warning("%r ends: %s", self, error)
            self.queue.failure = error
            self.queue.close()
            return
        log.warning("%r cannot reach the database: %s", self, error)
        if not self._clock.may_send():
            self.queue.close()
        await asyncio.sleep(RETRY_RECORDS)

    # The end

    async def _finish(self) -> None:
        """Settle everything, give the rest and the relay back. Books that stay away leave it to the recovery."""
        closing = self._closing(self.queue.abandon())
        settlements, self.queue.settlements = self.queue.settlements, []
        try:
            await self._insist(settlements, closing)
        except (DatabaseError, BookkeepingLostError) as error:
            log.warning("%r leaves its books to the recovery: %s", self, error)
            self._close(delete=False)
            if self._notifier is not None:
                self._notifier.cancel()
        else:
            self._close(delete=True)
            await self._notify_rest()
        with suppress(BookkeepingLostError):
            await self._channel.call(Bookkeeper.close, self._taken.token)

    async def _notify_rest(self) -> None:
        if self._notifier is not None:
            await self._notifier
        with suppress(BookkeepingLostError):  # then the dispatcher tells it
            await self._channel.call(Bookkeeper.notify_rest, self._taken.token)

    def _close(self, *, delete: bool) -> None:
        self._is_closed = True
        self._journal.close(delete=delete)

    def _closing(self, released: list[int]) -> Closing:
        failure = self._pool.failure
        return Closing(
            released=released,
            ended=self.queue.ended,
            pace=self.queue.pacer.keep(self._clock.now(), 0),
            wake_at=self.queue.wake_at,
            last_success_at=self.queue.last_success_at,
            failure=failure or self.queue.pause,
            is_unreachable=failure is not None,
            pause=self.queue.pause or self._unreachable(),
            facts=self._pool.facts,
        )

    def _unreachable(self) -> Outcome | None:
        """Return why there was no connection, when that makes the relay pause: at once, or after too long a time."""
        failure = self._pool.failure
        if failure is None or failure.pause is not None:
            return failure
        since = None if self.queue.ended else self._taken.failing_since
        if since is None or self._clock.now() - since.timestamp() < self._settings.retry_horizon.total_seconds():
            return None
        return failure._replace(pause=PauseReason.UNREACHABLE)

    async def _insist(self, settlements: list[Settlement], closing: Closing) -> None:
        """Try for as long as the lease would last."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._lease_seconds
        while True:
            try:
                return await self._channel.call(Bookkeeper.write_end, self._taken.token, settlements, closing)
            except DatabaseError:
                if loop.time() > deadline:
                    raise
            await asyncio.sleep(RETRY_RECORDS)


def _streak_of(opened: Opened) -> RefusalStreak[Ended]:
    """Return the brake as the drain before left it: one that is paced may send a single message in its time."""
    streak: RefusalStreak[Ended] = RefusalStreak(opened.settings.refusals_in_a_row, said_key(opened.accepted_refusal))
    for answer in opened.last_answers:
        reply = Reply(code=answer.code, text=answer.words)
        streak.recall(answer.recipient, Outcome(state=answer.state, stage=Stage.MESSAGE, reply=reply))
    return streak


async def begin_drain(runtime: Runtime, channel: Channel, relay_id: int, route: Route = Route.RELAY) -> Drain | None:
    """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

    With `Route.PLATFORM` the drain sends what is left to the platform's own mail.

    Raises `JournalError` when the journal cannot be written.
    """
    name = secrets.token_hex(16)
    journal = JournalWriter(runtime.machine, name)
    opened, has_answer = None, False
    try:
        opened = await channel.call(Bookkeeper.open, relay_id, route, name)
        has_answer = True
    finally:
        if opened is None:
            journal.close(delete=has_answer)  # without an answer there may be a row, which must find its file
    return None if opened is None else Drain(runtime, channel, opened, journal, route)
