"""One SMTP conversation as a small state machine: from the connection to QUIT, one or more messages in between.

A session is opened, then delivers what its supply gives it, then closes. How messages are put on the wire, one reply
at a time, pipelined or in chunks, is up to `own_smtp.transactions`.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from own_smtp.capabilities import NOTHING, Capabilities, parse_ehlo
from own_smtp.config import Deadlines
from own_smtp.errors import NoSuchHostError, SessionError, TargetError, TargetRefusedError
from own_smtp.network import Target
from own_smtp.outcomes import Stage, classify, interrupted
from own_smtp.profiles import Credentials, Outcome, RelayProfile, Reply
from own_smtp.redaction import redact
from own_smtp.states import PauseReason, Security
from own_smtp.tls import CertificateError, check_fingerprint, context_for
from own_smtp.wire import Dialer, Wire, dial

Resolve = Callable[[RelayProfile], Awaitable[Target]]
"""Finds the checked addresses of a relay. Raises `TargetError`."""


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


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the set-up, as a person who tests a relay wants to see it."""

    stage: Stage
    text: str


Observer = Callable[[Step], None]


def _ignore(_step: Step) -> None:
    pass


class Session:
    """A conversation with one relay.

    `observe` is told each step of the set-up. Nothing that it is told, and no `repr`, holds a secret.
    """

    def __init__(self, profile: RelayProfile, deadlines: Deadlines, observe: Observer = _ignore) -> None:
        self.profile = profile
        self.deadlines = deadlines
        self.state = SessionState.CONNECTING
        self.capabilities: Capabilities = NOTHING
        self.server = profile.host
        self._observe = observe
        self._wire: Wire | None = None

    def __repr__(self) -> str:
        return f"<Session with {self.server} {self.state}>"

    @property
    def wire(self) -> Wire:
        """The open connection."""
        if self._wire is None:
            raise SessionError("The session has no connection.")
        return self._wire

    @property
    def is_ready(self) -> bool:
        """Whether a message may be sent now."""
        return self.state is SessionState.READY and not self.wire.is_lost

    async def open(self, resolve: Resolve, dialer: Dialer = dial) -> None:
        """Connect, secure and authenticate. Raises `SetupError` and leaves nothing open then."""
        try:
            await self._connect(resolve, dialer)
            await self._greet()
            await self._authenticate()
        except SetupError:
            self.drop()
            raise
        self.wire.rest()
        self.state = SessionState.READY

    async def close(self) -> None:
        """Say QUIT, wait a moment for the answer, and let go. Never raises for what the server does."""
        if self.is_ready and self.wire.is_quiet:
            self._keep_tls_session()
            try:
                self.wire.begin("QUIT", self.deadlines.quit)
                self.wire.write(b"QUIT\r\n")
                await self.wire.read()
            except SessionError:
                pass  # everything was settled before: a reset in answer to QUIT changes nothing
        self.drop()

    def drop(self) -> None:
        """Let go of the connection without a word."""
        self.state = SessionState.CLOSED
        if self._wire is not None:
            self._wire.drop()

    # The set-up, step by step

    async def _connect(self, resolve: Resolve, dialer: Dialer) -> None:
        target = await self._resolve(resolve)
        try:
            connected = await dialer(target, self.deadlines.connect)
        except OSError as error:
            raise SetupError(
                interrupted(Stage.CONNECT, f"No connection: {_reason(error)}", server=self.server)
            ) from error
        self._wire = connected.wire
        self.server = f"{self.profile.host} [{connected.address}]"
        self._observe(Step(Stage.CONNECT, f"Connected to {self.server}, port {self.profile.port}."))

    async def _resolve(self, resolve: Resolve) -> Target:
        try:
            return await resolve(self.profile)
        except TargetError as error:
            outcome = interrupted(Stage.RESOLVE, str(error), server=self.server)
            raise SetupError(_paused(outcome, _TARGET_PAUSES.get(type(error)))) from error

    async def _greet(self) -> None:
        self.state = SessionState.GREETING
        if self.profile.security is Security.IMPLICIT:
            await self._secure()
        await self._expect(Stage.BANNER, b"", self.deadlines.banner)
        await self._say_ehlo()
        if self.profile.security is Security.STARTTLS:
            await self._start_tls()
            await self._say_ehlo()  # what was said in plain text is forgotten (RFC 3207, 4.2)

    async def _say_ehlo(self) -> None:
        name = self.profile.ehlo_name or _address_literal(self.wire.local_address)
        try:
            reply = await self._expect(Stage.EHLO, f"EHLO {name}\r\n".encode("ascii"))
            self.capabilities = parse_ehlo(reply)
        except SetupError as error:
            refusal = error.outcome.reply
            if refusal is None or refusal.code not in {500, 502}:
                raise
            await self._expect(Stage.EHLO, f"HELO {name}\r\n".encode("ascii"))
            self.capabilities = NOTHING

    async def _start_tls(self) -> None:
        if not self.capabilities.starttls:
            outcome = interrupted(Stage.STARTTLS, "The server does not offer STARTTLS.", server=self.server)
            raise SetupError(_paused(outcome, PauseReason.NO_TLS))
        await self._expect(Stage.STARTTLS, b"STARTTLS\r\n")
        await self._secure()

    async def _secure(self) -> None:
        self.state = SessionState.SECURING
        context = context_for(self.profile.fingerprint)
        try:
            await self.wire.upgrade(context, self.profile.host, min(self.deadlines.command, 60.0))
            tls = self.wire.tls
            assert tls is not None
            check_fingerprint(tls, self.profile.fingerprint)
        except (ssl.SSLCertVerificationError, CertificateError) as error:
            text = getattr(error, "verify_message", "") or str(error)
            raise SetupError(
                _paused(interrupted(Stage.TLS, text, server=self.server), PauseReason.CERTIFICATE)
            ) from error
        except (OSError, SessionError) as error:
            raise SetupError(interrupted(Stage.TLS, f"No TLS: {_reason(error)}", server=self.server)) from error
        self._observe(Step(Stage.TLS, f"{tls.version()} with a certificate that is trusted."))

    def _keep_tls_session(self) -> None:
        tls = self.wire.tls
        if tls is not None:
            context_for(self.profile.fingerprint).keep_session(tls)

    async def _authenticate(self) -> None:
        credentials = self.profile.credentials
        if credentials is None:
            return
        self.state = SessionState.AUTHENTICATING
        if self.wire.tls is None:
            outcome = interrupted(Stage.AUTH, "A password is never sent without TLS.", server=self.server)
            raise SetupError(_paused(outcome, PauseReason.NO_TLS))
        if "PLAIN" in self.capabilities.auth:
            await self._auth_plain(credentials)
        elif "LOGIN" in self.capabilities.auth:
            await self._auth_login(credentials)
        else:
            outcome = interrupted(Stage.AUTH, "The server offers neither PLAIN nor LOGIN.", server=self.server)
            raise SetupError(_paused(outcome, PauseReason.NO_AUTH))
        self._observe(Step(Stage.AUTH, f"Signed in as {credentials.username}."))

    async def _auth_plain(self, credentials: Credentials) -> None:
        """RFC 4616, with the initial response of RFC 4954: one exchange, one attempt."""
        token = _base64(f"\0{credentials.username}\0{credentials.password}")
        await self._expect(Stage.AUTH, b"AUTH PLAIN " + token + b"\r\n", finishes_auth=True)

    async def _auth_login(self, credentials: Credentials) -> None:
        """The LOGIN mechanism, undocumented but wide-spread: the server asks for the name, then for the password."""
        await self._expect(Stage.AUTH, b"AUTH LOGIN\r\n", continues=True)
        await self._expect(Stage.AUTH, _base64(credentials.username) + b"\r\n", continues=True)
        await self._expect(Stage.AUTH, _base64(credentials.password) + b"\r\n", finishes_auth=True)

    async def _expect(
        self,
        stage: Stage,
        command: bytes,
        seconds: float | None = None,
        *,
        continues: bool = False,
        finishes_auth: bool = False,
    ) -> Reply:
        """Send `command` and return its positive reply, or raise what anything else means."""
        try:
            self.wire.begin(stage.upper(), seconds or self.deadlines.command)
            if command:
                self.wire.write(command)
            reply = await self.wire.read()
            if finishes_auth and reply.code == 334:
                raise SetupError(await self._cancel_auth())
        except SetupError:
            raise
        except SessionError as error:
            raise SetupError(interrupted(stage, self._redacted(str(error)), server=self.server)) from error
        if reply.code // 100 == (3 if continues else 2):
            return reply
        raise SetupError(self._redact_outcome(classify(stage, reply, server=self.server)))

    async def _cancel_auth(self) -> Outcome:
        """The server asks for more than the mechanism has: `*` ends the exchange (RFC 4954, 4)."""
        self.wire.write(b"*\r\n")
        reply = await self.wire.read()
        return self._redact_outcome(classify(Stage.AUTH, reply, server=self.server))

    def _redacted(self, text: str) -> str:
        credentials = self.profile.credentials
        return text if credentials is None else redact(text, (credentials.password,))

    def _redact_outcome(self, outcome: Outcome) -> Outcome:
        """A server may echo the AUTH line: what is kept of its words must not hold the password."""
        reply = outcome.reply
        if reply is None or outcome.stage != Stage.AUTH:
            return outcome
        clean = Reply(code=reply.code, enhanced=reply.enhanced, text=self._redacted(reply.text))
        return replace(outcome, reply=clean)


_TARGET_PAUSES = {NoSuchHostError: PauseReason.NO_SUCH_HOST, TargetRefusedError: PauseReason.NOT_ALLOWED}


def _paused(outcome: Outcome, reason: PauseReason | None) -> Outcome:
    return replace(outcome, pause=reason)


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the server did not answer in time."
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return f"{text}."


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode())


def _address_literal(address: str) -> str:
    """An EHLO name for a machine without a fully qualified one (RFC 5321, 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
