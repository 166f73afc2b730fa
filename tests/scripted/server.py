"""The server that follows a test's script, on loopback, in threads of its own."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from tests.scripted.acts import PASS, Behaviour, Moment
from tests.scripted.conversation import Conversation
from tests.scripted.values import AuthAttempt, Copy
from tests.scripted.wire import Record, Wire, readable

EXTENSIONS = ("PIPELINING", "SIZE 36700160", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES", "CHUNKING")
PHASES = frozenset(
    {"connect", "tls", "banner", "ehlo", "helo", "starttls", "auth_start", "auth", "auth_cancelled"}
    | {"mail", "rcpt", "data", "body", "bdat", "dot", "rset", "noop", "quit", "other"}
)


@dataclass(slots=True, kw_only=True)
class Rule:
    """A behaviour at a phase, with conditions. A condition that is `None` does not count."""

    phase: str
    behaviour: Behaviour
    connection: int | None = None
    message: int | None = None
    turn: int | None = None
    recipient: str | None = None
    when: Callable[[Moment], bool] | None = None
    times: int | None = None
    hits: int = 0
    """How often it was applied."""

    def applies(self, moment: Moment) -> bool:
        numbers = ((self.connection, moment.connection), (self.message, moment.message), (self.turn, moment.turn))
        return (
            self.phase == moment.phase
            and (self.times is None or self.hits < self.times)
            and all(wanted is None or wanted == number for wanted, number in numbers)
            and (self.recipient is None or self.recipient in moment.recipients)
            and (self.when is None or self.when(moment))
        )


class ScriptedServer:
    """An SMTP server on 127.0.0.1 that behaves well but where its script says otherwise.

    A context manager. From tests without an event loop and from those with one alike: it lives in threads, so an
    asynchronous test calls it directly, except for `wait_for`, which blocks (`await asyncio.to_thread(...)`).

    - `tls`: with it STARTTLS is offered, or with `implicit_tls` the connection begins with it;
    - `credentials`: user names and passwords that AUTH takes; `None` takes all. AUTH is offered when there are
      `mechanisms`, and with `tls` only under TLS;
    - `extensions`: what EHLO offers beside STARTTLS and AUTH; `extensions_before_tls` where that differs before TLS;
    - `gather`: seconds to wait for more before answering, so that all that a client sends without waiting for a reply
      is one group; a latency of its own, too;
    - `receive_buffer`: in bytes, small where a server that does not read must be felt soon.
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        credentials: Mapping[str, str] | None = None,
        mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
        extensions: Sequence[str] = EXTENSIONS,
        extensions_before_tls: Sequence[str] | None = None,
        gather: float = 0.0,
        receive_buffer: int | None = None,
        name: str = "mail.example.test",
        port: int = 0,
    ) -> None:
        self.tls = tls
        self.implicit_tls = implicit_tls
        self.credentials = credentials
        self.mechanisms = mechanisms
        self.extensions = extensions
        self.extensions_before_tls = extensions if extensions_before_tls is None else extensions_before_tls
        self.gather = gather
        self.name = name
        self.connections: list[Conversation] = []
        self.copies: list[Copy] = []
        """Every message taken, in the order of their final dots."""
        self.attempts: list[AuthAttempt] = []
        self.violations: list[str] = []
        """Where a client broke the rules of SMTP."""
        self.messages = 0
        """How many MAIL commands came."""
        self._rules: list[Rule] = []
        self._changed = threading.Condition()
        self._listener = _listener(port, receive_buffer)
        self.host, self.port = self._listener.getsockname()[:2]
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._threads = [threading.Thread(target=self._accept, name=f"scripted:{self.port}", daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop listening, end every connection and wait for the threads. A second call does nothing."""
        if self._wake_writer.fileno() < 0:
            return
        self._wake_writer.close()
        self._threads[0].join()
        for conversation in self.connections:
            if conversation.ended is None:
                conversation.wire.stop()
        for thread in self._threads[1:]:
            thread.join()
        self._wake_reader.close()

    # The script

    def on(
        self,
        phase: str,
        behaviour: Behaviour,
        *,
        connection: int | None = None,
        message: int | None = None,
        turn: int | None = None,
        recipient: str | None = None,
        when: Callable[[Moment], bool] | None = None,
        times: int | None = None,
    ) -> Rule:
        """Do `behaviour` at `phase`, where all the conditions given hold. Of several rules the latest one wins.

        `message` and `turn` count MAIL commands, on the server and on the connection. A `recipient` narrows `rcpt` to
        one address and later phases to transactions with it. The phases are `connect` (accepted), `tls` (before the
        handshake), `banner`, `ehlo`, `helo`, `starttls`, `auth_start` (at the command), `auth` (at the verdict),
        `auth_cancelled`, `mail`, `rcpt`, `data`, `body` (before reading the message or a chunk), `bdat` (a chunk but
        the last), `dot` (the whole message is there), `rset`, `noop`, `quit`, `other`.
        """
        if phase not in PHASES:
            raise ValueError(f"{phase!r} is none of {', '.join(sorted(PHASES))}")
        rule = Rule(
            phase=phase,
            behaviour=behaviour,
            connection=connection,
            message=message,
            turn=turn,
            recipient=recipient,
            when=when,
            times=times,
        )
        self._rules.insert(0, rule)
        return rule

    def behaviour(self, moment: Moment) -> Behaviour:
        """Return the script's behaviour, and count it."""
        with self._changed:
            rule = next((rule for rule in self._rules if rule.applies(moment)), None)
            if rule is None:
                return PASS
            rule.hits += 1
            self._changed.notify_all()
            return rule.behaviour

    def offers(self, *, encrypted: bool) -> list[str]:
        """Return what EHLO offers."""
        is_ready = encrypted or self.tls is None
        offers = [*(self.extensions if is_ready else self.extensions_before_tls)]
        if self.tls and not encrypted:
            offers.append("STARTTLS")
        if self.mechanisms and is_ready:
            offers.append("AUTH " + " ".join(self.mechanisms))
        return offers

    # The record

    @property
    def commands(self) -> list[str]:
        """Every command line of every connection, connection by connection."""
        return [line for conversation in self.connections for line in conversation.commands]

    @property
    def round_trips(self) -> int:
        return sum(conversation.record.round_trips for conversation in self.connections)

    def wait_for(self, condition: Callable[[], object], timeout: float = 10.0) -> None:
        """Wait until the condition holds, checked after every event; fail after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(condition, timeout):
                raise AssertionError(f"It did not happen within {timeout} s; commands so far: {self.commands}")

    def notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def keep(self, copy: Copy) -> None:
        with self._changed:
            self.copies.append(copy)
            self._changed.notify_all()

    def count_message(self) -> None:
        with self._changed:
            self.messages += 1

    # Connections

    def _accept(self) -> None:
        with self._listener:
            while self._wake_reader not in readable([self._listener, self._wake_reader]):
                self._serve(self._listener.accept()[0])

    def _serve(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(sock, Record(self.notify), gather=self.gather)
        conversation = Conversation(self, wire, len(self.connections) + 1)
        self.connections.append(conversation)
        thread = threading.Thread(
            target=conversation.run, name=f"scripted:{self.port}:{conversation.number}", daemon=True
        )
        self._threads.append(thread)
        thread.start()


def _listener(port: int, receive_buffer: int | None) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if receive_buffer:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    listener.bind(("127.0.0.1", port))
    listener.listen(128)
    return listener
