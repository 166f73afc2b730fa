"""EHLO, and HELO for servers that support nothing else (RFC 5321, 3.2 and 4.1.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from own_smtp.smtp.capabilities import NOTHING, parse_ehlo
from own_smtp.smtp.interruptions import is_hang_up
from own_smtp.smtp.replies.outcomes import HungUpError, SetupError, Stage
from own_smtp.smtp.trace import TraceStep
from own_smtp.smtp.values import RelayProfile, Reply
from own_smtp.states import Security

if TYPE_CHECKING:
    from own_smtp.smtp.session import Session

OLD = frozenset({500, 502})
"""Replies of servers that do not know EHLO, and offer no extensions."""
UNWILLING = frozenset({501, 503, 504})
"""Replies of servers that may accept HELO; if an extension is needed, the refusal counts."""


async def introduce(session: Session) -> None:
    """Send EHLO or HELO, and store the extensions that the server offers. Raises `SetupError`."""
    name = session.profile.ehlo_name or _address_literal(session.connection.local_address)
    reply = None if session.says_helo else await _say_ehlo(session, name)
    if reply is None:
        reply = await session.expect(Stage.EHLO, f"HELO {name}\r\n".encode("ascii"))
        session.capabilities = NOTHING
    else:
        session.capabilities = parse_ehlo(reply)
    if session.is_observed:
        offers = list(session.show(reply).lines[1:])
        session.observe(TraceStep(Stage.EHLO, f"Introduced as {name}.", {"name": name, "offers": offers}))


async def _say_ehlo(session: Session, name: str) -> Reply | None:
    """Return the reply to EHLO, or `None` if the server may support HELO only. Raises `HungUpError` if it hung up."""
    is_helo_enough = needs_no_extension(session.profile)
    try:
        return await session.expect(Stage.EHLO, f"EHLO {name}\r\n".encode("ascii"))
    except SetupError as error:
        refusal = error.outcome.reply
        if refusal is None and is_helo_enough and is_hang_up(session.connection.failure):
            raise HungUpError(error.outcome) from error
        if refusal is None or refusal.code not in (OLD | UNWILLING if is_helo_enough else OLD):
            raise
        return None


def needs_no_extension(profile: RelayProfile) -> bool:
    """Return whether HELO suffices: neither STARTTLS nor AUTH is needed."""
    return profile.security is not Security.STARTTLS and profile.credentials is None


def _address_literal(address: str) -> str:
    """An EHLO name for a machine without a fully qualified one (RFC 5321, 4.1.3)."""
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
