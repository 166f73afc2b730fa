"""BDAT (RFC 3030): several whole messages in flight on one connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from own_smtp.commands import RSET, bdat_command, mail_command, rcpt_command
from own_smtp.errors import OwnSMTPError, SessionError
from own_smtp.exchanges import Exchange, Supply
from own_smtp.outcomes import Stage
from own_smtp.profiles import Envelope, Reply
from own_smtp.session import Session
from own_smtp.wire import TookTooLongError

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
        self.is_closing = False
        """Whether the server said 421."""
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
        replies: list[Reply] = []
        try:
            for stage in STAGES:
                replies.append(await self.wire.read(stage, self.deadlines.final_dot))
                self.is_closing = self.is_closing or replies[-1].code == 421
        except SessionError as error:
            self._end_broken(sent, replies, error)
            return
        decided = decide(*replies[1:])
        if decided is None:
            self.interrupt(sent.envelope, Stage.MESSAGE, SessionError("The server contradicted itself."))
        else:
            self.end(sent.envelope, *decided)

    def _end_broken(self, sent: InFlight, replies: list[Reply], error: SessionError) -> None:
        """The connection broke before the last reply: what is certain of the message?

        1. It was refused before. 2. The server said 421 to it or to one before it, and closed: what stands behind a
        421 is not done (RFC 5321, 3.8). A server that goes on after a 421 says so, and its replies are read.
        3. It never left this process. 4. Nothing is.
        """
        refused = next((answer for answer in zip(STAGES, replies, strict=False) if answer[1].code >= 400), None)
        if refused is not None:
            self.end(sent.envelope, *refused)
            self.give_up()
        elif self.is_closing and not isinstance(error, TookTooLongError):
            self.interrupt(sent.envelope, Stage.MAIL, error)
        else:
            self.give_up()
            stage = Stage.BODY if self.wire.never_left(sent.end) else Stage.MESSAGE
            self.interrupt(sent.envelope, stage, error)


def decide(mail: Reply, rcpt: Reply, message: Reply) -> tuple[Stage, Reply] | None:
    """Return which reply decides on a message; `None` when it may have been taken although something was refused."""
    if message.code // 100 == 2 and rcpt.code < 400:
        return (Stage.MESSAGE, message) if mail.code // 100 == rcpt.code // 100 == 2 else None
    answers = ((Stage.MAIL, mail), (Stage.RCPT, rcpt), (Stage.MESSAGE, message))
    return next((answer for answer in answers if answer[1].code >= 400), answers[-1])
