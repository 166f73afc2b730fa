"""What a scripted server can do in the place of a proper reply.

A step is one of

- `str`: a whole reply; line ends are made CRLF, and the server's state follows its first digit;
- `bytes`: sent exactly as they are, and no reply as far as the server's own state goes (half a line, say);
- `PASS`: what the server would have done without a script;
- `KEEP`: what a positive reply would have led to (the message is kept, say), but nothing is said;
- an `Act`: `CLOSE`, `RESET`, `HANG`, `Wait(event)`, `Trickle(...)`, `Endless(...)`, `CloseAfter(n)`;
- a function of the `Moment` that returns a step or several.

A behaviour is one step or a tuple of them, done in order.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from tests.scripted.wire import Gone, Wire


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The position in a session. All numbers start at 1."""

    phase: str
    connection: int
    message: int
    """The number of MAIL commands that the server has seen so far, this one included."""
    turn: int
    """The same on this connection alone."""
    recipients: tuple[str, ...] = ()
    """The recipient of a RCPT; later all that were asked for in this transaction."""
    line: str = ""
    """The command line, or the last line of an AUTH exchange."""
    arrived: float = 0.0
    """When the kernel got it, in seconds since 1970; 0 under TLS."""


class Act(Protocol):
    """Something other than a reply."""

    def perform(self, wire: Wire) -> None:
        """Do it; raise `Gone` when the connection is over."""


Step = str | bytes | Act | Callable[[Moment], "Behaviour"]
Behaviour = Step | tuple[Step, ...]


@dataclass(frozen=True)
class Marker:
    """A step that the conversation itself knows how to do."""

    name: str

    def perform(self, wire: Wire) -> None:
        raise AssertionError(f"{self.name} is done by the conversation, not on the wire")


PASS = Marker("PASS")
KEEP = Marker("KEEP")


@dataclass(frozen=True)
class _Close:
    reset: bool = False

    def perform(self, wire: Wire) -> None:
        wire.end(reset=self.reset)
        raise Gone("closed by the script")


CLOSE = _Close()
"""Close in good order, after what was said before."""
RESET = _Close(reset=True)
"""Close with a TCP reset (SO_LINGER 0)."""


@dataclass(frozen=True)
class Wait:
    """Go on when the test sets the event. A server that is closed lets all go."""

    event: threading.Event = field(default_factory=threading.Event)

    def perform(self, wire: Wire) -> None:
        wire.flush()
        wire.wait_for(self.event)


@dataclass(frozen=True)
class _Hang:
    def perform(self, wire: Wire) -> None:
        wire.flush()
        wire.wait_for(threading.Event())


HANG = _Hang()
"""Neither read nor write any more, and keep the connection open until the server is closed."""


@dataclass(frozen=True)
class Trickle:
    """Send a whole reply byte by byte."""

    text: str
    interval: float = 0.02
    """Seconds between two bytes."""

    def perform(self, wire: Wire) -> None:
        for byte in crlf(self.text):
            wire.send(bytes([byte]))
            wire.pause(self.interval)


@dataclass(frozen=True)
class Endless:
    """Send the same bytes over and over, until the client hangs up."""

    data: bytes = b"220-more\r\n"

    def perform(self, wire: Wire) -> None:
        while True:
            wire.send(self.data * 100, recorded=False)


@dataclass(frozen=True)
class CloseAfter:
    """Read this many more bytes (part of a message, say), then close."""

    size: int
    reset: bool = False

    def perform(self, wire: Wire) -> None:
        wire.read_exact(self.size)
        _Close(reset=self.reset).perform(wire)


GARBAGE = b"\xff\xfe\x00\x1b[31mno\x07 reply at all\r\n"


def crlf(text: str) -> bytes:
    """Return a reply's bytes: `\\n` between its lines becomes CRLF, and one is added at the end."""
    return "".join(line + "\r\n" for line in text.split("\n")).encode("utf-8", "surrogateescape")


def multiline(code: int, *lines: str) -> str:
    """Return a reply of several lines (RFC 5321, 4.2.1)."""
    *most, last = lines
    return "\n".join([*(f"{code}-{line}" for line in most), f"{code} {last}"])


def huge_line(code: int = 250, size: int = 1 << 20) -> str:
    """Return a reply of one line that is much too long."""
    return f"{code} " + "x" * size
