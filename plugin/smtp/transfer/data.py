"""DATA: one command at a time, or pipelined with the end of one message and the envelope of the next in one group."""

from __future__ import annotations

import asyncio

from own_smtp.errors import SessionError
from own_smtp.smtp.commands import DATA, DOT, RSET, dot_stuffed, mail_command, rcpt_command
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.session import Session
from own_smtp.smtp.transfer.base import Exchange, Supply, is_expected
from own_smtp.smtp.values import Envelope, Reply

SMALL = 64 * 1024
"""Messages up to this size, in octets, are written in one piece with their end."""

WELL_USED = 50
"""Messages after which a 421 may mean that the server's limit per connection is reached.

Exim's limit is 1,000 by default (`smtp_accept_max_per_connection`).
"""

Answer = tuple[Stage, Reply]


class Plain(Exchange):
    """Sends messages by DATA (RFC 5321), in as few round trips as PIPELINING (RFC 2920) allows."""

    def __init__(self, session: Session, supply: Supply, most: int | None) -> None:
        super().__init__(session, supply, most)
        self.is_pipelined = session.capabilities.pipelining
        command = self.deadlines.command
        self.seconds = {Stage.MAIL: command, Stage.RCPT: command, Stage.DATA: self.deadlines.data}
        self.needs_reset = False
        """Whether the server may still hold an unfinished envelope."""

    async def run(self) -> None:
        current = await self._open_next()
        while current is not None:
            following = self.take() if self.is_pipelined else None
            is_open = await self._send(current, following)
            current = following if is_open else await self._open_next()

    def end(self, envelope: Envelope, stage: Stage, reply: Reply) -> None:
        """End a message; after 421 nothing more is sent to the server."""
        if stage is Stage.MAIL and self._is_used_up(reply):
            self.supply.give_back(envelope)
        else:
            super().end(envelope, stage, reply)
        if reply.code == 421:
            self.give_up()

    def _is_used_up(self, reply: Reply) -> bool:
        """Whether 421 only means that a new connection is needed: neither the message nor the rate is the cause.

        A server that wants slower sending says so (RFC 3463: X.7), or sends 421 to the new connection, too.
        """
        is_about_policy = (reply.enhanced or "").startswith("4.7.")
        return reply.code == 421 and not is_about_policy and self.most - self.left > WELL_USED

    # The envelope

    async def _open_next(self) -> Envelope | None:
        """Return the next message whose envelope the server accepted; messages that it refused are ended meanwhile."""
        open_one = self._open_group if self.is_pipelined else self._open_stepwise
        while await self._is_reset() and (envelope := await self.next()) is not None:
            if await open_one(envelope):
                return envelope
        return None

    async def _is_reset(self) -> bool:
        """Without PIPELINING, send RSET before the next message is taken, because limits count from then on."""
        if self.is_pipelined or not self.needs_reset or not self._may_go_on:
            return True
        try:
            self.connection.write(RSET, replies=1)
            await self._read_reset()
        except SessionError:
            self.give_up()
        return not self.is_over

    async def _open_group(self, envelope: Envelope) -> bool:
        try:
            self.connection.write(self._group(envelope), replies=self._group_replies)
        except SessionError as error:
            self.not_answered(envelope, self.connection.failure or error)
            return False
        return await self._read_group(envelope)

    def _group(self, envelope: Envelope) -> bytes:
        capabilities = self.session.capabilities
        group = mail_command(envelope, capabilities) + rcpt_command(envelope, capabilities) + DATA
        return RSET + group if self.needs_reset else group

    @property
    def _group_replies(self) -> int:
        return len(self.seconds) + self.needs_reset

    async def _read_group(self, envelope: Envelope) -> bool:
        """Read every reply of the group (RFC 2920, 3.1). The first refusal decides. Return whether there was none."""
        replies: list[Answer] = []
        is_open = True
        try:
            if self.needs_reset:
                await self._read_reset()
            for stage, seconds in self.seconds.items():
                # They nearly always arrive together.
                reply = self.connection.take() or await self.connection.read(stage, seconds)
                replies.append((stage, reply))
                is_open = is_open and is_expected(stage, reply)
                if reply.code == 421:
                    break
        except SessionError as error:
            self._end_broken(envelope, replies, error)
            return False
        if not is_open:
            await self._refuse(envelope, replies)
        return is_open

    async def _refuse(self, envelope: Envelope, replies: list[Answer]) -> None:
        refusals = [answer for answer in replies if not is_expected(*answer)]
        self.end(envelope, *refusals[0])
        await self._leave(replies[-1][1], was_taken=Stage.RCPT not in {stage for stage, _ in refusals})

    def _end_broken(self, envelope: Envelope, replies: list[Answer], error: SessionError) -> None:
        """End a message after the connection broke within the group. A refusal that arrived before still counts."""
        refusals = [answer for answer in replies if not is_expected(*answer)]
        if refusals:
            self.end(envelope, *refusals[0])
            self.give_up()
        elif replies:
            self.interrupt(envelope, list(self.seconds)[len(replies)], error)
        else:
            self.not_answered(envelope, error)

    async def _leave(self, last: Reply, *, was_taken: bool) -> None:
        """Leave DATA after a refused envelope: after a 354 nevertheless, send only the final dot (RFC 2920, 3.1).

        If the recipient was accepted, who would get an empty mail, close the connection instead.
        """
        self.needs_reset = True
        if last.code != 354:
            return
        if was_taken:
            self.give_up()
            return
        try:
            self.connection.write(DOT, replies=1)
            await self.connection.read(Stage.MESSAGE, self.deadlines.final_dot)
        except SessionError:
            self.give_up()

    async def _read_reset(self) -> None:
        """Read the reply to RSET. Raises `SessionError` if it is refused: the server's state is not known then."""
        reply = await self.connection.read("RSET", self.deadlines.command)
        if not is_expected(Stage.MAIL, reply):
            raise SessionError(f"The server refused RSET: {reply.code} {reply.text}")
        self.needs_reset = False

    async def _open_stepwise(self, envelope: Envelope) -> bool:
        """Send one command at a time (RFC 5321), and nothing after a refusal."""
        capabilities = self.session.capabilities
        commands = (mail_command(envelope, capabilities), rcpt_command(envelope, capabilities), DATA)
        replies: list[Answer] = []
        try:
            for (stage, seconds), command in zip(self.seconds.items(), commands, strict=True):
                self.connection.write(command, replies=1)
                replies.append((stage, await self.connection.read(stage, seconds)))
                if not is_expected(*replies[-1]):
                    self.needs_reset = True
                    self.end(envelope, *replies[-1])
                    return False
        except SessionError as error:
            self._end_broken(envelope, replies, error)
            return False
        return True

    # The message

    async def _send(self, current: Envelope, following: Envelope | None) -> bool:
        """Send the text of `current`, and behind it the envelope of `following`. Return whether that is accepted."""
        group = b"" if following is None else self._group(following)
        continues = await self._finish(current, group)
        if following is None:
            return False
        if continues:
            return await self._read_group(following)
        self.give_up()  # the server may have its envelope, and must not get a text for it
        self.supply.give_back(following)
        return False

    async def _finish(self, current: Envelope, group: bytes) -> bool:
        """Send the message, and `group` behind its end. Return whether the session continues."""
        stage, end = Stage.BODY, 0
        try:
            rest = dot_stuffed(current.data)
            if len(rest) > SMALL:
                await self._send_large(current, rest)
                rest = b""
            if self.connection.failure is not None:
                raise self.connection.failure
            self.supply.begin(current)
            end = self.connection.position + len(rest) + len(DOT)
            self.connection.write(rest + DOT + group, replies=1 + (self._group_replies if group else 0))
            stage = Stage.MESSAGE
            reply = await self.connection.read(stage, self.deadlines.final_dot)
        except SessionError as error:
            # A message that never left this process completely cannot have been accepted.
            self.interrupt(
                current, Stage.BODY if stage is Stage.BODY or self.connection.never_left(end) else stage, error
            )
            return False
        self.end(current, Stage.MESSAGE, reply)
        return not self.is_over

    async def _send_large(self, envelope: Envelope, body: bytes) -> None:
        """Send the text of a large message at the server's speed. Raises as soon as the server refuses it."""
        self.connection.begin("the message text", self.body_seconds(envelope))
        for start in range(0, len(body), SMALL):
            self.connection.write(body[start : start + SMALL], replies=0)
            await self.connection.has_room()
            await asyncio.sleep(0)  # with large kernel buffers nothing else yields, and a refusal would stay unread
