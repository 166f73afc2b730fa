"""Content transfer encodings (RFC 2045, 6) for text whose parts are encoded at different times.

All results are ASCII with CRLF and no line over 76 octets. Neither encoding can produce `=_`, so a boundary that
starts with these never occurs in a body.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp

SOFT_BREAK = b"=\r\n"
_LINE = 75
"""Octets of a quoted-printable line before its soft break."""
_BASE64_LINE = 76

_NEWLINE = re.compile(r"\r\n?")
_BARE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$%()*+,./:;?@_~-]{0,70}")
_ESCAPED = re.compile(rb"[^\t\n -<>-~]")

# SMTP clients must stuff a leading dot, and mbox files escape a leading `From `: faulty software on the way cannot
# damage lines that start with neither.
_RISKY_STARTS = (b".", b"From ")


def newlines(text: str) -> str:
    """Return `text` with `\\n` for every CRLF and every bare CR."""
    return _NEWLINE.sub("\n", text) if "\r" in text else text


def quoted_printable(text: str) -> bytes:
    """Encode text that starts at the beginning of a line; no line end is added to its last line."""
    lines = newlines(text).encode("utf-8", "replace").split(b"\n")
    return b"\r\n".join([_wrapped(_unbroken(b2a_qp(line))) for line in lines])


def quoted_value(value: str) -> bytes:
    """Encode a placeholder's value, which stands between soft breaks or line ends."""
    if value.isprintable():
        return _wrapped(_unbroken(b2a_qp(value.encode("utf-8", "replace"))))
    return quoted_printable(value)


def is_bare(value: str) -> bool:
    """Return whether a value is ASCII that neither quoted-printable nor HTML escaping changes. Most are."""
    return _BARE.fullmatch(value) is not None


def base64_lines(data: bytes) -> bytes:
    """Encode `data` in lines, each with a line end; empty data gives no line."""
    encoded = b2a_base64(data, newline=False)
    return b"".join([encoded[start : start + _BASE64_LINE] + b"\r\n" for start in range(0, len(encoded), _BASE64_LINE)])


def is_shorter_in_base64(text: str) -> bool:
    """Return whether base64 takes fewer octets than quoted-printable, as for mostly non-Latin text."""
    data = text.encode("utf-8", "replace")
    return 2 * len(_ESCAPED.findall(data)) > len(data) // 3


def _unbroken(quoted: bytes) -> bytes:
    """Remove the soft breaks of `b2a_qp`, which ignores leading dots; its input must have been one line."""
    return quoted.replace(b"=\n", b"")


def _wrapped(line: bytes) -> bytes:
    """Insert soft breaks into an encoded line, never inside an escape."""
    pieces, start = [], 0
    while True:
        if line.startswith(_RISKY_STARTS, start):
            line = b"%s=%02X%s" % (line[:start], line[start], line[start + 1 :])
        end = start + _LINE
        if end >= len(line):
            break
        if (cut := line.rfind(b"=", end - 2, end)) > start:
            end = cut
        pieces.append(line[start:end])
        start = end
    return SOFT_BREAK.join([*pieces, line[start:]]) if pieces else line
