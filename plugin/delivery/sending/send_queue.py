"""Between the books and the wires: what is claimed waits here, at the relay's pace; what became of it is collected.

Lives in one event loop and does no database work. Each invitation that comes in leaves exactly once, as a settlement
or as a release.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import NamedTuple

from own_smtp.delivery.contract import AddressedInvitation
from own_smtp.delivery.retry_policy import RetryPolicy
from own_smtp.delivery.sending.composer import Composer
from own_smtp.delivery.sending.pace_feedback import PaceFeedback
from own_smtp.errors import BookkeepingLostError, ContentError, JournalError, LeaseLostError
from own_smtp.messages.compiler import format_date
from own_smtp.outbox.journal import JournalWriter
from own_smtp.outbox.values import Settlement
from own_smtp.relays.rate_limits import Pacer
from own_smtp.smtp.replies.outcomes import Stage, impossible, interrupted
from own_smtp.smtp.replies.refusal_streak import RefusalStreak
from own_smtp.smtp.values import Envelope, Outcome
from own_smtp.states import PauseReason, State

GIVE_BACK = 5.0
"""A wait for the next allowed message longer than this, in seconds, is not worth a worker."""

MANY = 500
"""So many settlements are written without waiting for more."""


class Ended(NamedTuple):
    """What became of one invitation on the wire."""

    letter: AddressedInvitation
    outcome: Outcome
    at: float
    """Seconds since 1970."""


class SendQueue:
    """The supply of all connections of one drain."""

    def __init__(
        self,
        composer: Composer,
        pacer: Pacer,
        journal: JournalWriter,
        retries: RetryPolicy,
        now: Callable[[], float],
        *,
        streak: RefusalStreak[Ended] | None = None,
    ) -> None:
        self.pacer = pacer
        self.settlements: list[Settlement] = []
        self.failure: JournalError | LeaseLostError | BookkeepingLostError | None = None
        """Why nothing more may be sent, when it is not for a lack of work."""
        self.pause: Outcome | None = None
        """What made the relay pause."""
        self.is_resting = False
        """Whether it was closed because the next message may leave too late to wait for."""
        self.is_closed = False
        self.closed = asyncio.Event()
        """Set with `is_closed`, for those who wait for something else."""
        self.is_dry = False
        """Whether the books have nothing more that is due."""
        self.taken = 0
        self.ended = 0
        self.last_success_at: float | None = None
        self.full = asyncio.Event()
        """Set when there is something to write or to claim."""
        self._composer = composer
        self._journal = journal
        self._now = now
        self._retries = retries
        self._streak = streak or RefusalStreak()
        self._ready: deque[AddressedInvitation] = deque()
        self._in_hand: dict[int, AddressedInvitation] = {}
        self._begun: set[int] = set()
        self._low_water = 0
        self._may_send: Callable[[], bool] = bool  # nothing may be sent before the first claim
        self._events = asyncio.Event()
        self._feedback = PaceFeedback(pacer)
        self._is_unwritten = False
        """Whether a message was given out in this turn of the event loop: it is written before the next."""
        self._date = ""
        self._date_until = 0.0

    @property
    def backlog(self) -> int:
        """How many wait here for a connection."""
        return len(self._ready)

    @property
    def unfinished(self) -> int:
        """How many are here in all."""
        return len(self._ready) + len(self._in_hand) + len(self._streak.held)

    @property
    def batches(self) -> set[int]:
        """The batches of all that is here."""
        held = (ended.letter for ended in self._streak.held)
        return {letter.batch_id for letter in chain(self._ready, self._in_hand.values(), held)}

    @property
    def wake_at(self) -> float | None:
        """When the next message may leave, if that is too far off to wait for."""
        if not self.is_resting:
            return None
        now = self._now()
        next_at = self.pacer.next_at(now)
        return next_at if next_at > now else None

    @property
    def wants_more(self) -> bool:
        """Whether it is time to claim more."""
        return not self.is_closed and not self.is_dry and len(self._ready) <= self._low_water

    @property
    def is_exhausted(self) -> bool:
        """Whether no connection will get anything any more."""
        return self.is_closed or (self.is_dry and not self._ready)

    def fill(self, letters: Iterable[AddressedInvitation], may_send: Callable[[], bool], reserve: int = 0) -> None:
        """Take what was claimed. `may_send` is asked before the end of each message is written.

        More is wanted when half of that is left, or `reserve`.
        """
        before = len(self._ready)
        self._ready.extend(letters)
        self._low_water = max((len(self._ready) - before) // 2, reserve)
        self._may_send = may_send
        self.announce()

    def close(self) -> None:
        """Give out nothing more; what is on the wire may finish."""
        self.is_closed = True
        self.closed.set()
        self.announce()

    def announce(self) -> None:
        """Let everyone who waits look again."""
        events, self._events = self._events, asyncio.Event()
        events.set()
        self.full.set()

    # What connections ask (see `own_smtp.smtp.transfer.Supply`)

    async def next(self) -> Envelope | None:
        while True:
            if (envelope := self.take()) is not None:
                return envelope
            if self.is_exhausted:
                return None
            await self._wait()

    def take(self) -> Envelope | None:
        self._note_written()
        while self._ready and not self.is_closed:
            now = self._now()
            if not self.pacer.acquire(now):
                return None
            if self.pacer.is_limited:
                self._is_unwritten = True
                asyncio.get_running_loop().call_soon(self._note_written)
            letter = self._ready.popleft()
            if len(self._ready) == self._low_water:
                self.full.set()
            self._in_hand[letter.id] = letter
            self.taken += 1
            try:
                return self._composer.compose(letter, self._format(now))
            except ContentError as error:
                self._end(letter, impossible(str(error)))
        return None

    def _note_written(self) -> None:
        """Count what was given out last from now on: on a busy machine a process may stand still before it writes.

        Connections write what they get before anything else runs in the event loop.
        """
        if self._is_unwritten:
            self._is_unwritten = False
            self.pacer.written(self._now())

    def begin(self, envelope: Envelope) -> None:
        invitation_id = envelope.invitation_id
        try:
            if not self._may_send():
                raise LeaseLostError("The relay's lease could not be renewed in time.")
            self._journal.begin(invitation_id)
        except (JournalError, LeaseLostError) as error:
            self.failure = error
            self._ready.appendleft(self._in_hand.pop(invitation_id))
            self.close()
            raise
        self._begun.add(invitation_id)

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        self._end(self._in_hand[envelope.invitation_id], outcome)

    def give_back(self, envelope: Envelope) -> None:
        self._ready.appendleft(self._in_hand.pop(envelope.invitation_id))
        self.announce()

    def slow_down(self) -> None:
        """The server asked for a slower pace. Answers to what is under way already say nothing of the new one."""
        self._feedback.slow_down(self._now(), self._in_hand.keys())

    # How it ends

    def abandon(self) -> list[int]:
        """Return the ids of all that were not sent. Those on a wire that broke down in an unforeseen way end here."""
        for invitation_id in list(self._begun):
            self._end(self._in_hand[invitation_id], interrupted(Stage.MESSAGE, "The worker broke down while sending."))
        for ended in self._streak.release():
            self._write(ended)
        ids = [letter.id for letter in self._ready] + list(self._in_hand)
        self._ready.clear()
        self._in_hand.clear()
        return ids

    def _end(self, letter: AddressedInvitation, outcome: Outcome) -> None:
        del self._in_hand[letter.id]
        self._begun.discard(letter.id)
        ended = Ended(letter, outcome, self._now())
        final = self._streak.take(ended, letter.address, outcome)
        if ended in self._streak.held:
            # Until it is known what the refusal is about, a crash must not refuse anybody.
            self._record(letter.id, outcome._replace(state=State.QUEUED), ended.at)
        for item in final:
            self._write(item)
        if self._streak.is_tripped:
            for item in self._streak.surrender():
                about_account = item.outcome._replace(state=State.QUEUED, pause=PauseReason.REFUSES_ALL)
                self._write(item._replace(outcome=about_account))

    def _write(self, ended: Ended) -> None:
        letter, outcome, at = ended
        self._record(letter.id, outcome, at)
        expires_at = self._composer.batch(letter.batch_id).expires_at
        self.settlements.append(self._retries.decide(letter, outcome, at, expires_at))
        self.ended += 1
        self._learn(letter.id, outcome, at)
        if len(self.settlements) == MANY:
            self.full.set()

    def _record(self, invitation_id: int, outcome: Outcome, now: float) -> None:
        try:
            self._journal.end(invitation_id, outcome, now)
        except JournalError as error:
            # The outcome is known here and goes into the database; only nothing new may begin.
            self.failure = error
            self.close()

    def _learn(self, invitation_id: int, outcome: Outcome, now: float) -> None:
        if outcome.state is State.ACCEPTED:
            self.last_success_at = now
        self._feedback.learn(invitation_id, outcome, now, self._in_hand.keys())
        if self.pacer.is_slowed:
            self.announce()  # the next one may be due earlier now, or so late that it is not worth waiting for
        if outcome.pause is not None and self.pause is None:
            self.pause = outcome
            self.close()

    async def _wait(self) -> None:
        """Wait until there is something to send and it may be sent, or for news."""
        timeout = None
        if self._ready:
            now = self._now()
            next_at = self.pacer.next_at(now)
            if next_at - now > GIVE_BACK and not self._feedback.is_probing(self._in_hand.keys()):
                self.is_resting = True
                self.close()
                return
            timeout = max(next_at - now, 0.0005)
        events = self._events
        try:
            async with asyncio.timeout(timeout):
                await events.wait()
        except TimeoutError:
            pass

    def _format(self, now: float) -> str:
        """Return the Date header; it changes once a second."""
        if now >= self._date_until:
            self._date_until = int(now) + 1.0
            self._date = format_date(datetime.fromtimestamp(now, UTC))
        return self._date
