"""The connections of one drain: as many as there is work for, as the tenant allows, and as the server bears."""

from __future__ import annotations

import asyncio
import logging

from own_smtp.delivery.sending.send_queue import SendQueue
from own_smtp.errors import JournalError, LeaseLostError
from own_smtp.settings import Settings
from own_smtp.smtp.network import Dialer
from own_smtp.smtp.replies.outcomes import Stage, interrupted
from own_smtp.smtp.server_info import ServerInfo
from own_smtp.smtp.session import Resolve, Session, SetupError
from own_smtp.smtp.transfer import deliver
from own_smtp.smtp.values import Envelope, Outcome, RelayProfile
from own_smtp.states import State

log = logging.getLogger(__name__)

WORTH_A_CONNECTION = 5
"""A further connection is opened when so many messages wait for each that is there."""

IDLE_ENDINGS = 3
"""After so many conversations in a row that ended before any message, the relay counts as out of order."""

LARGE = 64 * 1024
"""Octets of a message whose text is not written at once: what goes out behind it would go out late."""

BEFORE_TEXT = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA})


class ConnectionSupply:
    """The queue as one connection sees it: tells what a 421 is about.

    421 ends a connection (RFC 5321, 3.8). On one that has taken messages it says that these were enough for one
    connection; on a new one beside others, that these are enough connections. Neither is a matter of the
    message, which is given back untried, nor of the pace: that is to blame when a new connection is all there is.
    """

    def __init__(self, queue: SendQueue, pool: ConnectionPool) -> None:
        self.accepted = 0
        self.ended = 0
        """How many messages the server answered."""
        self._queue = queue
        self._pool = pool
        self._is_cut = False
        self._is_large = False

    async def next(self) -> Envelope | None:
        return self._noted(await self._queue.next())

    def take(self) -> Envelope | None:
        """Return nothing behind a large message where limits count: it would leave too long after it was counted."""
        if self._is_large and self._queue.pacer.is_limited:
            return None
        return self._noted(self._queue.take())

    def _noted(self, envelope: Envelope | None) -> Envelope | None:
        self._is_large = envelope is not None and len(envelope.data) > LARGE
        return envelope

    def begin(self, envelope: Envelope) -> None:
        self._queue.begin(envelope)

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        if outcome.state is State.ACCEPTED:
            self.accepted += 1
        elif self._is_about_connection(outcome):
            self._queue.give_back(envelope)
            return
        self.ended += 1
        self._queue.end(envelope, outcome)

    def _is_about_connection(self, outcome: Outcome) -> bool:
        if outcome.state is not State.QUEUED or outcome.stage not in BEFORE_TEXT:
            return False
        if outcome.reply is None:
            return self._is_cut  # it was in flight behind the one that got the 421
        if outcome.reply.code == 421 and not self._is_cut:
            self._is_cut = self._pool.cut(self)
        return outcome.reply.code == 421 and self._is_cut

    def give_back(self, envelope: Envelope) -> None:
        self._queue.give_back(envelope)


