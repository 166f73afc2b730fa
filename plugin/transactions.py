"""Messages on the wire: as few round trips as the server's extensions allow, and no reply taken for another's.

With PIPELINING (RFC 2920) the envelope of the next message travels in the group that ends the present one: one round
trip a message. With CHUNKING (RFC 3030) and a window above 1, whole messages travel before the first is answered.
Without either, each command waits for its reply (RFC 5321).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from own_smtp.addresses import needs_smtputf8
from own_smtp.capabilities import Capabilities
from own_smtp.errors import SessionError
from own_smtp.outcomes import Stage, classify, impossible, interrupted
from own_smtp.profiles import Envelope, Outcome, Reply
from own_smtp.session import Session

SMALL = 64 * 1024
"""Octets up to which a message is written in one piece with its end."""

MEGABYTE = 1024 * 1024


class Supply(Protocol):
    """Where messages come from and where their outcomes go. All but `next` return at once."""

    async def next(self) -> Envelope | None:
        """Wait for the next message that may be sent now. `None` ends the session."""

    def take(self) -> Envelope | None:
        """Return the next message if one may be sent right now."""

    def begin(self, envelope: Envelope) -> None:
        """Put on record that the end of this message is about to be written. Raises to prevent it."""

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        """Take what became of it."""

    def give_back(self, envelope: Envelope) -> None:
        """Take it back: nothing was tried, because the connection was gone before."""


async def deliver(session: Session, supply: Supply, *, window: int = 1, most: int | None = None) -> None:
    """Send what `supply` gives until it gives no more, `most` messages were sent, or the conversation is over.

    Every message taken is either ended or given back when this returns, also when it raises.
    """
    if window > 1 and session.capabilities.chunking and session.capabilities.pipelining:
        await Chunked(session, supply, most, window).run()
    else:
        await Plain(session, supply, most).run()


class Transactions:
    """What both ways of sending share."""

    def __init__(self, session: Session, supply: Supply, most: int | None) -> None:
        self.session = session
        self.supply = supply
        self.left = most if most is not None else 1 << 62
        self.is_over = False

    async def _next(self) -> Envelope | None:
        """Wait for a message that this server can take."""
        self.session.wire.rest()
        while self._may_go_on:
            envelope = await self.supply.next()
            if envelope is None or self._is_possible(envelope):
                return self._counted(envelope)
        return None

    def _take(self) -> Envelope | None:
        while self._may_go_on:
            envelope = self.supply.take()
            if envelope is None or self._is_possible(envelope):
                return self._counted(envelope)
        return None

    @property
    def _may_go_on(self) -> bool:
        return self.left > 0 and not self.is_over and not self.session.wire.is_lost

    def _counted(self, envelope: Envelope | None) -> Envelope | None:
        self.left -= envelope is not None
        return envelope

    def _is_possible(self, envelope: Envelope) -> bool:
        problem = why_impossible(envelope, self.session.capabilities)
        if problem is not None:
            self.supply.end(envelope, impossible(problem))
        return problem is None

    def _end(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        outcome = classify(stage, reply, server=self.session.server)
        self.is_over = self.is_over or reply.code == 421 or outcome.pause is not None
        self.supply.end(envelope, outcome)

    def _interrupt(self, envelope: Envelope, stage: Stage, error: SessionError) -> None:
        self.is_over = True
        self.supply.end(envelope, interrupted(stage, str(error), server=self.session.server))

    async def _read(self, phase: Stage, seconds: float) -> Reply:
        self.session.wire.begin(phase, seconds)
        return await self.session.wire.read()


class Plain(Transactions):
    """DATA, pipelined where the server allows it: the end of one message and the envelope of the next together."""

    def __init__(self, session: Session, supply: Supply, most: int | None) -> None:
        super().__init__(session, supply, most)
        self.is_pipelined = session.capabilities.pipelining
        self.needs_reset = False
        """Whether the server may still hold an unfinished envelope."""

    async def run(self) -> None:
        current = await self._open_next()
        while current is not None:
            following = self._take() if self.is_pipelined else None
            is_open = await self._send(current, following)
            current = following if is_open else await self._open_next()

    async def _open_next(self) -> Envelope | None:
        """Return the next message whose envelope the server took; those refused are ended on the way."""
        while (envelope := await self._next()) is not None:
            try:
                is_open = await self._open(envelope)
            except SessionError:
                self.supply.give_back(envelope)  # the connection was lost while it was idle
                break
            if is_open:
                return envelope
        return None

    async def _open(self, envelope: Envelope) -> bool:
        commands = self._opening(envelope)
        if not self.session.wire.is_quiet:
            raise SessionError("The server spoke out of turn.")  # a 421, usually
        if self.is_pipelined:
            self.session.wire.write(b"".join(commands))
            return await self._read_opening(envelope)
        return await self._open_stepwise(envelope, commands)

    def _opening(self, envelope: Envelope) -> list[bytes]:
        commands = [
            mail_command(envelope, self.session.capabilities),
            rcpt_command(envelope, self.session.capabilities),
        ]
        reset = [b"RSET\r\n"] if self.needs_reset else []
        return [*reset, *commands, b"DATA\r\n"]

    async def _open_stepwise(self, envelope: Envelope, commands: list[bytes]) -> bool:
        """One command at a time (RFC 5321): what comes after a refusal is not sent."""
        stages = ([Stage.MAIL] if self.needs_reset else []) + [Stage.MAIL, Stage.RCPT, Stage.DATA]
        self.needs_reset = False
        for index, (stage, command) in enumerate(zip(stages, commands, strict=True)):
            try:
                self.session.wire.write(command)
                reply = await self._read(stage, self._seconds(stage))
            except SessionError as error:
                if index == 0:
                    raise
                self._interrupt(envelope, stage, error)
                return False
            if not _is_expected(stage, reply):
                self.needs_reset = True
                self._end(envelope, stage, reply)
                return False
        return True

    async def _read_opening(self, envelope: Envelope) -> bool:
        """Read every reply of the group (RFC 2920, 3.1), and let the first refusal decide.

        Raises `SessionError` only while nothing was answered: then the message was not tried.
        """
        if self.needs_reset:
            await self._read(Stage.MAIL, self.session.deadlines.command)
            self.needs_reset = False
        refusal: tuple[Stage, Reply] | None = None
        reply: Reply | None = None
        for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA):
            try:
                reply = await self._read(stage, self._seconds(stage))
            except SessionError as error:
                if reply is None:
                    raise
                self._end_opening(envelope, refusal, stage, error)
                return False
            if refusal is None and not _is_expected(stage, reply):
                refusal = (stage, reply)
        if refusal is None:
            return True
        assert reply is not None
        self._end(envelope, *refusal)
        await self._leave(reply)
        return False

    def _end_opening(
        self, envelope: Envelope, refusal: tuple[Stage, Reply] | None, stage: Stage, error: SessionError
    ) -> None:
        """The connection broke within the group: a refusal that came before still counts."""
        if refusal is not None:
            self._end(envelope, *refusal)
            self.is_over = True
        else:
            self._interrupt(envelope, stage, error)

    async def _leave(self, data_reply: Reply) -> None:
        """After a refused envelope: a server that wants a message all the same gets the lone dot (RFC 2920, 3.1)."""
        self.needs_reset = True
        if data_reply.code != 354:
            return
        try:
            self.session.wire.write(b".\r\n")
            await self._read(Stage.MESSAGE, self.session.deadlines.final_dot)
        except SessionError:
            self.is_over = True

    def _seconds(self, stage: Stage) -> float:
        deadlines = self.session.deadlines
        return deadlines.data if stage is Stage.DATA else deadlines.command

    async def _send(self, current: Envelope, following: Envelope | None) -> bool:
        """Send the text of `current`, and behind it the envelope of `following`. Return whether that one is open."""
        try:
            body = await self._send_most(current)
        except SessionError as error:
            self._interrupt(current, Stage.BODY, error)
            self._give_back(following)
            return False
        try:
            self.supply.begin(current)
        except BaseException:
            self._give_back(following)
            self.session.drop()
            raise
        opening = b"".join(self._opening(following)) if following is not None else b""
        if not await self._finish(current, body + b".\r\n" + opening, len(opening)):
            self._give_back(following)
            return False
        return following is not None and await self._follow(following)

    async def _send_most(self, envelope: Envelope) -> bytes:
        """Send all of a large message but its end, as the server reads it; return what is still to be written."""
        body = dot_stuffed(envelope.data)
        if len(body) <= SMALL:
            return body
        wire = self.session.wire
        wire.begin("the message text", self.session.deadlines.body * (1 + len(body) // MEGABYTE))
        for start in range(0, len(body), SMALL):
            wire.write(body[start : start + SMALL])
            await wire.has_room()
        return b""

    async def _finish(self, envelope: Envelope, end: bytes, after: int) -> bool:
        """Write the end of the message and read what became of it. Return whether the conversation goes on."""
        wire = self.session.wire
        try:
            wire.write(end)
            reply = await self._read(Stage.MESSAGE, self.session.deadlines.final_dot)
        except SessionError as error:
            # What never left this process cannot have been taken, whatever the server does.
            self._interrupt(envelope, Stage.BODY if wire.has_unsent(after) else Stage.MESSAGE, error)
            return False
        self._end(envelope, Stage.MESSAGE, reply)
        return True

    async def _follow(self, following: Envelope) -> bool:
        try:
            return await self._read_opening(following)
        except SessionError:
            self.supply.give_back(following)
            self.is_over = True
            return False

    def _give_back(self, envelope: Envelope | None) -> None:
        if envelope is not None:
            self.supply.give_back(envelope)


@dataclass(slots=True)
class _InFlight:
    envelope: Envelope
    size: int


class Chunked(Transactions):
    """BDAT, several whole messages in flight. Each begins with RSET, so that one refused cannot spoil the next."""

    def __init__(self, session: Session, supply: Supply, most: int | None, window: int) -> None:
        super().__init__(session, supply, most)
        self.window = window
        self.flight: deque[_InFlight] = deque()

    async def run(self) -> None:
        try:
            while await self._fill():
                await self._settle(self.flight.popleft())
        finally:
            self._abandon()

    async def _fill(self) -> bool:
        """Put messages in flight up to the window; wait for one only when none is."""
        while len(self.flight) < self.window and (envelope := self._take()) is not None:
            await self._launch(envelope)
        if not self.flight and not self.is_over and (envelope := await self._next()) is not None:
            await self._launch(envelope)
        return bool(self.flight)

    async def _launch(self, envelope: Envelope) -> None:
        wire, capabilities = self.session.wire, self.session.capabilities
        head = b"RSET\r\n" + mail_command(envelope, capabilities) + rcpt_command(envelope, capabilities)
        if wire.is_lost or (not self.flight and not wire.is_quiet):
            self.is_over = True
            self.supply.give_back(envelope)
            return
        try:
            self.supply.begin(envelope)
        except BaseException:
            self.session.drop()
            raise
        self.flight.append(_InFlight(envelope, len(envelope.data)))
        try:
            wire.begin("the message text", self.session.deadlines.body * (1 + len(envelope.data) // MEGABYTE))
            wire.write(head + b"BDAT %d LAST\r\n" % len(envelope.data) + envelope.data)
            await wire.has_room()
        except SessionError:
            self.is_over = True

    async def _settle(self, sent: _InFlight) -> None:
        refusal: tuple[Stage, Reply] | None = None
        try:
            await self._read(Stage.MAIL, self.session.deadlines.command)  # RSET
            for stage in (Stage.MAIL, Stage.RCPT, Stage.MESSAGE):
                reply = await self._read(stage, self.session.deadlines.final_dot)
                if refusal is None and (stage is Stage.MESSAGE or not _is_expected(stage, reply)):
                    refusal = (stage, reply)
        except SessionError as error:
            if refusal is None:
                self._interrupt(sent.envelope, Stage.MESSAGE, error)
                return
        assert refusal is not None
        self._end(sent.envelope, *refusal)

    def _abandon(self) -> None:
        """Nobody will read what became of the rest."""
        error = SessionError("The conversation ended before the server answered.")
        while self.flight:
            self._interrupt(self.flight.popleft().envelope, Stage.MESSAGE, error)


def _is_expected(stage: Stage, reply: Reply) -> bool:
    return reply.code == 354 if stage is Stage.DATA else reply.code // 100 == 2


def why_impossible(envelope: Envelope, capabilities: Capabilities) -> str | None:
    """Return why this server can never take the message, or `None` when it may."""
    if capabilities.max_size is not None and len(envelope.data) > capabilities.max_size:
        return f"The message has {len(envelope.data)} octets, the server takes {capabilities.max_size}."
    if not capabilities.smtputf8 and _is_international(envelope):
        return "The address has letters outside ASCII before the @, and the server does not offer SMTPUTF8."
    return None


def _is_international(envelope: Envelope) -> bool:
    return not (envelope.recipient.isascii() and envelope.sender.isascii()) and (
        needs_smtputf8(envelope.recipient) or needs_smtputf8(envelope.sender)
    )


def mail_command(envelope: Envelope, capabilities: Capabilities) -> bytes:
    """Return MAIL with what the server offers to know beforehand."""
    command = f"MAIL FROM:<{envelope.sender}>"
    if capabilities.sized:
        command += f" SIZE={len(envelope.data)}"
    if capabilities.eight_bit and not envelope.data.isascii():
        command += " BODY=8BITMIME"
    if capabilities.smtputf8 and _is_international(envelope):
        command += " SMTPUTF8"
    if capabilities.dsn and envelope.envelope_id:
        command += f" RET=HDRS ENVID={xtext(envelope.envelope_id)}"
    return command.encode() + b"\r\n"


def rcpt_command(envelope: Envelope, capabilities: Capabilities) -> bytes:
    """Return RCPT, asking for a report of a failure where the server offers it (RFC 3461, 4.1 and 4.2)."""
    command = f"RCPT TO:<{envelope.recipient}>"
    if capabilities.dsn and envelope.envelope_id and envelope.recipient.isascii():
        command += f" NOTIFY=FAILURE,DELAY ORCPT=rfc822;{xtext(envelope.recipient)}"
    return command.encode() + b"\r\n"


def xtext(text: str) -> str:
    """Encode printable ASCII for a DSN parameter (RFC 3461, 4)."""
    return "".join(sign if "!" <= sign <= "~" and sign not in "+=" else f"+{ord(sign):02X}" for sign in text)


def dot_stuffed(data: bytes) -> bytes:
    """Double a dot that begins a line (RFC 5321, 4.5.2)."""
    if data.startswith(b"."):
        data = b"." + data
    return data.replace(b"\r\n.", b"\r\n..") if b"\r\n." in data else data
