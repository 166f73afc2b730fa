"""Checks whether a client keeps the rules. Each function returns complaints; tests expect none."""

from __future__ import annotations

from collections.abc import Iterator

ALONE = frozenset({"EHLO", "HELO", "STARTTLS", "AUTH", "DATA", "NOOP", "QUIT", "VRFY", "EXPN"})
"""Commands that must be the last of their group (RFC 2920, 3.1; RFC 3207, 4; RFC 4954, 4)."""

NEEDS = {"BODY": "8BITMIME", "RET": "DSN", "ENVID": "DSN", "NOTIFY": "DSN", "ORCPT": "DSN"}
"""Which extension a parameter of MAIL or RCPT belongs to, where the names differ."""


def judge_command(raw: bytes, verb: str, *, behind: bytes, offered: set[str], is_utf8: bool) -> Iterator[str]:
    """Judge one command line; `behind` is what the client sent already without waiting for the reply."""
    if not raw.endswith(b"\r\n") or b"\r" in raw[:-2] or b"\0" in raw:
        yield f"bad line end or octet in {raw!r}"
    if behind and verb in ALONE:
        yield f"pipelined after {verb}: {behind[:40]!r}"
    if behind and verb != "BDAT" and "PIPELINING" not in offered:
        yield f"pipelined without PIPELINING after {verb}"
    if verb == "BDAT" and "CHUNKING" not in offered:
        yield "BDAT without CHUNKING"
    if not raw.isascii() and not is_utf8 and b"SMTPUTF8" not in raw.upper():
        yield f"non-ASCII without SMTPUTF8 in {raw!r}"


def judge_parameters(parameters: str, offered: set[str]) -> Iterator[str]:
    """Judge what stands behind the address in MAIL and RCPT."""
    for parameter in parameters.split():
        keyword = parameter.partition("=")[0].upper()
        extension = NEEDS.get(keyword, keyword)
        if extension not in offered:
            yield f"{keyword} without {extension}"


def judge_message(data: bytes, *, is_8bit: bool) -> Iterator[str]:
    """Judge a message (RFC 5321, 2.3.8 and 4.5.3.1; RFC 6152)."""
    bare = data.replace(b"\r\n", b"")
    if b"\r" in bare or b"\n" in bare or b"\0" in bare:
        yield "bare CR, bare LF or NUL in a message"
    if any(len(line) > 998 for line in data.split(b"\r\n")):
        yield "a line of more than 998 octets"
    if not data.isascii() and not is_8bit:
        yield "8-bit message without BODY=8BITMIME"
