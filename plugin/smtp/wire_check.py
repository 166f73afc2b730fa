"""The last check of a message before it is sent: octets that are not safe on the wire are refused.

Nothing is repaired here: a repaired message may differ from what its author meant. Octets that servers interpret
differently, such as bare line ends, can turn one message into two (SMTP smuggling, CVE-2023-51764).
"""

from __future__ import annotations

import re

LONGEST_LINE = 998
"""Octets of a line without its CRLF (RFC 5321, 4.5.3.1.6)."""

_LINE_END = b"\r\n"
# Each pattern begins with a line end: the search jumps from line to line, which is many times faster.
_BARE_LF = re.compile(rb"\n(?<!\r\n)")
# A field begins with its name and a colon, and continues in lines that begin with white space and have more text
# (RFC 5322, 2.2 and 3.2.2). Captures the name, or nothing for a continuation line.
_LINE_OF_HEADER = re.compile(rb"\n(?:([!-9;-~]+):|[ \t]+[^ \t\r\n])")
_HARMLESS = bytes(set(range(256)) - set(b"\r\n\0"))

ONCE = frozenset(
    {b"from", b"sender", b"reply-to", b"to", b"cc", b"date", b"message-id", b"in-reply-to", b"references", b"subject"}
    | {b"mime-version", b"content-type", b"content-transfer-encoding", b"content-id", b"content-disposition"}
    | {b"list-unsubscribe", b"list-unsubscribe-post", b"auto-submitted"}
)
"""Fields that a header has once at most (RFC 5322, 3.6; RFC 2045; RFC 2369, 2; RFC 3834, 5), in lower case."""


def why_unfit(data: bytes) -> str | None:
    """Return why this message must not be sent; `None` if it is safe.

    Takes a few microseconds for an invitation; the time is linear in the message's size.
    """
    ends = data.translate(None, _HARMLESS)
    if b"\0" in ends:
        return "The message has a NUL in it."
    if ends != _LINE_END * (len(ends) // 2) or _BARE_LF.search(data):  # as many of both, and a CR before each LF
        return "The message has a bare CR or LF in it."
    if not data.endswith(_LINE_END):
        return "The last line of the message has no line end."
    if _has_long_line(data):
        return f"The message has a line of more than {LONGEST_LINE} octets."
    return _why_no_header(data)


def _why_no_header(data: bytes) -> str | None:
    end = data.find(b"\r\n\r\n") + 2
    head = data[:end].lower()
    lines: list[bytes] = _LINE_OF_HEADER.findall(b"\n" + head)
    if end < 2 or not lines or not lines[0] or len(lines) != head.count(b"\n"):
        return "The message does not begin with a header and an empty line."
    names = {*lines, b""}
    if len(names) - 1 + lines.count(b"") < len(lines):
        for name in ONCE & names:
            if lines.count(name) > 1:
                return f"The header of the message has the field {name.decode('ascii').title()} twice."
    if b"bcc" in names:
        return "The header of the message names hidden recipients (Bcc)."
    return None


def _has_long_line(data: bytes) -> bool:
    """Jump from line end to line end in steps of the longest line: cheaper than checking each line."""
    start, size = 0, len(data)
    while start < size:
        end = data.rfind(b"\n", start, start + LONGEST_LINE + 2)
        if end < 0:
            return True
        start = end + 1
    return False
