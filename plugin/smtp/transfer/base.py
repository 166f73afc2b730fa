"""The common base of transfers by DATA and BDAT: the source of messages, and the possible ends of each."""

from __future__ import annotations

from typing import Protocol

from own_smtp.errors import SessionError
from own_smtp.smtp.commands import why_impossible
from own_smtp.smtp.interruptions import UnaskedReplyError
from own_smtp.smtp.replies.outcomes import Stage, impossible
from own_smtp.smtp.session import Session
from own_smtp.smtp.values import Envelope, Outcome, Reply
from own_smtp.smtp.wire_check import why_unfit

MEGABYTE = 1024 * 1024


class Supply(Protocol):
    """The source of messages and the receiver of their outcomes. All methods but `next` return at once."""

    async def next(self) -> Envelope | None:
        """Wait for the next message that may be sent now. `None` ends the session."""

    def take(self) -> Envelope | None:
        """Return the next message if one may be sent right now; else `None`."""

    def begin(self, envelope: Envelope) -> None:
        """Record that the end of this message is about to be written. To prevent that, take it back and raise."""

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        """Receive its outcome."""

    def give_back(self, envelope: Envelope) -> None:
        """Take it back untried: the connection was lost before."""


class Exchange:
    """Sends messages from a supply through one session, `most` of them at most."""

    def __init__(self, session: Session, supply: Supply, most: int | None) -> None:
        self.session = session
        self.connection = session.connection
        self.supply = supply
        self.deadlines = session.deadlines
        self.most = self.left = most if most is not None else 1 << 62
        self.is_over = False

    async def run(self) -> None:
        """Return when there are no more messages, or when the session is over."""
        raise NotImplementedError

    async def next(self) -> Envelope | None:
        """Wait for a message that this server can accept."""
        self.connection.rest()
        while self._may_go_on:
            envelope = await self.supply.next()
            if envelope is None or self._is_possible(envelope):
                return self._counted(envelope)
        return None

    def take(self) -> Envelope | None:
        """Return a message that this server can accept, if there is one right now."""
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
        """Check the octets of a message for the last time; no message is sent without this check."""
        problem = why_unfit(envelope.data) or why_impossible(envelope, self.session.capabilities)
        if problem is not None:
            self.supply.end(envelope, impossible(problem))
        return problem is None

    # The possible ends of a message. After each of them this exchange is no longer responsible for it.

    def end(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        """End a message by the server's reply. After a nonsensical reply the connection is closed."""
        outcome = self.session.judge(stage, reply)
        self.session.has_answered = True
        if outcome.reply is None:
            self.give_up()
        elif outcome.pause is not None or reply.code == 421:
            self.is_over = True
        self.supply.end(envelope, outcome)

    def interrupt(self, envelope: Envelope, stage: Stage, error: SessionError) -> None:
        """End a message because the session broke off. An unexpected refusal counts if it can only concern this one."""
        self.give_up()
        if isinstance(error, UnaskedReplyError) and _is_refusal_of(stage, error.reply):
            self.supply.end(envelope, self.session.judge(stage, error.reply))
            return
        self.supply.end(envelope, self.session.interrupted(stage, error))

    def not_answered(self, envelope: Envelope, error: SessionError) -> None:
        """End a message for which the connection was lost before any reply.

        A connection that was used before was closed while idle, so the message counts as untried. On a new connection
        it counts as an attempt: otherwise a message that crashes the server would be tried first for ever.
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
        """Return how many seconds the text of this message may take, by DATA or BDAT."""
        return self.deadlines.body * (1 + len(envelope.data) // MEGABYTE)


def is_expected(stage: Stage, reply: Reply) -> bool:
    """Whether a transaction continues after this reply."""
    return reply.code == 354 if stage is Stage.DATA else reply.code // 100 == 2


def _is_refusal_of(stage: Stage, reply: Reply) -> bool:
    """Whether an unexpected reply refuses the message that is in this stage.

    1. 421 may come at any time; it counts unless the message may have been accepted. 2. While the text is written, a
    server may refuse it before its end (RFC 1870, 6.1): the reply cannot concern anything else then.
    """
    return (reply.code == 421 and stage is not Stage.MESSAGE) or (reply.code >= 400 and stage is Stage.BODY)
