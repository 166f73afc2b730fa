"""The drain: keeps a relay's connections busy at its pace while its books put every outcome on record."""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sqlalchemy.exc import DBAPIError

from own_smtp import ledger, relays
from own_smtp.books import Books, Closing, Entries
from own_smtp.composer import Composer
from own_smtp.config import Settings
from own_smtp.crew import Crew
from own_smtp.errors import LeaseLostError, SecretError
from own_smtp.feed import MANY, Feed
from own_smtp.hooks.events import RelayChange
from own_smtp.journal import JournalWriter
from own_smtp.ledger import Claim, Taken
from own_smtp.news import News
from own_smtp.pace import Pacer
from own_smtp.profiles import Limits, Outcome, RelayProfile
from own_smtp.retries import RetryPolicy
from own_smtp.states import PauseReason, Route
from own_smtp.surroundings import Surroundings

log = logging.getLogger(__name__)

FIRST_CLAIM = 50
MOST_CLAIMED = 1000
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
        self,
        around: Surroundings,
        taken: Taken,
        profile: RelayProfile,
        journal: JournalWriter,
        *,
        read_at: float,
        route: Route = Route.RELAY,
    ) -> None:
        self.relay_id = taken.relay_id
        self._around = around
        self._settings = around.settings
        self._taken = taken
        self._profile = profile
        self._journal = journal
        self._books = Books(around, taken, profile, read_at, route)
        self._composer = Composer(profile)
        self._news = News(around, self._composer, journal, taken.relay_id)
        self.feed = Feed(
            self._composer,
            Pacer(capped(profile.limits, self._settings), taken.pace if route is Route.RELAY else None, around.random),
            journal,
            RetryPolicy.from_settings(self._settings, around.random, route),
            self._books.now,
        )
        resolve = around.resolver(self._settings) if route is Route.RELAY else around.resolve_platform
        self._crew = Crew(profile, self._settings, self.feed, resolve, around.dialer)
        self._after_batch = 0
        self._claim_size = FIRST_CLAIM
        self._began_at = read_at
        self._is_cut_short = False

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
        entries, self.feed.settlements = Entries(self.feed.settlements, self._news.take_untold()), []
        want = self._size_claim()
        pace = self.feed.pacer.keep(self._books.now(), self.feed.unfinished + want)
        try:
            turn = await asyncio.to_thread(
                self._books.write_turn, entries, want, pace, self._after_batch, self._composer
            )
        except (LeaseLostError, DBAPIError) as error:
            self.feed.settlements = entries.settlements + self.feed.settlements
            self._news.give_back(entries.untold)
            await self._endure(error)
            return False
        self._books.accept(turn)
        self._news.spread(entries.settlements)
        if turn.claim is not None:
            self._take(turn.claim)
        return self.feed.backlog > 0

    def _size_claim(self) -> int:
        """Return how many to claim: what will be sent within half a second, as far as limits allow."""
        if not self.feed.wants_more:
            return 0
        seconds = max(self._around.clock() - self._began_at, 0.001)
        if self.feed.taken and not self.feed.backlog:
            self._claim_size = min(MOST_CLAIMED, self._claim_size * 2)  # the connections waited for the books
        wanted = max(self._claim_size, min(MOST_CLAIMED, int(AHEAD * self.feed.taken / seconds)))
        allowed = self.feed.pacer.allowance(self._books.now(), AHEAD)
        return wanted if allowed is None else max(1, min(wanted, allowed))

    def _take(self, claim: Claim) -> None:
        batches = self._news.hold(claim.invitations)
        self._composer.forget(batches)
        if claim.invitations:
            self._after_batch = claim.invitations[-1].batch_id
        else:
            self.feed.is_dry = True
        self.feed.fill(claim.invitations, self._books.may_send)
        if not claim.is_active or claim.revision != self._profile.revision:
            # What is claimed is given back: it goes out as the relay is configured now, or not at all.
            self._is_cut_short = claim.is_active
            self.feed.close()

    async def _endure(self, error: LeaseLostError | DBAPIError) -> None:
        """Without the lease nothing more is sent; without the database what is claimed, while the lease holds."""
        if isinstance(error, LeaseLostError):
            log.warning("%r ends: %s", self, error)
            self.feed.failure = error
            self.feed.close()
            return
        log.warning("%r cannot reach the database: %s", self, type(error).__name__)
        if not self._books.may_send():
            self.feed.close()
        await asyncio.sleep(RETRY_BOOKS)

    # The end

    async def _finish(self) -> None:
        """Settle everything, give the rest and the relay back. A database that stays away leaves it to the recovery."""
        released = self.feed.abandon()
        entries, self.feed.settlements = Entries(self.feed.settlements, self._news.close()), []
        closing = self._closing(released)
        try:
            change = await self._insist(entries, closing)
        except DBAPIError as error:
            log.warning("%r leaves its books to the recovery: %s", self, type(error).__name__)
            self._news.abandon()
            self._journal.close(delete=False)
            return
        self._journal.close(delete=True)
        self._news.spread(entries.settlements)
        await self._news.finish()
        if change is not None:
            await asyncio.to_thread(self._tell_change, change)

    def _closing(self, released: list[int]) -> Closing:
        failure = self._crew.failure
        return Closing(
            released=released,
            ended=self.feed.ended,
            pace=self.feed.pacer.keep(self._books.now(), 0),
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
        if since is None or self._books.now() - since.timestamp() < self._settings.retry_horizon.total_seconds():
            return None
        return replace(failure, pause=PauseReason.UNREACHABLE)

    async def _insist(self, entries: Entries, closing: Closing) -> RelayChange | None:
        """Try for as long as the lease would last."""
        deadline = self._around.clock() + self._lease_seconds
        while True:
            try:
                return await asyncio.to_thread(self._books.write_end, entries, closing)
            except DBAPIError:
                if self._around.clock() > deadline:
                    raise
            await asyncio.sleep(RETRY_BOOKS)

    def _tell_change(self, change: RelayChange) -> None:
        with self._around.context():
            self._around.listener.relay_changed(change)


def capped(limits: Limits, settings: Settings) -> Limits:
    """Return the tenant's limits under the platform's ceilings."""
    ceiling = settings.ceiling_per_second
    if ceiling is None or (limits.per_second is not None and limits.per_second <= ceiling):
        return limits
    return replace(limits, per_second=ceiling)


def begin_drain(around: Surroundings, relay_id: int, route: Route = Route.RELAY) -> Drain | None:
    """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

    With `Route.PLATFORM` the drain sends what is left to the platform's own mail.

    Raises `JournalError` when the journal cannot be written.
    """
    asked_at = around.clock()
    held = _take(around, relay_id, route)
    if held is None:
        return None
    taken, journal = held
    try:
        with around.engine.connect() as connection:
            # An administrator's policy holds from the next drain on: a slice later at most.
            around = replace(around, settings=around.policy.in_force(connection))
            profile = relays.load_profile(connection, relay_id, around.vault)
    except SecretError as error:
        _give_up(around, taken, journal, str(error))
        return None
    server = around.platform(profile) if profile is not None and route is Route.PLATFORM else profile
    if server is None:
        _give_up(around, taken, journal, None)
        return None
    return Drain(around, taken, server, journal, read_at=asked_at, route=route)


def _take(around: Surroundings, relay_id: int, route: Route) -> tuple[Taken, JournalWriter] | None:
    """The file is there, and locked, before anybody can see its row: a row without a file is a lost journal."""
    with ExitStack() as undo, around.engine.begin() as connection:
        taken = ledger.take_lease(
            connection,
            relay_id,
            owner=socket.gethostname(),
            machine=around.machine,
            duration=around.settings.lease,
            route=route,
        )
        if taken is None:
            return None
        journal = JournalWriter(around.machine, taken.journal)
        undo.callback(journal.close, delete=True)
        connection.commit()
        undo.pop_all()
        return taken, journal


def _give_up(around: Surroundings, taken: Taken, journal: JournalWriter, problem: str | None) -> None:
    """The relay is gone, or its password cannot be read: nothing was claimed."""
    with around.engine.begin() as connection:
        if problem is not None:
            relays.pause(connection, taken.relay_id, PauseReason.SECRET_UNREADABLE, problem, None)
        ledger.give_back_lease(connection, taken, {})
        ledger.close_journal(connection, taken.token)
    journal.close(delete=True)
