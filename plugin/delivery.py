"""The drain: takes a relay's lease, keeps its connections busy at its pace, and puts every outcome on record.

The books are kept in one loop: each turn is one database transaction that renews the lease, settles what came back
since the last turn and claims what is to be sent next. No network I/O happens inside one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from own_smtp import ledger, outbox, relays
from own_smtp.composer import Composer
from own_smtp.config import Settings
from own_smtp.crew import Crew
from own_smtp.errors import LeaseLostError, SecretError
from own_smtp.feed import MANY, Feed
from own_smtp.hooks.events import InvitationStatus, RelayChange
from own_smtp.journal import JournalWriter
from own_smtp.ledger import Claim, Claimed, Settlement, Taken
from own_smtp.outcomes import PROBES, Backoff
from own_smtp.pace import Pacer
from own_smtp.profiles import Limits, Outcome, RelayProfile
from own_smtp.retries import RetryPolicy
from own_smtp.states import PauseReason, RelayState
from own_smtp.surroundings import Surroundings
from own_smtp.telling import tell

log = logging.getLogger(__name__)

FIRST_CLAIM = 50
MOST_CLAIMED = 1000
AHEAD = 0.5
"""Seconds of sending that are claimed at a time: what a lost machine leaves `unknown` stays small with a slow relay."""
TURN = 0.25
"""Seconds that an outcome waits for others to be written with it, at most."""
MOST_UNTOLD = 20_000
"""Changes that wait in memory for a slow host; the dispatcher tells it the rest from the database."""
RETRY_BOOKS = 0.5
"""Seconds between two tries while the database is away."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What a drain leaves behind."""

    ended: int
    """How many attempts came to an end."""
    is_due_again: bool
    """Whether it stopped although more was due."""


