"""One connection as a queue of replies: bytes out, replies in, one deadline for each phase as a whole.

RFC 5321, 4.5.3.2 has a timeout for each phase. A timeout for each read would let a server that sends one byte a second
hold a connection for ever; here the clock runs until the whole phase is over.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from collections import deque
from contextlib import suppress

from own_smtp.errors import SessionError
from own_smtp.smtp.interruptions import ConnectionLostError, TookTooLongError, UnaskedReplyError
from own_smtp.smtp.replies.parser import MAX_REPLY, ReplyError, ReplyParser
from own_smtp.smtp.tls import LARGEST_RECORD, ListeningTLS
from own_smtp.smtp.values import Reply

RECORD_OVERHEAD = 64
"""Upper bound of the octets that TLS adds to a record: header, tag, content type."""


POLL = 0.005
"""Seconds between two checks whether the TLS write buffer is empty."""


class Connection(asyncio.Protocol):
    """The connection to one server, from its banner on.

    Each write states how many replies it expects. An extra reply, a phase that takes too long and invalid input end the
    connection at once, so that a late reply can never be mistaken for the next one. Expected replies that arrived
    before the end can still be read. Replies are unredacted: the session removes secrets before it passes them on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = ReplyParser()
        self._replies: deque[Reply] = deque()
        self._owed = 1  # the banner
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._failure: SessionError | None = None
        self._deadline = 0.0
        self._phase = ""
        self._timer: asyncio.TimerHandle | None = None
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None
        self._unsent = 0
        self.position = 0
        """Octets written so far."""

    def __repr__(self) -> str:
        state = "lost" if self._failure else f"in phase {self._phase or 'idle'!r}"
        return f"<Connection {state}, {len(self._replies)} replies unread, {self._owed} owed>"

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._raw = self._use(transport)

    def data_received(self, data: bytes) -> None:
        if self._failure is not None:
            return
        try:
            for reply in self._parser.feed(data):
                if len(self._replies) >= self._owed:
                    raise UnaskedReplyError(reply)
                self._replies.append(reply)
        except SessionError as error:
            self._fail(error)
        if self._waiter is not None and self._replies:
            self._wake(self._waiter)
        if self._room is not None and self.is_answered:
            room, self._room = self._room, self._loop.create_future()
            self._wake(room)

    def eof_received(self) -> bool:
        self._fail(ConnectionLostError("The server closed the connection."))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._read_remaining()
        self._fail(ConnectionLostError(f"The connection was lost: {error}." if error else "The connection was closed."))

    def pause_writing(self) -> None:
        self._room = self._room or self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            self._wake(room)

    # Called by a session

    @property
    def failure(self) -> SessionError | None:
        """Why nothing more can be sent; `None` while the connection is usable."""
        return self._failure

    @property
    def is_lost(self) -> bool:
        """Whether nothing more can be sent."""
        return self._failure is not None

    @property
    def is_quiet(self) -> bool:
        """Whether every expected reply was read, and no part of another one has arrived."""
        return not self._owed and self._parser.is_between_replies

    @property
    def is_answered(self) -> bool:
        """Whether every expected reply has arrived, and at least one is unread."""
        return 0 < self._owed <= len(self._replies)

    @property
    def local_address(self) -> str:
        """The address that the server sees, unless a NAT translates it."""
        return str(self._get_transport().get_extra_info("sockname")[0])

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS layer; `None` without TLS."""
        return self._get_transport().get_extra_info("ssl_object") if self._transport else None

    def never_left(self, position: int) -> bool:
        """Whether, after a failure, some octet that was written before `position` certainly never left this process.

        Octets that were passed to the kernel may have arrived.
        """
        after = self.position - position
        if self._transport is not self._raw:
            after += RECORD_OVERHEAD * (2 + after // LARGEST_RECORD)
        return self._unsent > after

    def begin(self, phase: str, seconds: float) -> None:
        """Begin a phase with one deadline for all of it, in `seconds`."""
        self._phase = phase
        self._deadline = self._loop.time() + seconds
        if self._failure is not None:
            return
        if self._timer is not None:
            if self._timer.when() <= self._deadline:
                return  # it checks the new deadline when it fires
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def rest(self) -> None:
        """Stop the clock: no reply is expected for now."""
        self._deadline = float("inf")

    def write(self, data: bytes, *, replies: int) -> None:
        """Send `data`, for which so many replies are expected. Raises only if part of it certainly never leaves."""
        if not self._owed and not self._parser.is_between_replies:
            self._fail(ConnectionLostError("The server began an unexpected reply."))
        if self._failure is not None:
            raise self._failure
        self._owed += replies
        self._get_transport().write(data)
        self.position += len(data)
        if self._raw is not None and self._raw.is_closing():
            self._owed -= replies
            self._read_remaining()
            self._fail(ConnectionLostError("The connection was lost."))
            unasked = self._failure if isinstance(self._failure, UnaskedReplyError) else None
            raise unasked or ConnectionLostError("The connection was lost before anything was written.")

    def take(self) -> Reply | None:
        """Return the next expected reply if it has arrived; else `None`."""
        if not self._replies:
            return None
        self._owed -= 1
        return self._replies.popleft()

    async def read(self, phase: str, seconds: float) -> Reply:
        """Return the next expected reply. Raises `SessionError` if it does not arrive within `seconds`."""
        if not self._replies:
            self.begin(phase, seconds)
            await self._wait()
        self._owed -= 1
        return self._replies.popleft()

    async def _wait(self) -> None:
        while not self._replies:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    async def has_room(self) -> None:
        """Wait until all written octets have left this process.

        If the server replies to everything before that, it refuses the rest: then the connection ends here.
        """
        while self._room is not None and not (self._failure or self.is_answered):
            await asyncio.shield(self._room)
        while self._raw is not None and self._raw.get_write_buffer_size() and not (self._failure or self.is_answered):  # noqa: ASYNC110 -- under TLS asyncio reports only data that is not encrypted yet
            await asyncio.sleep(POLL)
        if self._failure is None and self.is_answered and self._has_unsent:
            self._fail(ConnectionLostError("The server answered before the end of the message."))
        if self._failure is not None:
            raise self._failure

    @property
    def _has_unsent(self) -> bool:
        return any(layer.get_write_buffer_size() for layer in self._layers)

    async def upgrade(self, context: ssl.SSLContext, name: str, seconds: float) -> None:
        """Start TLS. Plain text that arrived before is not accepted (RFC 3207, 6).

        Raises `OSError`, including `ssl.SSLError`, or `SessionError`.
        """
        if self._failure is not None:
            raise self._failure
        if self._replies or not self._parser.is_between_replies:
            raise ReplyError("The server sent plain text where TLS had to begin.")
        transport = await self._loop.start_tls(
            self._get_transport(), self, context, server_hostname=name, ssl_handshake_timeout=seconds
        )
        if transport is None:
            raise ConnectionLostError("The connection was closed while TLS was set up.")
        self._use(transport)

    def drop(self) -> None:
        """Abort the connection at once."""
        self._fail(ConnectionLostError("The connection was aborted."))

    # Failure and close

    def _read_remaining(self) -> None:
        """Read the bytes that the server sent before it closed: asyncio stops reading when writing fails."""
        sock = self._raw.get_extra_info("socket") if self._raw is not None and self._failure is None else None
        if sock is None or sock.fileno() < 0:
            return
        with suppress(OSError):  # no bytes are left, or they were lost with the connection; includes `SSLError`
            data = os.read(sock.fileno(), MAX_REPLY)
            tls = self.tls
            self.data_received(tls.decrypt(data) if isinstance(tls, ListeningTLS) else data)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline <= self._loop.time():
            self._fail(TookTooLongError(f"The server took too long for {self._phase}."))
        elif self._deadline != float("inf"):
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def _fail(self, error: SessionError) -> None:
        """End the connection: nothing more leaves this process, and the number of unsent octets is recorded."""
        if self._failure is not None:
            return
        self._failure = error
        if self._timer is not None:
            self._timer.cancel()
        self._cut()
        for waiter in (self._waiter, self._room):
            if waiter is not None:
                self._wake(waiter)

    def _cut(self) -> None:
        layers = self._layers
        self._unsent = sum(layer.get_write_buffer_size() for layer in layers)
        for layer in layers:
            layer.abort()

    @property
    def _layers(self) -> list[asyncio.Transport]:
        return [layer for layer in dict.fromkeys((self._transport, self._raw)) if layer is not None]

    def _use(self, transport: asyncio.Transport) -> asyncio.Transport:
        # With these limits `has_room` returns only after the kernel has accepted everything.
        transport.set_write_buffer_limits(high=1, low=0)
        self._transport = transport
        return transport

    def _get_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionLostError("There is no connection.")
        return self._transport

    @staticmethod
    def _wake(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)
