"""SMTP AUTH: one exchange with PLAIN or LOGIN, and only under TLS (RFC 4954)."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from own_smtp.smtp.redaction import REMOVED
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.trace import TraceStep
from own_smtp.smtp.values import Credentials
from own_smtp.states import PauseReason

if TYPE_CHECKING:
    from own_smtp.smtp.session import Session


async def authenticate(session: Session, credentials: Credentials) -> None:
    """Sign in. Raises `SetupError` with the outcome that the server's reply stands for."""
    if session.connection.tls is None:
        raise session.broken(Stage.AUTH, "A password is never sent without TLS.", PauseReason.NO_TLS)
    if "PLAIN" in session.capabilities.auth:
        mechanism = "PLAIN"
        await _plain(session, credentials)
    elif "LOGIN" in session.capabilities.auth:
        mechanism = "LOGIN"
        await _login(session, credentials)
    else:
        raise session.broken(Stage.AUTH, "The server offers neither PLAIN nor LOGIN.", PauseReason.NO_AUTH)
    session.observe(TraceStep(Stage.AUTH, f"Signed in as {credentials.username}.", {"mechanism": mechanism}))


async def _plain(session: Session, credentials: Credentials) -> None:
    """RFC 4616, with the initial response of RFC 4954: one exchange, one attempt."""
    token = _base64(f"\0{credentials.username}\0{credentials.password}")
    await _finish(session, b"AUTH PLAIN " + token, shown=f"AUTH PLAIN {REMOVED}")


async def _login(session: Session, credentials: Credentials) -> None:
    """The LOGIN mechanism, without an RFC but widespread: the server asks for the username, then for the password."""
    await session.expect(Stage.AUTH, b"AUTH LOGIN\r\n", kind=3)
    await session.expect(Stage.AUTH, _base64(credentials.username) + b"\r\n", kind=3, shown=REMOVED)
    await _finish(session, _base64(credentials.password), shown=REMOVED)


async def _finish(session: Session, line: bytes, *, shown: str) -> None:
    """Send the last line of the exchange. If the server asks for more, `*` cancels the exchange (RFC 4954, 4)."""
    reply = await session.ask(Stage.AUTH, line + b"\r\n", shown)
    if reply.code == 334:
        raise session.refused(Stage.AUTH, await session.ask(Stage.AUTH, b"*\r\n"))
    session.check(Stage.AUTH, reply)


def _base64(text: str) -> bytes:
    return base64.b64encode(text.encode())