class Drain:
    """Delivers what is due for one relay while it holds the lease. Made by `begin_drain`."""

    def __init__(
        self, around: Surroundings, taken: Taken, profile: RelayProfile, journal: JournalWriter, read_at: float
    ) -> None:
        self.relay_id = taken.relay_id
        self._around = around
        self._settings = around.settings
        self._taken = taken
        self._profile = profile
        self._journal = journal
        self._lease_until = 0.0
        self._set_clock(taken.at, read_at)
        self._composer = Composer(profile)
        self.feed = Feed(
            self._composer,
            Pacer(capped(profile.limits, self._settings), taken.pace, around.random),
            journal,
            RetryPolicy.from_settings(self._settings, around.random),
            self._now,
        )
        self._crew = Crew(profile, self._settings, self.feed, around.resolve, around.dialer)
        self._after_batch = 0
        self._claim_size = FIRST_CLAIM
        self._began_at = read_at
        self._held: dict[int, Claimed] = {}
        self._untold: list[InvitationStatus] = []
        self._teller: asyncio.Task[None] | None = None
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

    # The books

    @property
    def _lease_seconds(self) -> float:
        return self._settings.lease.total_seconds()

    def _now(self) -> float:
        """Return the database's time, in seconds since 1970, without asking it."""
        return self._database_at + self._around.clock() - self._read_at

    def _set_clock(self, at: datetime, read_at: float) -> None:
        self._database_at, self._read_at = at.timestamp(), read_at
        # A tenth of the lease is kept in hand for the time between this check and the write that it allows.
        self._lease_until = read_at + 0.9 * self._settings.lease.total_seconds()

    def _may_send(self) -> bool:
        return self._around.clock() < self._lease_until

    async def _turn(self) -> bool:
        """Write and claim in one transaction; return whether there is anything to send. Survives a lost database."""
        settlements, self.feed.settlements = self.feed.settlements, []
        want = self._size_claim()
        pace = self.feed.pacer.keep(self._now(), self.feed.unfinished + want)
        asked_at = self._around.clock()
        try:
            at, claim = await asyncio.to_thread(self._write_turn, settlements, want, pace)
        except LeaseLostError as error:
            self._put_back(settlements)
            self._lose_lease(error)
            return False
        except DBAPIError as error:
            self._put_back(settlements)
            await self._endure(error)
            return False
        self._set_clock(at, asked_at)
        self._tell(settlements)
        if claim is not None:
            self._take(claim, want)
        return self.feed.backlog > 0

    def _write_turn(
        self, settlements: list[Settlement], want: int, pace: dict[str, Any] | None
    ) -> tuple[datetime, Claim | None]:
        with self._around.engine.begin() as connection:
            at = ledger.renew_lease(connection, self._taken, self._settings.lease, pace)
            ledger.settle(connection, self._taken, settlements, tells_host=self._around.listener.wants_changes)
            if not want:
                return at, None
            claim = ledger.claim(connection, self._taken, want, after_batch=self._after_batch)
            self._composer.learn(connection, claim.invitations)
            return at, claim

    def _size_claim(self) -> int:
        """Return how many to claim: what will be sent within half a second, as far as limits allow."""
        if not self.feed.wants_more:
            return 0
        seconds = max(self._around.clock() - self._began_at, 0.001)
        rate = self.feed.taken / seconds if self.feed.taken else 0.0
        if self.feed.taken and not self.feed.backlog:
            self._claim_size = min(MOST_CLAIMED, self._claim_size * 2)  # the connections waited for the books
        wanted = max(self._claim_size, min(MOST_CLAIMED, int(rate * AHEAD)))
        allowed = self.feed.pacer.allowance(self._now(), AHEAD)
        return wanted if allowed is None else max(1, min(wanted, allowed))

    def _take(self, claim: Claim, want: int) -> None:
        if not claim.is_active or claim.revision != self._profile.revision:
            self._is_cut_short = claim.is_active
            self.feed.fill(claim.invitations, self._may_send)
            self.feed.close()
            return
        if claim.invitations:
            self._after_batch = claim.invitations[-1].batch_id
        else:
            self.feed.is_dry = True
        for invitation in claim.invitations:
            self._held[invitation.id] = invitation
        self._composer.forget({invitation.batch_id for invitation in self._held.values()})
        self.feed.fill(claim.invitations, self._may_send)

    def _put_back(self, settlements: list[Settlement]) -> None:
        self.feed.settlements = settlements + self.feed.settlements

    def _lose_lease(self, error: LeaseLostError) -> None:
        log.warning("%r lost its lease: %s", self, error)
        self.feed.failure = error
        self.feed.close()

    async def _endure(self, error: DBAPIError) -> None:
        """The database is away: what is claimed may still be sent, as long as the lease holds."""
        log.warning("%r cannot reach the database: %s", self, type(error).__name__)
        if not self._may_send():
            self.feed.close()
        await asyncio.sleep(RETRY_BOOKS)

    def _tell(self, settlements: list[Settlement]) -> None:
        """Tell the host what changed, without waiting for it. What it does not take, the dispatcher tells again."""
        held = [self._held.pop(item.invitation_id) for item in settlements]
        if not self._around.listener.wants_changes or len(self._untold) > MOST_UNTOLD:
            return
        self._untold += [self._status(item, claimed) for item, claimed in zip(settlements, held, strict=True)]
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._keep_telling())

    async def _keep_telling(self) -> None:
        while self._untold:
            some, self._untold = self._untold[:MOST_CLAIMED], self._untold[MOST_CLAIMED:]
            await asyncio.to_thread(self._tell_some, some)

    def _tell_some(self, changes: list[InvitationStatus]) -> None:
        try:
            tell(self._around, changes)
        except DBAPIError as error:
            log.warning("%r could not note that the host was told: %s", self, type(error).__name__)

    def _status(self, item: Settlement, claimed: Claimed) -> InvitationStatus:
        batch, reply = self._composer.batch(claimed.batch_id), item.outcome.reply
        return InvitationStatus(
            tenant_id=batch.tenant_id,
            project_id=batch.project_id,
            batch_id=claimed.batch_id,
            reference=claimed.reference,
            address=claimed.address,
            state=item.state,
            changed_at=item.at,
            attempts=claimed.attempts + 1,
            message_id=self._composer.message_id(claimed),
            stage=item.outcome.stage,
            reply_code=reply.code if reply else None,
            enhanced_code=reply.enhanced if reply else None,
            reply_text=item.outcome.words,
            route=item.route,
            invitation_id=item.invitation_id,
        )

    # The end

    async def _finish(self) -> None:
        """Settle everything, give the rest and the relay back. A database that stays away leaves it to the recovery."""
        released = self.feed.abandon()
        settlements, self.feed.settlements = self.feed.settlements, []
        pause = self.feed.pause or (self._crew.failure if self._crew.failure and self._crew.failure.pause else None)
        try:
            was_paused = await self._insist(lambda: self._write_end(settlements, released, pause))
        except (DBAPIError, LeaseLostError) as error:
            log.warning("%r leaves its books to the recovery: %s", self, type(error).__name__)
            self._journal.close(delete=False)
            return
        self._journal.close(delete=True)
        self._tell(settlements)
        if self._teller is not None:
            await self._teller
        if was_paused and pause is not None:
            await asyncio.to_thread(self._tell_pause, pause)

    async def _insist(self, write: Callable[[], bool]) -> bool:
        """Try for as long as the lease would last."""
        deadline = self._around.clock() + self._lease_seconds
        while True:
            try:
                return await asyncio.to_thread(write)
            except DBAPIError:
                if self._around.clock() > deadline:
                    raise
            await asyncio.sleep(RETRY_BOOKS)

    def _write_end(self, settlements: list[Settlement], released: list[int], pause: Outcome | None) -> bool:
        with self._around.engine.begin() as connection:
            ledger.give_back_lease(connection, self._taken, self._lease_values(pause))
            ledger.settle(connection, self._taken, settlements, tells_host=self._around.listener.wants_changes)
            ledger.release(connection, self._taken.token, released)
            outbox.sweep_cancelled(connection, self.relay_id)
            ledger.finish_batches(connection, self.relay_id)
            ledger.close_journal(connection, self._taken.token)
            return pause is not None and self._pause(connection, pause)

    def _lease_values(self, pause: Outcome | None) -> dict[str, Any]:
        now = self._now()
        values: dict[str, Any] = {"pace": self.feed.pacer.keep(now, 0), "wake_at": _moment(self.feed.wake_at)}
        failure = self._crew.failure or self.feed.pause
        if failure is not None:
            values |= {"last_error": f"{failure.stage}: {failure.words}"[:600], "last_error_at": _moment(now)}
        if self.feed.last_success_at is not None:
            values["last_success_at"] = _moment(self.feed.last_success_at)
        if self._crew.failure is not None and pause is None:
            return values | self._rest(now)
        return values | ({"failures": 0, "failing_since": None} if self.feed.ended else {})

    def _rest(self, now: float) -> dict[str, Any]:
        """The relay could not be reached: leave it alone for a while, one probe at a time."""
        failures = 0 if self.feed.ended else self._taken.failures
        backoff = Backoff(first=self._settings.reconnect, longest=self._settings.longest_reconnect)
        wake_at = now + backoff.delay(failures + 1, self._around.random).total_seconds()
        since = self._taken.failing_since if failures else None
        return {"failures": failures + 1, "failing_since": since or _moment(now), "wake_at": _moment(wake_at)}

    def _pause(self, connection: Connection, outcome: Outcome) -> bool:
        assert outcome.pause is not None
        probe = PROBES.get(outcome.pause)
        probe_at = None if probe is None else _moment(self._now() + probe.total_seconds())
        return relays.pause(connection, self.relay_id, outcome.pause, outcome.words, probe_at)

    def _tell_pause(self, outcome: Outcome) -> None:
        change = RelayChange(
            relay_id=self.relay_id,
            tenant_id=self._profile.tenant_id,
            label=self._profile.label,
            state=RelayState.PAUSED,
            reason=outcome.words,
        )
        with self._around.context():
            self._around.listener.relay_changed(change)


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def capped(limits: Limits, settings: Settings) -> Limits:
    """Return the tenant's limits under the platform's ceilings."""
    ceiling = settings.ceiling_per_second
    if ceiling is None or (limits.per_second is not None and limits.per_second <= ceiling):
        return limits
    return replace(limits, per_second=ceiling)


def begin_drain(around: Surroundings, relay_id: int) -> Drain | None:
    """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used."""
    asked_at = around.clock()
    held = _take(around, relay_id)
    if held is None:
        return None
    taken, journal = held
    try:
        with around.engine.connect() as connection:
            profile = relays.load_profile(connection, relay_id, around.vault)
    except SecretError as error:
        _give_up(around, taken, journal, str(error))
        return None
    if profile is None:
        _give_up(around, taken, journal, None)
        return None
    return Drain(around, taken, profile, journal, asked_at)


def _take(around: Surroundings, relay_id: int) -> tuple[Taken, JournalWriter] | None:
    """The file is there, and locked, before anybody can see its row: a row without a file is a lost journal."""
    with ExitStack() as undo, around.engine.begin() as connection:
        taken = ledger.take_lease(
            connection, relay_id, owner=socket.gethostname(), machine=around.machine, duration=around.settings.lease
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
