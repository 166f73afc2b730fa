"""One connection as a queue of replies: bytes out, replies in, one deadline for each phase as a whole.

RFC 5321, 4.5.3.2 gives each phase its time. A time-out per read would let a server that sends one byte a second hold
a connection for ever; here the clock runs until the whole phase is over.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from own_smtp.errors import SessionError
from own_smtp.network import Target
from own_smtp.profiles import Reply
from own_smtp.replies import ReplyError, ReplyParser

RECORD_OVERHEAD = 64
"""More than TLS adds to a record: header, tag, content type."""


class ConnectionLostError(SessionError):
    """The connection ended, or a phase took longer than it may."""


class Wire(asyncio.Protocol):
    """The connection to one server. Every failure ends it: a late reply can never be taken for the next one."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = ReplyParser()
        self._replies: deque[Reply] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None
        self._failure: SessionError | None = None
        self._deadline = 0.0
        self._phase = ""
        self._timer: asyncio.TimerHandle | None = None
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None

    def __repr__(self) -> str:
        state = "lost" if self._failure else f"in phase {self._phase or 'idle'!r}"
        return f"<Wire {state}, {len(self._replies)} replies unread>"

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._raw = self._raw or transport

    def data_received(self, data: bytes) -> None:
        try:
            self._replies.extend(self._parser.feed(data))
        except ReplyError as error:
            self._fail(error)
            return
        if self._waiter is not None and self._replies:
            self._wake(self._waiter)

    def eof_received(self) -> bool:
        self._fail(ConnectionLostError("The server closed the connection."))
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(ConnectionLostError(f"The connection was lost: {error}." if error else "The connection was closed."))

    def pause_writing(self) -> None:
        self._room = self._room or self._loop.create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None:
            self._wake(room)

    # What a session asks

    @property
    def is_lost(self) -> bool:
        """Whether nothing more can be sent or read."""
        return self._failure is not None

    @property
    def is_quiet(self) -> bool:
        """Whether the server has said nothing that was not asked for."""
        return not self._replies and self._parser.is_between_replies

    @property
    def local_address(self) -> str:
        """The address that the server sees, unless something translates it."""
        return str(self._get_transport().get_extra_info("sockname")[0])

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS layer, when there is one."""
        return self._get_transport().get_extra_info("ssl_object") if self._transport else None

    def has_unsent(self, after: int) -> bool:
        """Whether, `after` bytes before the end of what was written, something never left this process.

        Only a certain yes counts: what the kernel has taken may have arrived.
        """
        if self._raw is None or self._transport is None:
            return False
        waiting = self._raw.get_write_buffer_size()
        if self._transport is not self._raw:
            return waiting + self._transport.get_write_buffer_size() > after + RECORD_OVERHEAD * (1 + after // 16384)
        return waiting > after

    def begin(self, phase: str, seconds: float) -> None:
        """Give what follows a deadline as a whole."""
        self._phase = phase
        self._deadline = self._loop.time() + seconds
        if self._timer is None and self._failure is None:
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)
        elif self._timer is not None and self._deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(self._deadline, self._check_deadline)

    def rest(self) -> None:
        """Stop the clock: nothing is expected for now."""
        self._deadline = float("inf")

    def write(self, data: bytes) -> None:
        """Send `data`, or raise why the connection is of no use any more."""
        if self._failure is not None:
            raise self._failure
        self._get_transport().write(data)

    async def read(self) -> Reply:
        """Return the next reply, or raise why there will be none."""
        while not self._replies:
            if self._failure is not None:
                raise self._failure
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._replies.popleft()

    async def has_room(self) -> None:
        """Wait until the server has read enough for more to be written."""
        while self._room is not None and self._failure is None:
            await asyncio.shield(self._room)
        if self._failure is not None:
            raise self._failure

    async def upgrade(self, context: ssl.SSLContext, name: str, seconds: float) -> None:
        """Put TLS under the conversation. What came in plain text before is not believed after (RFC 3207, 6)."""
        if not self.is_quiet:
            raise ReplyError("The server sent something between STARTTLS and TLS.")
        transport = await self._loop.start_tls(
            self._get_transport(), self, context, server_hostname=name, ssl_handshake_timeout=seconds
        )
        if transport is None:
            raise ConnectionLostError("The connection was closed while TLS was set up.")
        self._transport = transport

    def abort(self) -> None:
        """End the connection without ceremony."""
        self._fail(ConnectionLostError("The connection was given up."))

    def close(self) -> None:
        """End the connection after what was written has left."""
        self._stop_timer()
        if self._transport is not None:
            self._transport.close()

    # How it ends

    def _check_deadline(self) -> None:
        self._timer = None
        if self._deadline > self._loop.time():
            if self._deadline != float("inf"):
                self._timer = self._loop.call_at(self._deadline, self._check_deadline)
            return
        self._fail(ConnectionLostError(f"The server took too long for {self._phase}."))

    def _fail(self, error: SessionError) -> None:
        if self._failure is not None:
            return
        self._failure = error
        self._stop_timer()
        for waiter in (self._waiter, self._room):
            if waiter is not None:
                self._wake(waiter)

    def drop(self) -> None:
        """Let go of the socket at once; nobody may use the wire afterwards."""
        self.abort()
        for transport in (self._transport, self._raw):
            if transport is not None:
                transport.abort()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _get_transport(self) -> asyncio.Transport:
        if self._transport is None:
            raise ConnectionLostError("There is no connection.")
        return self._transport

    @staticmethod
    def _wake(future: asyncio.Future[None]) -> None:
        if not future.done():
            future.set_result(None)


@dataclass(frozen=True, slots=True)
class Connected:
    """An open connection and the address that answered."""

    wire: Wire
    address: str


class Dialer(Protocol):
    """Opens connections. Tests hand in one that goes elsewhere."""

    async def __call__(self, target: Target, seconds: float) -> Connected:
        """Connect within `seconds` in all, or raise `OSError` or `TimeoutError`."""


async def dial(target: Target, seconds: float) -> Connected:
    """Connect to the first of the checked addresses that answers; each gets its share of the time."""
    loop = asyncio.get_running_loop()
    failure: OSError = ConnectionRefusedError("no address")
    for address in target.addresses:
        try:
            async with asyncio.timeout(seconds / len(target.addresses)):
                _, wire = await loop.create_connection(lambda: Wire(loop), address, target.port)
                return Connected(wire, address)
        except OSError as error:
            failure = error
    raise failure
