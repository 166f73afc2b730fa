"""One SMTP session as a small state machine: from the connection to QUIT, one or more messages in between.

A session is opened, then `own_smtp.smtp.transfer` sends messages over it, one command at a time, pipelined or in
chunks; then it is closed.
"""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from enum import StrEnum
from itertools import accumulate

from own_smtp.errors import ForbiddenError, SessionError, TargetError, TargetRefusedError
from own_smtp.settings import Deadlines
from own_smtp.smtp.authentication import authenticate
from own_smtp.smtp.capabilities import NOTHING, Capabilities
from own_smtp.smtp.connection import Connection
from own_smtp.smtp.interruptions import UnaskedReplyError
from own_smtp.smtp.introduction import introduce
from own_smtp.smtp.network import CANNOT_BE_REACHED, Dialer, Target, dial
from own_smtp.smtp.redaction import LONGEST_REPLY
from own_smtp.smtp.replies.outcomes import HungUpError, SetupError, Stage, classify, interrupted
from own_smtp.smtp.replies.parser import ReplyError
from own_smtp.smtp.secret_redaction import Redactor
from own_smtp.smtp.tls import CertificateError, check_fingerprint, context_for
from own_smtp.smtp.trace import Observer, TraceLine, TraceStep, ignore
from own_smtp.smtp.values import Outcome, RelayProfile, Reply
from own_smtp.states import PauseReason, Security

__all__ = ["LONGEST_HANDSHAKE", "Resolve", "Session", "SessionState", "SetupError"]

log = logging.getLogger(__name__)

Resolve = Callable[[RelayProfile], Awaitable[Target]]
"""Finds the checked addresses of a relay. Raises `TargetError`."""

LONGEST_HANDSHAKE = 60.0
"""Seconds for the TLS handshake: no working server needs longer."""


class SessionState(StrEnum):
    """The phase of a session."""

    CONNECTING = "connecting"
    GREETING = "greeting"
    SECURING = "securing"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    CLOSED = "closed"