class ConnectionPool:
    """Keeps the connections to one relay busy until its feed has no more."""

    def __init__(
        self, profile: RelayProfile, settings: Settings, queue: SendQueue, resolve: Resolve, dialer: Dialer
    ) -> None:
        self.failure: Outcome | None = None
        """Why there is no usable connection to the relay."""
        self.facts: ServerInfo | None = None
        """What the first conversation showed of the server."""
        self._profile = profile
        self._settings = settings
        self._queue = queue
        self._resolve = resolve
        self._dialer = dialer
        self._most = self._allowed = min(profile.limits.max_connections, settings.ceiling_connections)
        self._limit = queue.pacer.connection_limit
        self._supplies: set[ConnectionSupply] = set()
        self._was_cut = False
        """Whether the server ended a connection with 421 and has not let a new one in since."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle_endings = 0
        self._window = settings.window

    @property
    def connections(self) -> int:
        """How many conversations are ready to send."""
        return len(self._supplies)

    async def run(self) -> None:
        """Return when all connections are closed. Raises what a connection raised that nobody foresaw.

        When it is cancelled, they are dropped with all that is on the wire.
        """
        try:
            await self._run()
        finally:
            for task in self._tasks:
                task.cancel()
            await self._let_finish()

    async def _run(self) -> None:
        self._grow()
        while self._tasks:
            done, _running = await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
            self._tasks -= done  # others may have been added meanwhile
            for task in done:
                if (error := task.exception()) is not None:
                    self._queue.close()
                    await self._let_finish()
                    raise error
            self._grow()

    async def _let_finish(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _grow(self) -> None:
        """Open what is worth opening. The first connection shows whether the relay is there at all."""
        if self._queue.is_exhausted or self.failure is not None:
            return
        wanted = min(self._most, 1 + self._queue.backlog // WORTH_A_CONNECTION) if self._supplies else 1
        while len(self._tasks) < wanted:
            self._tasks.add(asyncio.create_task(self._work()))

    async def _work(self) -> None:
        """One conversation, from its opening to its end."""
        session = Session(self._profile, self._settings.deadlines)
        try:
            if not await self._open_session(session):
                return
        except SetupError as error:
            self._refuse(error.outcome)
            return
        self.facts = self.facts or ServerInfo.of(session)
        self._was_cut = False
        supply = ConnectionSupply(self._queue, self)
        self._supplies.add(supply)
        self._grow()
        try:
            await deliver(session, supply, window=self._window, most=self._messages_for_next())
        except (JournalError, LeaseLostError) as error:
            relay_id = self._profile.relay_id
            log.error("Relay %s stops sending: %s", relay_id, error, extra={"relay_id": relay_id})
        finally:
            self._supplies.discard(supply)
            if session.refuses_bdat:
                self._window = 1
            await session.close()
        self._limit.bear(supply.ended)
        self._notice_ending(session.has_answered)

    def _messages_for_next(self) -> int | None:
        """Return how many messages to send on a new connection: no more than the tenant wants or the server takes."""
        known = [most for most in (self._profile.limits.messages_per_connection, self._limit.next_most()) if most]
        return min(known) if known else None

    def cut(self, supply: ConnectionSupply) -> bool:
        """The server ended a connection with 421. Return whether that is about connections and not about the pace."""
        others = self._supplies - {supply}
        if supply.accepted:
            self._limit.cut(supply.ended)
        elif others:
            self._most = max(1, min(self._most, len(others)))
        else:
            self._most = self._allowed  # that was not it
            return False
        self._was_cut = True
        return True

    async def _open_session(self, session: Session) -> bool:
        """Open it, unless the feed is closed first: nobody waits for a server that is not needed any more."""
        opening = asyncio.create_task(session.open(self._resolve, self._dialer))
        closing = asyncio.create_task(self._queue.closed.wait())
        try:
            await asyncio.wait({opening, closing}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
            opening.cancel()
            await asyncio.wait({opening})
        if opening.cancelled():
            session.drop()
            return False
        opening.result()
        return True

    def _notice_ending(self, had_work: bool) -> None:
        self._idle_endings = 0 if had_work or self._queue.is_exhausted else self._idle_endings + 1
        if self._idle_endings >= IDLE_ENDINGS:
            text = "The server closes every connection before it takes a message."
            self._refuse(interrupted(Stage.BANNER, text, server=self._profile.host))

    def _refuse(self, outcome: Outcome) -> None:
        """No connection: with others still open, that is the most this server bears; else the relay is out of order."""
        if self._supplies and outcome.pause is None:
            self._most = min(self._most, len(self._supplies))
            return
        if self._was_cut and outcome.slows_down:
            self._queue.slow_down()
        if self.failure is None:
            self.failure = outcome
            self._queue.close()
