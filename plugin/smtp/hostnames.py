"""Host names as people type and paste them, normalised for storage. No DNS look-ups."""

from __future__ import annotations

import re
from ipaddress import ip_address

import idna

from own_smtp.errors import TargetError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::(\d{1,5}))?", re.ASCII)
_NAMED = re.compile(r"([^:]+)(?::(\d{1,5}))?", re.ASCII)
_NAME = re.compile(r"(?=.{1,253}\Z)(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*")
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)", re.ASCII)
_LONGEST = 2000


def clean_host(text: str) -> tuple[str, int | None]:
    """Extract host and port from typed or pasted text, such as ` smtp://Mail.ABC.com:587/`.

    Returns the name in lower-case ASCII (A-labels) without a final dot, or an IP address in its usual form; and the
    port, or `None` if none was given. Other notations of an address (`127.1`, `0x7f000001`, `2130706433`, octal
    numbers) are refused: people would not recognise them as addresses. Raises `TargetError`.
    """
    rest = _SCHEME.sub("", text.strip()[:_LONGEST], count=1)
    rest = re.split("[/?#]", rest, maxsplit=1)[0]
    host, port = _split_port(rest)
    name = literal(host) or _name(host)
    if name is None or port == 0:
        raise TargetError(
            f"{text.strip()[:100]!r} is not the name of a mail server. Enter a name such as mail.example.org, "
            "or an IP address."
        )
    return name, port


def literal(host: str) -> str | None:
    """Return the usual form of an IP address; `None` for anything else, also for one with a zone index (`%eth0`)."""
    try:
        return None if "%" in host else str(ip_address(host))
    except ValueError:
        return None


def _split_port(text: str) -> tuple[str, int | None]:
    """Return host and port; an invalid port as 0, an invalid host as an empty text."""
    if text.count(":") > 1 and not text.startswith("["):
        return text, None
    pattern = _BRACKETED if text.startswith("[") else _NAMED
    match = pattern.fullmatch(text)
    if match is None or (pattern is _BRACKETED and ":" not in match[1]):
        return "", None
    port = None if match[2] is None else int(match[2])
    return match[1], port if port is None or port < 65536 else 0


def _name(host: str) -> str | None:
    try:
        name = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except UnicodeError:
        return None
    name = name.removesuffix(".")
    # A name that ends in a number is a disguised address: IDNA has just turned full-width digits into ASCII ones.
    if not _NAME.fullmatch(name) or _NUMBER.fullmatch(name):
        return None
    return name
