"""Header fields as they go onto the wire: nothing but ASCII, no control character, no line over 998 octets.

Whatever a host, a tenant or a recipient's name brings along, a field stays one field: control characters and line
ends become spaces, non-ASCII text becomes encoded words (RFC 2047), long fields are folded (RFC 5322, 2.2.3).
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator

from own_smtp.errors import AddressError, ContentError

LINE = 76
"""The longest line that may hold an encoded word (RFC 2047, 2); others aim at it, too."""

LONGEST_NAME = 50
LONGEST_VALUE = 4000
_LONGEST_WORD = 900
_LONGEST_QUOTED = 255

_FIELD_NAME = re.compile(r"[!-9;-~]+")
# Line ends, other controls, and what Unicode takes for a line end.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_MAILBOX = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>()\[\]:;@\\,\"]+@[A-Za-z0-9.-]+")
_WORD = re.compile(r" *[^ ]+")

# What an encoded word may hold as it is, also inside a display name (RFC 2047, 5 (3)).
_PLAIN_IN_WORD = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!*+-/ ")
_Q = {byte: chr(byte) if byte in _PLAIN_IN_WORD else f"={byte:02X}" for byte in range(256)} | {32: "_"}
_AROUND = len("=?utf-8?q??=")

_OURS = frozenset(
    {"auto-submitted", "bcc", "cc", "date", "from", "list-unsubscribe", "list-unsubscribe-post", "message-id"}
    | {"mime-version", "reply-to", "sender", "subject", "to"}
)
_SERVERS = frozenset(
    {"authentication-results", "delivered-to", "dkim-signature", "domainkey-signature", "received", "return-path"}
)
_FAMILIES = ("arc-", "content-", "received-", "resent-")


def check_header(name: str, value: str) -> None:
    """Raise `ContentError` for a field that a host may not set, or that cannot be one (RFC 5322, 2.2)."""
    if not _FIELD_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ContentError(f"{name!r} cannot be the name of a header: it takes 1 to {LONGEST_NAME} ASCII characters.")
    lowered = name.lower()
    if lowered in _OURS:
        raise ContentError(f"The header {name} is written by Own SMTP itself and cannot be set.")
    if lowered in _SERVERS or lowered.startswith(_FAMILIES):
        raise ContentError(f"The header {name} is written by mail servers and cannot be set.")
    check_line(f"The header {name}", value)


def check_line(what: str, value: str) -> None:
    """Raise `ContentError` unless `value` is text without line ends and other control characters."""
    if _CONTROL.search(value.replace("\t", " ")):
        raise ContentError(f"{what} contains a line end or another control character.")
    if len(value) > LONGEST_VALUE:
        raise ContentError(f"{what} is longer than {LONGEST_VALUE} characters.")


def clean(text: str) -> str:
    """Return `text` as one line: each run of control characters becomes one space, the ends are stripped."""
    return text.strip() if text.isprintable() else _CONTROL.sub(" ", text).strip()


def unstructured(name: str, value: str) -> bytes:
    """Return a whole field of free text, such as Subject, with its line end."""
    value = clean(value)
    if value.isascii() and "=?" not in value:
        if len(name) + len(value) <= LINE:
            return f"{name}: {value}\r\n".encode("ascii")
        if _longest_word(value) <= _LONGEST_WORD:
            return _fold(f"{name}:", value)
    return f"{name}: {encoded_words(value, len(name) + 2)}\r\n".encode("ascii")


def mailbox(name: str, address: str, display: str) -> bytes:
    """Return a whole field with one address and a display name, which may be empty.

    The address must be a parsed one; only a local part beyond ASCII, which no encoded word can express, makes the
    field UTF-8 (RFC 6532). Raises `AddressError` for an address that would break the field.
    """
    if not _MAILBOX.fullmatch(address):
        raise AddressError(f"{address!r} is not an address.")
    display = clean(display)
    if not display:
        return f"{name}: {address}\r\n".encode()
    phrase = _phrase(display, len(name) + 2)
    last_line = len(phrase) - phrase.rfind("\n") + len(name)
    space = " " if last_line + len(address) <= LINE else "\r\n "
    return f"{name}: {phrase}{space}<{address}>\r\n".encode()


def encoded_words(text: str, column: int) -> str:
    """Return `text` as encoded words, one a line, the first of which starts at `column` of its line.

    None splits a character, and the shorter of both encodings is taken.
    """
    data = text.encode("utf-8", "replace")
    in_q = _q_word(data)
    is_q = len(in_q) - _AROUND <= (len(data) + 2) // 3 * 4
    word = in_q if is_q else _b_word(data)
    if column + len(word) <= LINE:
        return word
    words = map(_q_word, _chunks(text, column, is_q)) if is_q else map(_b_word, _chunks(text, column, is_q))
    return "\r\n ".join(words)


def _chunks(text: str, column: int, is_q: bool) -> Iterator[bytes]:
    """Split text at characters so that each chunk fills a line as an encoded word."""
    chunk, left = b"", _room(column, is_q)
    for char in text:
        data = char.encode("utf-8", "replace")
        size = sum(len(_Q[byte]) for byte in data) if is_q else len(data)
        if size > left:
            yield chunk
            chunk, left = b"", _room(1, is_q)
        chunk, left = chunk + data, left - size
    yield chunk


def _room(column: int, is_q: bool) -> int:
    left = LINE - column - _AROUND
    return left if is_q else left // 4 * 3


def _q_word(data: bytes) -> str:
    return f"=?utf-8?q?{''.join(map(_Q.__getitem__, data))}?="


def _b_word(data: bytes) -> str:
    return f"=?utf-8?b?{b2a_base64(data, newline=False).decode('ascii')}?="


def _phrase(display: str, column: int) -> str:
    if not display.isascii() or "=?" in display or len(display) > _LONGEST_QUOTED:
        return encoded_words(display, column)
    if _ATOMS.fullmatch(display):
        return display
    escaped = display.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _longest_word(text: str) -> int:
    return max(map(len, _WORD.findall(text)), default=0)


def _fold(start: str, value: str) -> bytes:
    """Break an ASCII field before spaces only, so that unfolding gives back every one of them."""
    lines = [start]
    for word in _WORD.findall(f" {value}"):
        if len(lines[-1]) + len(word) > LINE and (len(lines) > 1 or lines[0] != start):
            lines.append(word)
        else:
            lines[-1] += word
    return "\r\n".join([*lines, ""]).encode("ascii")
