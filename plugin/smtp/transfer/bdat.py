"""BDAT (RFC 3030): several whole messages in flight on one connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from own_smtp.errors import OwnSMTPError, SessionError
from own_smtp.smtp.commands import RSET, bdat_command, mail_command, rcpt_command
from own_smtp.smtp.interruptions import TookTooLongError
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.session import Session
from own_smtp.smtp.transfer.base import Exchange, Supply
from own_smtp.smtp.transfer.data import Plain
from own_smtp.smtp.values import Envelope, Outcome, Reply

STAGES = (Stage.MAIL, Stage.MAIL, Stage.RCPT, Stage.MESSAGE)
"""The stages of the replies to one message; the first reply is to RSET."""
EXIM_RESETS = 10
"""How many RSET behind refused messages Exim accepts on one connection (`smtp_accept_max_nonmail`).

At the next one it sends 554 and closes, with messages in flight. A TCP reset may discard the 554: then the outcomes of
all these messages are unknown.
"""
MOST_REFUSED = 8
"""Refused messages after which the connection is replaced: not every Exim identifies itself in its banner."""


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message that was written and has no reply yet."""

    envelope: Envelope
    end: int
    """The position of its end in the octets written to the connection."""


class Chunked(Exchange):
    """Up to `window` messages in flight. Each begins with RSET, so that a refused one cannot affect the next."""

    def __init__(self, session: Session, supply: Supply, most: int | None, window: int) -> None:
        super().__init__(session, supply, most)
        self.window = window
        self.is_proven = False
        """Whether the server has accepted a chunk: until then only one message is in flight."""
        self.unwanted: deque[Envelope] = deque()
        """Messages that the server refused by BDAT; DATA was not tried yet."""
        self.is_exim = "exim" in session.greeting.lower()
        self.flight: deque[InFlight] = deque()
        self.refused = 0
        self.is_closing = False
        """Whether the server's last reply announced the end of the session."""
        self.prevented: OwnSMTPError | None = None
        """The error by which the supply prevents further messages."""

    async def run(self) -> None:
        """As for all exchanges; an error of the supply that prevents a message is raised after the other replies."""
        while await self._fill():
            await self._settle(self.flight.popleft())
        await self._continue_by_data()
        if self.prevented is not None:
            raise self.prevented

    async def _fill(self) -> bool:
        """Send messages up to the window; wait for one only if none is in flight."""
        while len(self.flight) < self._most_in_flight and (envelope := self.take()) is not None:
            await self._launch(envelope)
        while not self.flight and not self.unwanted and (envelope := await self.next()) is not None:
            await self._launch(envelope)
        return bool(self.flight)

    @property
    def _most_in_flight(self) -> int:
        """The window; for Exim so small that its limit is not exceeded even if all messages are refused."""
        if self.unwanted:
            return 0
        window = self.window if self.is_proven else 1
        return min(window, EXIM_RESETS - self.refused) if self.is_exim else window

    async def _continue_by_data(self) -> None:
        """Send by DATA on this connection if the server offers CHUNKING but refuses BDAT."""
        if not self.unwanted:
            return
        again = Again(self.supply, self.unwanted)
        if not self.is_over and self.prevented is None:
            plain = Plain(self.session, again, self.left + len(self.unwanted))
            plain.needs_reset = True
            await plain.run()
        while again.waiting:
            self.interrupt(again.waiting.popleft(), Stage.DATA, SessionError("The server does not accept BDAT."))

    async def _launch(self, envelope: Envelope) -> None:
        if self.connection.failure is not None:
            self.not_answered(envelope, self.connection.failure)
            return
        try:
            self.supply.begin(envelope)
        except OwnSMTPError as error:
            self.prevented, self.is_over = error, True
            return
        message = self._written(envelope)
        self.flight.append(InFlight(envelope, self.connection.position + len(message)))
        try:
            self.connection.begin("the message text", self.body_seconds(envelope))
            self.connection.write(message, replies=len(STAGES))
            await self.connection.has_room()
        except SessionError:
            self.is_over = True  # reading the replies determines its outcome

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
                reply = await self.connection.read(stage, self.deadlines.final_dot)
                self.is_closing = announces_end(reply, is_to_reset=not replies) or (
                    self.is_closing and reply.code >= 400
                )
                replies.append(reply)
        except SessionError as error:
            self._end_broken(sent, replies, error)
            return
        decided = decide(*replies[1:])
        self.is_proven = self.is_proven or replies[-1].code // 100 == 2
        if is_about_bdat(*replies[1:]):
            self._avoid_bdat(sent.envelope, replies[-1])
        elif decided is None:
            self.interrupt(sent.envelope, Stage.MESSAGE, SessionError("The server contradicted itself."))
        else:
            self.end(sent.envelope, *decided)

    def end(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        """End a message; after many refusals nothing new is begun on the connection."""
        super().end(envelope, stage, reply)
        self.refused += reply.code >= 400
        self.is_over = self.is_over or self.refused >= MOST_REFUSED

    def _avoid_bdat(self, envelope: Envelope, reply: Reply) -> None:
        self.session.refuses_bdat = True
        self.unwanted.append(envelope)
        if reply.code in {500, 502}:
            self.give_up()  # it does not know the command: it has interpreted the message as commands

    def _end_broken(self, sent: InFlight, replies: list[Reply], error: SessionError) -> None:
        """End a message after the connection broke before its last reply.

        1. It was refused before: refused. 2. The server sent 421 to it or to one before it, or refused its RSET, and
        closed: commands behind that are not executed (RFC 5321, 3.8), so it is untried. A server that continues sends
        replies, and they are read. 3. It never left this process: it was not accepted. 4. Otherwise unknown.
        """
        refused = next((answer for answer in zip(STAGES[1:], replies[1:], strict=False) if answer[1].code >= 400), None)
        if refused is not None:
            self.end(sent.envelope, *refused)
            self.give_up()
        elif self.is_closing and not isinstance(error, TookTooLongError):
            self._end_untried(sent.envelope, replies, error)
        else:
            self.give_up()
            stage = Stage.BODY if self.connection.never_left(sent.end) else Stage.MESSAGE
            self.interrupt(sent.envelope, stage, error)

    def _end_untried(self, envelope: Envelope, replies: list[Reply], error: SessionError) -> None:
        """End an untried message. A refused RSET concerns the connection, like 421, not the sender."""
        if not replies:
            self.interrupt(envelope, Stage.MAIL, error)
        elif replies[0].code == 421:
            self.end(envelope, Stage.MAIL, replies[0])
            self.give_up()
        else:
            text = f"The server refused RSET: {replies[0].code} {replies[0].text}"
            self.interrupt(envelope, Stage.MAIL, SessionError(text))


def announces_end(reply: Reply, *, is_to_reset: bool) -> bool:
    """Whether the server executes no further command after this reply, unless another reply follows."""
    return reply.code == 421 or (is_to_reset and reply.code >= 400)


def is_about_bdat(mail: Reply, rcpt: Reply, message: Reply) -> bool:
    """Whether the command itself is refused: 500 to 504 concern syntax, never a message (RFC 5321, 4.2.1)."""
    return mail.code // 100 == rcpt.code // 100 == 2 and message.code // 10 == 50


class Again:
    """A supply that first repeats messages that were begun but not accepted."""

    def __init__(self, supply: Supply, waiting: deque[Envelope]) -> None:
        self.waiting = waiting
        self._ids = {envelope.invitation_id for envelope in waiting}
        self._supply = supply

    async def next(self) -> Envelope | None:
        return self.waiting.popleft() if self.waiting else await self._supply.next()

    def take(self) -> Envelope | None:
        return self.waiting.popleft() if self.waiting else self._supply.take()

    def begin(self, envelope: Envelope) -> None:
        self._supply.begin(envelope)

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        self._supply.end(envelope, outcome)

    def give_back(self, envelope: Envelope) -> None:
        """Keep a message that was begun: the supply cannot take it back, `Chunked` ends it."""
        if envelope.invitation_id in self._ids:
            self.waiting.appendleft(envelope)
        else:
            self._supply.give_back(envelope)


def decide(mail: Reply, rcpt: Reply, message: Reply) -> tuple[Stage, Reply] | None:
    """Return the reply that decides on a message; `None` if it may have been accepted in spite of a refusal."""
    if message.code // 100 == 2 and rcpt.code < 400:
        return (Stage.MESSAGE, message) if mail.code // 100 == rcpt.code // 100 == 2 else None
    answers = ((Stage.MAIL, mail), (Stage.RCPT, rcpt), (Stage.MESSAGE, message))
    return next((answer for answer in answers if answer[1].code >= 400), answers[-1])
