"""BDAT (RFC 3030): several whole messages in flight on one connection."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from own_smtp.errors import OwnSMTPError, SessionError
from own_smtp.smtp.commands import RSET, bdat_command, mail_command, rcpt_command
from own_smtp.smtp.connection import TookTooLongError
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.session import Session
from own_smtp.smtp.transfer.base import Exchange, Supply
from own_smtp.smtp.transfer.data import Plain
from own_smtp.smtp.values import Envelope, Outcome, Reply

STAGES = (Stage.MAIL, Stage.MAIL, Stage.RCPT, Stage.MESSAGE)
"""What the replies to one message are about; the first is to RSET."""
BORNE_BY_EXIM = 10
"""How many RSET behind refused messages Exim bears on one connection (`smtp_accept_max_nonmail`).

It closes at the next, with 554 and whatever is in flight. The reset may swallow the 554: then all that is unknown.
"""
MOST_REFUSED = 8
"""Messages refused on one connection before it is left for a new one: not every Exim says that it is one."""


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
        self.is_proven = False
        """Whether the server has taken a chunk: until then no second message is risked on it."""
        self.unwanted: deque[Envelope] = deque()
        """Messages that the server would not take by BDAT; DATA was not tried."""
        self.is_exim = "exim" in session.greeting.lower()
        self.flight: deque[InFlight] = deque()
        self.refused = 0
        self.is_closing = False
        """Whether the last that the server did was to refuse to go on."""
        self.prevented: OwnSMTPError | None = None
        """Why the supply lets nothing more be sent."""

    async def run(self) -> None:
        """As for all exchanges; what the supply raises to prevent a message is raised when the others are answered."""
        while await self._fill():
            await self._settle(self.flight.popleft())
        await self._go_on_by_data()
        if self.prevented is not None:
            raise self.prevented

    async def _fill(self) -> bool:
        """Put messages in flight up to the window; wait for one only when none is."""
        while len(self.flight) < self._most_in_flight and (envelope := self.take()) is not None:
            await self._launch(envelope)
        while not self.flight and not self.unwanted and (envelope := await self.next()) is not None:
            await self._launch(envelope)
        return bool(self.flight)

    @property
    def _most_in_flight(self) -> int:
        """So few that Exim bears it if all of them are refused."""
        if self.unwanted:
            return 0
        window = self.window if self.is_proven else 1
        return min(window, BORNE_BY_EXIM - self.refused) if self.is_exim else window

    async def _go_on_by_data(self) -> None:
        """A server that offers CHUNKING and refuses each BDAT may still take DATA; the connection keeps to that."""
        if not self.unwanted:
            return
        again = Again(self.supply, self.unwanted)
        if not self.is_over and self.prevented is None:
            plain = Plain(self.session, again, self.left + len(self.unwanted))
            plain.needs_reset = True
            await plain.run()
        while again.waiting:
            self.interrupt(again.waiting.popleft(), Stage.DATA, SessionError("The server does not take BDAT."))

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
                reply = await self.connection.read(stage, self.deadlines.final_dot)
                self.is_closing = refuses_to_go_on(reply, is_to_reset=not replies) or (
                    self.is_closing and reply.code >= 400
                )
                replies.append(reply)
        except SessionError as error:
            self._end_broken(sent, replies, error)
            return
        decided = decide(*replies[1:])
        self.is_proven = self.is_proven or replies[-1].code // 100 == 2
        if is_about_bdat(*replies[1:]):
            self._do_without(sent.envelope, replies[-1])
        elif decided is None:
            self.interrupt(sent.envelope, Stage.MESSAGE, SessionError("The server contradicted itself."))
        else:
            self.end(sent.envelope, *decided)

    def end(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        """Nothing new is begun on a connection that has seen many refusals."""
        super().end(envelope, stage, reply)
        self.refused += reply.code >= 400
        self.is_over = self.is_over or self.refused >= MOST_REFUSED

    def _do_without(self, envelope: Envelope, reply: Reply) -> None:
        self.session.refuses_bdat = True
        self.unwanted.append(envelope)
        if reply.code in {500, 502}:
            self.give_up()  # it does not know the command: it has read the message as commands

    def _end_broken(self, sent: InFlight, replies: list[Reply], error: SessionError) -> None:
        """The connection broke before the last reply: what is certain of the message?

        1. It was refused before. 2. The server said 421 to it or to one before it, or refused its RSET, and closed:
        what stands behind that is not done (RFC 5321, 3.8). A server that goes on says so, and its replies are read.
        3. It never left this process. 4. Nothing is.
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
        """The server refused to begin anew: that is about the connection, and no more than 421 about the sender."""
        if not replies:
            self.interrupt(envelope, Stage.MAIL, error)
        elif replies[0].code == 421:
            self.end(envelope, Stage.MAIL, replies[0])
            self.give_up()
        else:
            words = f"The server refused to begin anew: {replies[0].code} {replies[0].text}"
            self.interrupt(envelope, Stage.MAIL, SessionError(words))


def refuses_to_go_on(reply: Reply, *, is_to_reset: bool) -> bool:
    """Whether nothing is done any more after this reply, as long as no other one follows."""
    return reply.code == 421 or (is_to_reset and reply.code >= 400)


def is_about_bdat(mail: Reply, rcpt: Reply, message: Reply) -> bool:
    """Whether the command itself is refused: 500 to 504 are about syntax, never about a message (RFC 5321, 4.2.1)."""
    return mail.code // 100 == rcpt.code // 100 == 2 and message.code // 10 == 50


class Again:
    """A supply whose first messages come again: they were begun, and have not been taken."""

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
        """One that was begun is not the supply's to have back: `Chunked` ends it."""
        if envelope.invitation_id in self._ids:
            self.waiting.appendleft(envelope)
        else:
            self._supply.give_back(envelope)


def decide(mail: Reply, rcpt: Reply, message: Reply) -> tuple[Stage, Reply] | None:
    """Return which reply decides on a message; `None` when it may have been taken although something was refused."""
    if message.code // 100 == 2 and rcpt.code < 400:
        return (Stage.MESSAGE, message) if mail.code // 100 == rcpt.code // 100 == 2 else None
    answers = ((Stage.MAIL, mail), (Stage.RCPT, rcpt), (Stage.MESSAGE, message))
    return next((answer for answer in answers if answer[1].code >= 400), answers[-1])
