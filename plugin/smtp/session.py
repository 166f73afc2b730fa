"""One SMTP conversation as a small state machine: from the connection to QUIT, one or more messages in between.

A session is opened, then delivers what its supply gives it, then closes. How messages are put on the wire, one reply
at a time, pipelined or in chunks, is up to `own_smtp.smtp.transfer`.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import ssl
from collections.abc import Awaitable, Callable
from enum import StrEnum

from own_smtp.errors import ForbiddenError, SessionError, TargetError, TargetRefusedError
from own_smtp.settings import Deadlines
from own_smtp.smtp.capabilities import NOTHING, Capabilities, parse_ehlo
from own_smtp.smtp.connection import Connection, Dialer, dial
from own_smtp.smtp.network import CANNOT_BE_REACHED, Target
from own_smtp.smtp.outcomes import Stage, classify, interrupted
from own_smtp.smtp.redaction import REMOVED, Redactor
from own_smtp.smtp.tls import CertificateError, check_fingerprint, context_for
from own_smtp.smtp.trace import Observer, TraceLine, TraceStep, ignore
from own_smtp.smtp.values import Credentials, Outcome, RelayProfile, Reply
from own_smtp.states import PauseReason, Security

log = logging.getLogger(__name__)

Resolve = Callable[[RelayProfile], Awaitable[Target]]
"""Finds the checked addresses of a relay. Raises `TargetError`."""


LONGEST_HANDSHAKE = 60.0
"""Seconds for TLS to be set up: no server that means it needs longer."""


class SessionState(StrEnum):
    """Where a conversation is."""

    CONNECTING = "connecting"
    GREETING = "greeting"
    SECURING = "securing"
    AUTHENTICATING = "authenticating"
    READY = "ready"
    CLOSED = "closed"


class SetupError(SessionError):
    """There is no usable conversation with the relay. `outcome` says why, and what it means."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.stage}: {outcome.words}")
        self.outcome = outcome


