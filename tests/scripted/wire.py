"""A socket that records its traffic, and the pieces in which it came."""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby, pairwise


def readable(sockets: list[socket.socket], timeout: float | None = None) -> list[socket.socket]:
    """Wait up to `timeout` seconds, or for ever, and return which sockets can be read, whatever their numbers."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    ready = {number for number, _ in poll.poll(None if timeout is None else timeout * 1000)}
    return [sock for sock in sockets if sock.fileno() in ready]


SO_TIMESTAMPNS = 35
"""Linux's number, which Python does not name."""


class Gone(Exception):
    """The connection is over: because of the script, the client, or the server's closing."""


class Record:
    """Everything that went over one connection, decrypted, in the order of the server's reads and writes."""

    def __init__(self, notify: Callable[[], None]) -> None:
        self.entries: list[tuple[str, bytes]] = []
        """`("C", bytes)` for each read, `("S", bytes)` for each write, `("TLS", b"")` for a handshake."""
        self._notify = notify

    def add(self, who: str, data: bytes = b"") -> None:
        self.entries.append((who, data))
        self._notify()

    @property
    def groups(self) -> list[bytes]:
        """What the client said between two writes of the server."""
        return [data for who, data in self._blocks() if who == "C"]

    @property
    def round_trips(self) -> int:
        """How often the server answered after the client had said something."""
        speakers = [who for who, _ in self._blocks() if who != "TLS"]
        return sum(pair == ("C", "S") for pair in pairwise(speakers))

    def said(self, who: str) -> bytes:
        """All that the client ("C") or the server ("S") said."""
        return b"".join(data for speaker, data in self.entries if speaker == who)

    def _blocks(self) -> list[tuple[str, bytes]]:
        blocks = groupby(list(self.entries), key=lambda entry: entry[0])
        return [(who, b"".join(data for _, data in block)) for who, block in blocks]


class Wire:
    """One connection, read and written by its own thread; `interject` and `stop` may be called by any."""

    def __init__(self, sock: socket.socket, record: Record, *, gather: float) -> None:
        self.sock = sock
        self.record = record
        self.gather = gather
        self.buffer = bytearray()
        self.stopped = threading.Event()
        self.arrived = 0.0
        """When the kernel got what was read last, in seconds since 1970, however late it was read; 0 under TLS."""
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._out = bytearray()
        self._asked: deque[Callable[[], None]] = deque()
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._gates: list[threading.Event] = []
        self._releasing = threading.Lock()

    # Reading: whatever is queued goes out before the wire waits for more.

    def read_line(self) -> bytes:
        """Return the next line with its line end."""
        return self.read_until(b"\n")

    def read_until(self, mark: bytes) -> bytes:
        searched = 0
        while (found := self.buffer.find(mark, searched)) < 0:
            searched = max(0, len(self.buffer) - len(mark) + 1)
            self._fill()
        return self._take(found + len(mark))

    def read_exact(self, size: int) -> bytes:
        while len(self.buffer) < size:
            self._fill()
        return self._take(size)

    def _take(self, size: int) -> bytes:
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def _fill(self) -> None:
        if not self._is_readable(self.gather):
            self.flush()
            while not self._is_readable(None):
                self._do_what_was_asked()
        data = self._receive()
        if not data:
            raise Gone("closed by the client")
        self.record.add("C", data)
        self.buffer += data

    def _receive(self) -> bytes:
        if isinstance(self.sock, ssl.SSLSocket):
            return self.sock.recv(1 << 16)
        data, notes, _flags, _address = self.sock.recvmsg(1 << 16, 64)
        for level, kind, note in notes:
            if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
                seconds, nanoseconds = struct.unpack("qq", note)
                self.arrived = seconds + nanoseconds / 1e9
        return data

    def _is_readable(self, timeout: float | None) -> bool:
        if isinstance(self.sock, ssl.SSLSocket) and self.sock.pending():
            return True
        watched = [self.sock, self._wake_reader] if timeout is None else [self.sock]
        return self.sock in readable(watched, timeout)

    def _do_what_was_asked(self) -> None:
        self._wake_reader.recv(1 << 10)
        if self.stopped.is_set():
            raise Gone("the server was closed")
        while self._asked:
            self._asked.popleft()()

    # Writing

    def queue(self, data: bytes) -> None:
        """Send this before the next wait for the client, as a server with PIPELINING does (RFC 2920)."""
        self._out += data

    def flush(self) -> None:
        data = bytes(self._out)
        self._out.clear()
        if data:
            self.send(data)

    def send(self, data: bytes, *, recorded: bool = True) -> None:
        """Send this now, after the queued data."""
        self.flush()
        if recorded:
            self.record.add("S", data)
        self.sock.sendall(data)

    # Time

    def pause(self, seconds: float) -> None:
        if self.stopped.wait(seconds):
            raise Gone("the server was closed")

    def wait_for(self, event: threading.Event) -> None:
        self._gates.append(event)
        if not self.stopped.is_set():
            event.wait()
        if self.stopped.is_set():
            raise Gone("the server was closed")

    # Changing and ending

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.flush()
        # The wrapped socket is kept before the handshake, so that `stop` can end one that hangs.
        self.sock = context.wrap_socket(self.sock, server_side=True, do_handshake_on_connect=False)
        self.sock.do_handshake()
        self.record.add("TLS")

    def interject(self, task: Callable[[], None]) -> None:
        """Make the connection's own thread do this as soon as it waits for the client."""
        self._asked.append(task)
        self._wake_writer.send(b"!")

    def end(self, *, reset: bool = False) -> None:
        """Hang up. Called by the connection's own thread."""
        self.flush()
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            self._shut()
        self.sock.close()

    def stop(self) -> None:
        """Make the connection's thread end, whatever it is waiting for."""
        self.stopped.set()
        for gate in tuple(self._gates):
            gate.set()
        with self._releasing:
            if self._wake_writer.fileno() >= 0:
                self._wake_writer.send(b"!")
                self._shut()

    def release(self) -> None:
        with self._releasing:
            self.sock.close()
            self._wake_reader.close()
            self._wake_writer.close()

    def _shut(self) -> None:
        with suppress(OSError):  # The other side may have been faster.
            # Not SSLSocket.shutdown: it drops the TLS state that the other thread is using.
            socket.socket.shutdown(self.sock, socket.SHUT_RDWR)