class Session:
    """A session with one relay.

    `observe` receives each step of the set-up and each line. Neither these nor any `repr` contain a secret.
    """

    def __init__(self, profile: RelayProfile, deadlines: Deadlines, observe: Observer = ignore) -> None:
        self.profile = profile
        self.deadlines = deadlines
        self.state = SessionState.CONNECTING
        self.capabilities: Capabilities = NOTHING
        self.server = profile.host
        self.greeting = ""
        """The text of the server's banner, unredacted: for comparisons only, never shown."""
        self.has_answered = False
        """Whether the server has replied to any message yet. Until then a lost connection was not an idle one."""
        self.says_helo = False
        """Whether to send HELO because the server hangs up at EHLO."""
        self.refuses_bdat = False
        """Whether it has refused BDAT although it offers CHUNKING."""
        self.certificate: bytes | None = None
        """The server's certificate (DER), even if its fingerprint was not the trusted one."""
        self.observe = observe
        self.is_observed = observe is not ignore
        """Whether there is an observer: only then are replies redacted, which long replies could make expensive."""
        self._connection: Connection | None = None
        credentials = profile.credentials
        self._redactor = Redactor([credentials.password] if credentials else [])
        self._transcript_redactor = Redactor([credentials.password, credentials.username] if credentials else [])

    def __repr__(self) -> str:
        return f"<Session with {self.server} {self.state}>"

    @property
    def connection(self) -> Connection:
        """The open connection."""
        if self._connection is None:
            raise SessionError("The session has no connection.")
        return self._connection

    @property
    def is_ready(self) -> bool:
        """Whether a message may be sent now."""
        return self.state is SessionState.READY and not self.connection.is_lost

    async def open(self, resolve: Resolve, dialer: Dialer = dial) -> None:
        """Connect, secure and authenticate. Raises `SetupError` after closing the connection."""
        try:
            await self._meet(resolve, dialer)
            if self.profile.credentials is not None:
                self.state = SessionState.AUTHENTICATING
                await authenticate(self, self.profile.credentials)
        except BaseException:
            self.drop()
            raise
        self.connection.rest()
        self.state = SessionState.READY

    async def close(self) -> None:
        """Send QUIT, wait briefly for the reply, and close. Never raises for server errors."""
        try:
            if self.is_ready and self.connection.is_quiet:
                self._keep_tls_session()
                self.connection.write(b"QUIT\r\n", replies=1)
                await self.connection.read("QUIT", self.deadlines.quit)
        except SessionError:
            pass  # all messages are settled: a connection reset after QUIT changes nothing
        finally:
            self.drop()

    def drop(self) -> None:
        """Close the connection without QUIT."""
        self.state = SessionState.CLOSED
        if self._connection is not None:
            self._connection.drop()

    # The set-up, step by step

    async def _meet(self, resolve: Resolve, dialer: Dialer) -> None:
        """Connect and greet; connect again and send HELO if the server hangs up at EHLO (RFC 5321, 3.2)."""
        await self._connect(resolve, dialer)
        try:
            await self._greet()
        except HungUpError:
            self.connection.drop()
            self.says_helo = True
            await self._connect(resolve, dialer)
            await self._greet()

    async def _connect(self, resolve: Resolve, dialer: Dialer) -> None:
        """Find the server's addresses and connect to one of them, within one deadline for both.

        All failures look the same and take the same time: an unknown name, a target that the policy refuses, a closed
        port and a filtered one. Anyone who could tell them apart could map networks.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self.deadlines.connect
        try:
            async with asyncio.timeout_at(until):
                target = await resolve(self.profile)
            connected = await dialer(target, until - clock())
        except ForbiddenError as error:
            raise self.broken(Stage.CONNECT, str(error), PauseReason.FORBIDDEN) from error
        except (OSError, TargetError) as error:
            await asyncio.sleep(until - clock())
            raise self._unreachable(_reason(error)) from error
        self._connection = connected.connection
        self.server = f"{self.profile.host} [{connected.address}]"
        text = f"Connected to {self.server}, port {self.profile.port}."
        self.observe(TraceStep(Stage.CONNECT, text, {"server": self.server}))

    def _unreachable(self, fact: str) -> SetupError:
        """Log the cause, and return an error that does not reveal it."""
        profile = self.profile
        where = (profile.relay_id, profile.host, profile.port, fact)
        log.warning("Relay %s: no connection to %s, port %s: %s", *where, extra={"relay_id": profile.relay_id})
        return self.broken(Stage.CONNECT, f"{profile.host} {CANNOT_BE_REACHED}.")

    def broken(self, stage: Stage, text: str | SessionError, pause: PauseReason | None = None) -> SetupError:
        """Return the error to raise when the set-up breaks off in `stage`."""
        return SetupError(self.interrupted(stage, text)._replace(pause=pause))

    def refused(self, stage: Stage, reply: Reply) -> SetupError:
        """Return the error to raise when a reply ends the set-up."""
        return SetupError(self.judge(stage, reply))

    # Everything that leaves a session is redacted. Inside, replies stay unredacted, because a password may be a word
    # that also occurs in ordinary replies.

    def judge(self, stage: Stage, reply: Reply) -> Outcome:
        """Return the outcome that a reply stands for."""
        outcome = classify(stage, reply, server=self.server)
        if outcome.reply is None:
            return outcome
        # Only the text of an outcome is stored, so the lines behind it need no redaction.
        behind = bisect_left(list(accumulate(map(len, reply.lines))), LONGEST_REPLY) + 1
        return outcome._replace(reply=self._redactor.reply(outcome.reply._replace(lines=reply.lines[:behind])))

    def interrupted(self, stage: Stage, why: str | SessionError) -> Outcome:
        """Return the outcome of a session that broke off in `stage`."""
        text = f"{why} It said: {why.reply.code} {why.reply.text}" if isinstance(why, UnaskedReplyError) else str(why)
        return interrupted(stage, self._redactor(text), server=self.server)

    def hide(self, text: str) -> str:
        """Remove the password from a complete word or line of the server."""
        return self._redactor.without(text)

    def show(self, reply: Reply) -> Reply:
        """Return a reply without the password."""
        return self._redactor.reply(reply)

    def _trace(self, sent: str, reply: Reply) -> None:
        """Pass command and redacted reply to observers, without the username as well."""
        if self.is_observed:
            self.observe(TraceLine(sent, self._transcript_redactor.reply(reply)))

    async def _greet(self) -> None:
        self.state = SessionState.GREETING
        if self.profile.security is Security.IMPLICIT:
            await self._secure()
        await self._read_banner()
        await introduce(self)
        if self.profile.security is Security.STARTTLS:
            await self._start_tls()
            await introduce(self)  # replies in plain text must be discarded (RFC 3207, 4.2)

    async def _read_banner(self) -> None:
        try:
            reply = await self.connection.read("the banner", self.deadlines.banner)
        except SessionError as error:
            raise self.broken(Stage.BANNER, error) from error
        self._trace("", reply)
        self.check(Stage.BANNER, reply)
        self.greeting = reply.text
        if self.is_observed:
            words = self.show(reply).text
            self.observe(TraceStep(Stage.BANNER, words, {"words": words}))

    async def _start_tls(self) -> None:
        if not self.capabilities.starttls:
            raise self.broken(Stage.STARTTLS, "The server does not offer STARTTLS.", PauseReason.NO_TLS)
        await self.expect(Stage.STARTTLS, b"STARTTLS\r\n")
        self.observe(TraceStep(Stage.STARTTLS, "The server is ready for TLS."))
        await self._secure()

    async def _secure(self) -> None:
        self.state = SessionState.SECURING
        context = context_for(self.profile.fingerprint)
        try:
            await self.connection.upgrade(context, self.profile.host, min(self.deadlines.command, LONGEST_HANDSHAKE))
            tls = self.connection.tls
            assert tls is not None
            self.certificate = tls.getpeercert(binary_form=True)
            check_fingerprint(tls, self.profile.fingerprint)
        except (ssl.SSLCertVerificationError, CertificateError) as error:
            text = getattr(error, "verify_message", "") or str(error)
            raise self.broken(Stage.TLS, text, PauseReason.CERTIFICATE) from error
        except (OSError, SessionError) as error:
            raise self.broken(Stage.TLS, f"No TLS: {_reason(error)}") from error
        text = f"{tls.version()} with a trusted certificate."
        self.observe(TraceStep(Stage.TLS, text, {"version": tls.version()}))

    def _keep_tls_session(self) -> None:
        tls = self.connection.tls
        if tls is not None:
            context_for(self.profile.fingerprint).keep_session(tls)

    # Commands and replies

    async def expect(self, stage: Stage, command: bytes, *, kind: int = 2, shown: str | None = None) -> Reply:
        """Send `command` and return its reply, whose code begins with `kind`.

        Raises `SetupError` for any other reply. Observers see `shown` in place of a command that contains a secret.
        """
        return self.check(stage, await self.ask(stage, command, shown), kind=kind)

    async def ask(self, stage: Stage, command: bytes, shown: str | None = None) -> Reply:
        """Send `command` and return its reply, whatever its code. Raises `SetupError` if there is none."""
        try:
            self.connection.write(command, replies=1)
            reply = await self.connection.read(stage.upper(), self.deadlines.command)
        except SessionError as error:
            raise self.broken(stage, error) from error
        if isinstance(self.connection.failure, ReplyError):
            raise self.broken(stage, self.connection.failure)
        self._trace(shown or command.decode("utf-8", "replace").strip(), reply)
        return reply

    def check(self, stage: Stage, reply: Reply, *, kind: int = 2) -> Reply:
        """Return the reply, or raise `SetupError` if its code does not begin with `kind`."""
        if reply.code // 100 != kind:
            raise self.refused(stage, reply)
        return reply


def _reason(error: Exception) -> str:
    if isinstance(error, TargetRefusedError):
        return "the platform's policy refuses it."
    if isinstance(error, TimeoutError):
        return "the server did not answer in time."
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return f"{os.strerror(error.errno)}."  # asyncio's own text repeats the address
    text = getattr(error, "reason", None) or str(error) or type(error).__name__
    return f"{text.removesuffix('.')}."
