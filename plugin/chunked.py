"""BDAT (RFC 3030): several whole messages in flight on one connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from own_smtp.commands import RSET, bdat_command, mail_command, rcpt_command
from own_smtp.errors import OwnSMTPError, SessionError
from own_smtp.exchanges import Exchange, Supply, is_expected
from own_smtp.outcomes import Stage
from own_smtp.profiles import Envelope, Reply
from own_smtp.session import Session

STAGES = (Stage.MAIL, Stage.MAIL, Stage.RCPT, Stage.MESSAGE)
"""What the replies to one message are about; the first is to RSET."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message that was written and not answered yet."""

    envelope: Envelope
    end: int
    """The position on the wire where it ends."""


class Chunked(Exchange):
    """Up to `window` messages in flight. Each begins with RSET, so that one refused cannot spoil the next."""

    def __init__(self, session: Session, supply: Supply, most: int | None, window: int) -> None:
        super().__init__(session, supply, most)
        self.window = window
        self.flight: deque[InFlight] = deque()
        self.prevented: OwnSMTPError | None = None
        """Why the supply lets nothing more be sent."""

    async def run(self) -> None:
        """As for all exchanges; what the supply raises to prevent a message is raised when the others are answered."""
        while await self._fill():
            await self._settle(self.flight.popleft())
        if self.prevented is not None:
            raise self.prevented

    async def _fill(self) -> bool:
        """Put messages in flight up to the window; wait for one only when none is."""
        while len(self.flight) < self.window and (envelope := self.take()) is not None:
            await self._launch(envelope)
        while not self.flight and (envelope := await self.next()) is not None:
            await self._launch(envelope)
        return bool(self.flight)

    async def _launch(self, envelope: Envelope) -> None:
        if self.wire.failure is not None:
            self.not_answered(envelope, self.wire.failure)
            return
        try:
            self.supply.begin(envelope)
        except OwnSMTPError as error:
            self.prevented, self.is_over = error, True
            return
        message = self._written(envelope)
        self.flight.append(InFlight(envelope, self.wire.position + len(message)))
        try:
            self.wire.begin("the message text", self.body_seconds(envelope))
            self.wire.write(message, replies=len(STAGES))
            await self.wire.has_room()
        except SessionError:
            self.is_over = True  # reading the replies will tell what became of it

    def _written(self, envelope: Envelope) -> bytes:
        capabilities = self.session.capabilities
        return b"".join(
            (
                RSET,
                mail_command(envelope, capabilities),
                rcpt_command(envelope, capabilities),
                bdat_command(envelope),
                envelope.data,
            )
        )

    async def _settle(self, sent: InFlight) -> None:
        """Read every reply to one message, and let the first refusal decide."""
        refusal: tuple[Stage, Reply] | None = None
        try:
            for stage in STAGES:
                reply = await self.wire.read(stage, self.deadlines.final_dot)
                if refusal is None and (stage is Stage.MESSAGE or not is_expected(stage, reply)):
                    refusal = (stage, reply)
                if reply.code == 421:
                    break
        except SessionError as error:
            if refusal is None:
                self._interrupt(sent, error)
                return
            reply = refusal[1]
        assert refusal is not None
        self.end(sent.envelope, *refusal)
        if reply.code == 421:
            self._end_behind_421()

    def _interrupt(self, sent: InFlight, error: SessionError) -> None:
        # What never left this process cannot have been taken, whatever the server does.
        self.give_up()
        self.interrupt(sent.envelope, Stage.BODY if self.wire.never_left(sent.end) else Stage.MESSAGE, error)

    def _end_behind_421(self) -> None:
        """Commands are answered in order, and nothing is done after a 421 (RFC 5321, 3.8)."""
        self.give_up()
        error = SessionError("The server closed the connection before it came to this message.")
        while self.flight:
            self.interrupt(self.flight.popleft().envelope, Stage.MAIL, error)
