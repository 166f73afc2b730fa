"""The extensions that a server offers in its reply to EHLO (RFC 5321, 4.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

from own_smtp.smtp.values import Reply


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """The extensions that matter for sending; unknown keywords are ignored."""

    pipelining: bool = False
    """RFC 2920."""
    chunking: bool = False
    """RFC 3030."""
    eight_bit: bool = False
    """8BITMIME, RFC 6152."""
    smtputf8: bool = False
    """RFC 6531."""
    dsn: bool = False
    """RFC 3461."""
    starttls: bool = False
    """RFC 3207."""
    sized: bool = False
    """RFC 1870: MAIL may declare a size."""
    max_size: int | None = None
    """The largest message in octets; `None` means that the server states no limit."""
    auth: frozenset[str] = frozenset()
    """SASL mechanisms, in capitals (RFC 4954)."""


NOTHING = Capabilities()


def parse_ehlo(reply: Reply) -> Capabilities:
    """Return the extensions that the lines after the first offer."""
    words = [line.upper().replace("=", " ", 1).split() for line in reply.lines[1:]]
    offered = {line[0]: line[1:] for line in reversed(words) if line}
    size = offered.get("SIZE", ())
    return Capabilities(
        pipelining="PIPELINING" in offered,
        chunking="CHUNKING" in offered,
        eight_bit="8BITMIME" in offered,
        smtputf8="SMTPUTF8" in offered,
        dsn="DSN" in offered,
        starttls="STARTTLS" in offered,
        sized="SIZE" in offered,
        max_size=int(size[0]) or None if size and size[0].isdecimal() and len(size[0]) < 19 else None,
        auth=frozenset(word for line in words if line and line[0] == "AUTH" for word in line[1:]),
    )
