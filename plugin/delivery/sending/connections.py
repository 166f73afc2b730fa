"""The connections of one drain: as many as there is work for, as the tenant allows, and as the server bears."""

from __future__ import annotations

import asyncio
import logging

from own_smtp.delivery.sending.send_queue import SendQueue
from own_smtp.errors import JournalError, LeaseLostError
from own_smtp.settings import Settings
from own_smtp.smtp.connection import Dialer
from own_smtp.smtp.outcomes import Stage, interrupted
from own_smtp.smtp.server_info import ServerInfo
from own_smtp.smtp.session import Resolve, Session, SetupError
from own_smtp.smtp.transfer import deliver
from own_smtp.smtp.values import Outcome, RelayProfile

log = logging.getLogger(__name__)

WORTH_A_CONNECTION = 5
"""A further connection is opened when so many messages wait for each that is there."""

IDLE_ENDINGS = 3
"""After so many conversations in a row that ended before any message, the relay counts as out of order."""


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
        self._most = min(profile.limits.max_connections, settings.ceiling_connections)
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = 0
        self._idle_endings = 0

    @property
    def connections(self) -> int:
        """How many conversations are ready to send."""
        return self._open

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
        wanted = min(self._most, 1 + self._queue.backlog // WORTH_A_CONNECTION) if self._open else 1
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
        self._open += 1
        self._grow()
        try:
            await deliver(
                session,
                self._queue,
                window=self._settings.window,
                most=self._profile.limits.messages_per_connection,
            )
        except (JournalError, LeaseLostError) as error:
            relay_id = self._profile.relay_id
            log.error("Relay %s stops sending: %s", relay_id, error, extra={"relay_id": relay_id})
        finally:
            self._open -= 1
            await session.close()
        self._notice_ending(session.has_answered)

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
        if self._open and outcome.pause is None:
            self._most = min(self._most, self._open)
            return
        if self.failure is None:
            self.failure = outcome
            self._queue.close()