class Session:
    """A conversation with one relay.

    `observe` is told each step of the set-up and each line. Nothing that it is told, and no `repr`, holds a secret.
    """

    def __init__(self, profile: RelayProfile, deadlines: Deadlines, observe: Observer = ignore) -> None:
        self.profile = profile
        self.deadlines = deadlines
        self.state = SessionState.CONNECTING
        self.capabilities: Capabilities = NOTHING
        self.server = profile.host
        self.greeting = ""
        """The server's first words."""
        self.has_answered = False
        """Whether the server has replied to any message yet. Until then a lost connection is not an idle one."""
        self.certificate: bytes | None = None
        """The certificate that the server showed, also one that was not trusted by its fingerprint (DER)."""
        self._observe = observe
        self._connection: Connection | None = None

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
        """Connect, secure and authenticate. Raises `SetupError` and leaves nothing open then."""
        try:
            await self._connect(resolve, dialer)
            await self._greet()
            await self._authenticate()
        except BaseException:
            self.drop()
            raise
        self.connection.rest()
        self.state = SessionState.READY

    async def close(self) -> None:
        """Say QUIT, wait a moment for the answer, and let go. Never raises for what the server does."""
        try:
            if self.is_ready and self.connection.is_quiet:
                self._keep_tls_session()
                self.connection.write(b"QUIT\r\n", replies=1)
                await self.connection.read("QUIT", self.deadlines.quit)
        except SessionError:
            pass  # everything was settled before: a reset in answer to QUIT changes nothing
        finally:
            self.drop()

    def drop(self) -> None:
        """Let go of the connection without a word."""
        self.state = SessionState.CLOSED
        if self._connection is not None:
            self._connection.drop()

    # The set-up, step by step

    async def _connect(self, resolve: Resolve, dialer: Dialer) -> None:
        """Find the server's addresses and connect to one of them, within the deadline for both.

        Whatever keeps that from happening looks the same and takes the same time: a name that there is not, a target
        that the policy refuses, a closed port and a filtered one. Who could tell them apart could map networks.
        """
        clock = asyncio.get_running_loop().time
        until = clock() + self.deadlines.connect
        try:
            async with asyncio.timeout_at(until):
                target = await resolve(self.profile)
            connected = await dialer(target, until - clock())
        except ForbiddenError as error:
            raise self._broken(Stage.CONNECT, str(error), PauseReason.FORBIDDEN) from error
        except (OSError, TargetError) as error:
            await asyncio.sleep(until - clock())
            raise self._unreachable(_reason(error)) from error
        self._connection = connected.connection
        if self.profile.credentials is not None:
            self._connection.hide(Redactor([self.profile.credentials.password]))
        self.server = f"{self.profile.host} [{connected.address}]"
        text = f"Connected to {self.server}, port {self.profile.port}."
        self._observe(TraceStep(Stage.CONNECT, text, {"server": self.server}))

    def _unreachable(self, fact: str) -> SetupError:
        """Only the log has the fact."""
        profile = self.profile
        where = (profile.relay_id, profile.host, profile.port, fact)
        log.warning("Relay %s: no connection to %s, port %s: %s", *where, extra={"relay_id": profile.relay_id})
        return self._broken(Stage.CONNECT, f"{profile.host} {CANNOT_BE_REACHED}.")

    def _broken(self, stage: Stage, text: str, pause: PauseReason | None = None) -> SetupError:
        return SetupError(interrupted(stage, text, server=self.server)._replace(pause=pause))

    async def _greet(self) -> None:
        self.state = SessionState.GREETING
        if self.profile.security is Security.IMPLICIT:
            await self._secure()
        await self._read_banner()
        await self._say_ehlo()
        if self.profile.security is Security.STARTTLS:
            await self._start_tls()
            await self._say_ehlo()  # what was said in plain text is forgotten (RFC 3207, 4.2)

    async def _read_banner(self) -> None:
        try:
            reply = await self.connection.read("the banner", self.deadlines.banner)
        except SessionError as error:
            raise self._broken(Stage.BANNER, str(error)) from error
        self._observe(TraceLine("", reply))
        self._check(Stage.BANNER, reply)
        self.greeting = reply.text
        self._observe(TraceStep(Stage.BANNER, reply.text, {"words": reply.text}))

    async def _say_ehlo(self) -> None:
        name = self.profile.ehlo_name or _address_literal(self.connection.local_address)
        try:
            reply = await self.expect(Stage.EHLO, f"EHLO {name}\r\n".encode("ascii"))
            self.capabilities = parse_ehlo(reply)
        except SetupError as error:
            refusal = error.outcome.reply
            if refusal is None or refusal.code not in {500, 502}:
                raise
            reply = await self.expect(Stage.EHLO, f"HELO {name}\r\n".encode("ascii"))
            self.capabilities = NOTHING
        offers = list(reply.lines[1:])
        self._observe(TraceStep(Stage.EHLO, f"Introduced as {name}.", {"name": name, "offers": offers}))

    async def _start_tls(self) -> None:
        if not self.capabilities.starttls:
            raise self._broken(Stage.STARTTLS, "The server does not offer STARTTLS.", PauseReason.NO_TLS)
        await self.expect(Stage.STARTTLS, b"STARTTLS\r\n")
        self._observe(TraceStep(Stage.STARTTLS, "The server is ready for TLS."))
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
            raise self._broken(Stage.TLS, text, PauseReason.CERTIFICATE) from error
        except (OSError, SessionError) as error:
            raise self._broken(Stage.TLS, f"No TLS: {_reason(error)}") from error
        text = f"{tls.version()} with a certificate that is trusted."
        self._observe(TraceStep(Stage.TLS, text, {"version": tls.version()}))

    def _keep_tls_session(self) -> None:
        tls = self.connection.tls
        if tls is not None:
            context_for(self.profile.fingerprint).keep_session(tls)

    async def _authenticate(self) -> None:
        credentials = self.profile.credentials
        if credentials is None:
            return
        self.state = SessionState.AUTHENTICATING
        if self.connection.tls is None:
            raise self._broken(Stage.AUTH, "A password is never sent without TLS.", PauseReason.NO_TLS)
        if "PLAIN" in self.capabilities.auth:
            mechanism = "PLAIN"
            await self._auth_plain(credentials)
        elif "LOGIN" in self.capabilities.auth:
            mechanism = "LOGIN"
            await self._auth_login(credentials)
        else:
            raise self._broken(Stage.AUTH, "The server offers neither PLAIN nor LOGIN.", PauseReason.NO_AUTH)
        self._observe(TraceStep(Stage.AUTH, f"Signed in as {credentials.username}.", {"mechanism": mechanism}))

    async def _auth_plain(self, credentials: Credentials) -> None:
        """RFC 4616, with the initial response of RFC 4954: one exchange, one attempt."""
        token = _base64(f"\0{credentials.username}\0{credentials.password}")
        await self._finish_auth(b"AUTH PLAIN " + token, shown=f"AUTH PLAIN {REMOVED}")

    async def _auth_login(self, credentials: Credentials) -> None:
        """The LOGIN mechanism, undocumented but wide-spread: the server asks for the name, then for the password."""
        await self.expect(Stage.AUTH, b"AUTH LOGIN\r\n", kind=3)
        await self.expect(Stage.AUTH, _base64(credentials.username) + b"\r\n", kind=3, shown=REMOVED)
        await self._finish_auth(_base64(credentials.password), shown=REMOVED)

    async def _finish_auth(self, line: bytes, *, shown: str) -> None:
        """Send the last line of the exchange. A server that asks for more gets `*`, which ends it (RFC 4954, 4)."""
        reply = await self._ask(Stage.AUTH, line + b"\r\n", shown)
        if reply.code == 334:
            raise SetupError(classify(Stage.AUTH, await self._ask(Stage.AUTH, b"*\r\n"), server=self.server))
        self._check(Stage.AUTH, reply)

    async def expect(self, stage: Stage, command: bytes, *, kind: int = 2, shown: str | None = None) -> Reply:
        """Send `command` and return its reply, whose code begins with `kind`.

        Raises `SetupError` with what anything else means. `shown` is what observers see of a command with a secret.
        """
        return self._check(stage, await self._ask(stage, command, shown), kind=kind)

    async def _ask(self, stage: Stage, command: bytes, shown: str | None = None) -> Reply:
        try:
            self.connection.write(command, replies=1)
            reply = await self.connection.read(stage.upper(), self.deadlines.command)
        except SessionError as error:
            raise self._broken(stage, str(error)) from error
        self._observe(TraceLine(shown or command.decode("utf-8", "replace").strip(), reply))
        return reply

    def _check(self, stage: Stage, reply: Reply, *, kind: int = 2) -> Reply:
        if reply.code // 100 != kind:
            raise SetupError(classify(stage, reply, server=self.server))
        return reply


def _reason(error: Exception) -> str:
    if isinstance(error, TargetRefusedError):
        return "the platform's policy refuses it."
    if isinstance(error, TimeoutError):
        return "the server did not answer in time."
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return f"{os.strerror(error.errno)}."  # asyncio's own words repeat the address
    text = getattr(error, "reason", None) or str(error) or type(error).__name__
    return f"{text.removesuffix('.')}."


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def _address_literal(address: str) -> str:
    """An EHLO name for a machine without a fully qualified one (RFC 5321, 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
