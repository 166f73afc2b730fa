"""What both ways of putting messages on the wire share: where messages come from, and how each of them ends."""

from __future__ import annotations

from typing import Protocol

from own_smtp.errors import SessionError
from own_smtp.smtp.commands import why_impossible
from own_smtp.smtp.connection import UnaskedReplyError
from own_smtp.smtp.replies.outcomes import Stage, impossible
from own_smtp.smtp.session import Session
from own_smtp.smtp.values import Envelope, Outcome, Reply
from own_smtp.smtp.wire_check import why_unfit

MEGABYTE = 1024 * 1024


class Supply(Protocol):
    """Where messages come from and where their outcomes go. All but `next` return at once."""

    async def next(self) -> Envelope | None:
        """Wait for the next message that may be sent now. `None` ends the session."""

    def take(self) -> Envelope | None:
        """Return the next message if one may be sent right now."""

    def begin(self, envelope: Envelope) -> None:
        """Put on record that the end of this message is about to be written. Takes it back and raises to prevent it."""

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        """Take what became of it."""

    def give_back(self, envelope: Envelope) -> None:
        """Take it back: nothing was tried, because the connection was gone before."""


class Exchange:
    """Sends what a supply gives through one session, `most` messages at most."""

    def __init__(self, session: Session, supply: Supply, most: int | None) -> None:
        self.session = session
        self.connection = session.connection
        self.supply = supply
        self.deadlines = session.deadlines
        self.most = self.left = most if most is not None else 1 << 62
        self.is_over = False

    async def run(self) -> None:
        """Return when there is nothing more to send, or when the conversation is over."""
        raise NotImplementedError

    async def next(self) -> Envelope | None:
        """Wait for a message that this server can take."""
        self.connection.rest()
        while self._may_go_on:
            envelope = await self.supply.next()
            if envelope is None or self._is_possible(envelope):
                return self._counted(envelope)
        return None

    def take(self) -> Envelope | None:
        """Return a message that this server can take, if there is one right now."""
        while self._may_go_on:
            envelope = self.supply.take()
            if envelope is None or self._is_possible(envelope):
                return self._counted(envelope)
        return None

    @property
    def _may_go_on(self) -> bool:
        return self.left > 0 and not self.is_over and not self.connection.is_lost

    def _counted(self, envelope: Envelope | None) -> Envelope | None:
        self.left -= envelope is not None
        return envelope

    def _is_possible(self, envelope: Envelope) -> bool:
        """No message gets onto the wire by another way: this is the last look at its octets."""
        problem = why_unfit(envelope.data) or why_impossible(envelope, self.session.capabilities)
        if problem is not None:
            self.supply.end(envelope, impossible(problem))
        return problem is None

    # How a message ends: each takes it out of this exchange's hands.

    def end(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        """The server answered. After an answer that makes no sense, it is not listened to any more."""
        outcome = self.session.judge(stage, reply)
        self.session.has_answered = True
        if outcome.reply is None:
            self.give_up()
        elif outcome.pause is not None or reply.code == 421:
            self.is_over = True
        self.supply.end(envelope, outcome)

    def interrupt(self, envelope: Envelope, stage: Stage, error: SessionError) -> None:
        """The conversation broke off. A refusal out of turn is believed where it can only be about this message."""
        self.give_up()
        if isinstance(error, UnaskedReplyError) and _is_refusal_of(stage, error.reply):
            self.supply.end(envelope, self.session.judge(stage, error.reply))
            return
        self.supply.end(envelope, self.session.interrupted(stage, error))

    def not_answered(self, envelope: Envelope, error: SessionError) -> None:
        """The connection was lost before anything was said of the message.

        One that was used before was closed while it was idle, and the message was not tried. On a fresh one it counts
        as an attempt: a server that breaks down at one message must not see it first for ever.
        """
        if self.session.has_answered:
            self.give_up()
            self.supply.give_back(envelope)
        else:
            self.interrupt(envelope, Stage.MAIL, error)

    def give_up(self) -> None:
        """Send nothing more, not even QUIT: who knows what it would be taken for."""
        self.is_over = True
        self.session.drop()

    def body_seconds(self, envelope: Envelope) -> float:
        """Return how long the text of this message may take, whichever way it is sent."""
        return self.deadlines.body * (1 + len(envelope.data) // MEGABYTE)


def is_expected(stage: Stage, reply: Reply) -> bool:
    """Whether a transaction goes on after this reply."""
    return reply.code == 354 if stage is Stage.DATA else reply.code // 100 == 2


def _is_refusal_of(stage: Stage, reply: Reply) -> bool:
    """Whether an unasked reply says what becomes of the message that is in this stage.

    1. 421 answers anything, as long as the message cannot have been taken. 2. While the text is written, a server may
    refuse it before its end (RFC 1870, 6.1): nothing else is open then that the reply could be about.
    """
    return (reply.code == 421 and stage is not Stage.MESSAGE) or (reply.code >= 400 and stage is Stage.BODY)
