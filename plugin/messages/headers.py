"""Header fields in their transmitted form: ASCII only, no control character, no line over 998 octets.

Whatever the values from hosts, tenants and recipients contain, a field stays one field: control characters and line
ends become spaces, non-ASCII text becomes encoded words (RFC 2047), long fields are folded (RFC 5322, 2.2.3).
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator, Sequence

from own_smtp.errors import AddressError, ContentError

FOLD = "\r\n "
LINE = 76
"""The longest line that may contain an encoded word (RFC 2047, 2); the aim for other lines, too."""

LONGEST_NAME = 50
LONGEST_VALUE = 4000
LONGEST_WORD = 900
"""The longest ASCII word that may stand on a line of its own."""
_LONGEST_QUOTED = 255

_FIELD_NAME = re.compile(r"[!-9;-~]+")
# Line ends, other control characters, and Unicode's line and paragraph separators.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_MAILBOX = re.compile(r"[^\s\x00-\x20\x7f-\x9f<>()\[\]:;@\\,\"]+@[A-Za-z0-9.-]+")
_WORD = re.compile(r" *[^ ]+")

# Octets that an encoded word may contain unescaped, also inside a display name (RFC 2047, 5 (3)).
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
    """Raise `ContentError` for a field that a host may not set, and for an invalid one (RFC 5322, 2.2)."""
    if not _FIELD_NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise ContentError(f"{name!r} cannot be the name of a header: it needs 1 to {LONGEST_NAME} ASCII characters.")
    lowered = name.lower()
    if lowered in _OURS:
        raise ContentError(f"The header {name} is written by Own SMTP itself and cannot be set.")
    if lowered in _SERVERS or (lowered.startswith(_FAMILIES) and lowered != "content-language"):
        raise ContentError(f"The header {name} is written by mail servers and cannot be set.")
    check_line(f"The header {name}", value)


def check_line(what: str, value: str) -> None:
    """Raise `ContentError` if `value` is too long, or contains line ends or other control characters."""
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
        if _longest_word(value) <= LONGEST_WORD:
            return folded(name, value)
    return f"{name}: {encoded_words(value, len(name) + 2)}\r\n".encode("ascii")


def mailbox(name: str, address: str, display: str) -> bytes:
    """Return a whole field with one address and a display name, which may be empty.

    The address must be a parsed one. The field is UTF-8 (RFC 6532) only for a non-ASCII local part, which no encoded
    word can represent. Raises `AddressError` for an address that would break the field.
    """
    return f"{name}: {_mailbox(address, display, len(name) + 2)}\r\n".encode()


def mailboxes(name: str, people: Sequence[tuple[str, str]]) -> bytes:
    """Return a whole field with several addresses and their display names, one per line, each as by `mailbox`."""
    written = [
        _mailbox(address, display, 1 if index else len(name) + 2) for index, (address, display) in enumerate(people)
    ]
    return f"{name}: {f',{FOLD}'.join(written)}\r\n".encode()


def _mailbox(address: str, display: str, column: int) -> str:
    if not _MAILBOX.fullmatch(address):
        raise AddressError(f"{address!r} is not an email address.")
    display = clean(display)
    if not display:
        return address
    words = phrase(display, column)
    last_line = len(words) - words.rfind("\n") - 2 + column
    return f"{words}{' ' if last_line + len(address) <= LINE else FOLD}<{address}>"


def encoded_words(text: str, column: int) -> str:
    """Return `text` as encoded words, one per line, the first of which starts at `column` of its line.

    No character is split, and the shorter of the two encodings is used.
    """
    data = text.encode("utf-8", "replace")
    in_q = _q_word(data)
    is_q = len(in_q) - _AROUND <= (len(data) + 2) // 3 * 4
    word = in_q if is_q else _b_word(data)
    if column + len(word) <= LINE:
        return word
    return FOLD.join(_q_words(text, column) if is_q else _b_words(text, column))


def _q_words(text: str, column: int) -> Iterator[str]:
    chunk, left = b"", LINE - column - _AROUND
    for char in text:
        data = char.encode("utf-8", "replace")
        size = sum(len(_Q[byte]) for byte in data)
        if size > left:
            yield _q_word(chunk)
            chunk, left = b"", LINE - 1 - _AROUND
        chunk, left = chunk + data, left - size
    yield _q_word(chunk)


def _b_words(text: str, column: int) -> Iterator[str]:
    """Yield words in the B encoding, of which only the last has padding: GMime joins adjacent words, and stops at it.

    If no whole number of characters fills groups of three octets, one character is encoded in Q.
    """
    chunks = [char.encode("utf-8", "replace") for char in text]
    start = 0
    while start < len(chunks):
        left, full, end, size = (LINE - column - _AROUND) // 4 * 3, start, start, 0
        while end < len(chunks) and size + len(chunks[end]) <= left:
            size += len(chunks[end])
            end += 1
            full = full if size % 3 else end
        if end == len(chunks):
            yield _b_word(b"".join(chunks[start:]))
            return
        yield _b_word(b"".join(chunks[start:full])) if full > start else _q_word(chunks[start])
        start, column = max(full, start + 1), 1


def _q_word(data: bytes) -> str:
    return f"=?utf-8?q?{''.join(map(_Q.__getitem__, data))}?="


def _b_word(data: bytes) -> str:
    return f"=?utf-8?b?{b2a_base64(data, newline=False).decode('ascii')}?="


def phrase(display: str, column: int) -> str:
    """Return words as a phrase (RFC 5322, 3.2.5) that starts at `column` of its line: bare, quoted or encoded."""
    if not display.isascii() or "=?" in display or len(display) > _LONGEST_QUOTED:
        return encoded_words(display, column)
    if _ATOMS.fullmatch(display):
        return display
    escaped = display.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _longest_word(text: str) -> int:
    return max(map(len, _WORD.findall(text)), default=0)


def folded(name: str, value: str) -> bytes:
    """Fold an ASCII field before spaces only, so that unfolding restores every one of them."""
    start = f"{name}:"
    lines = [start]
    for word in _WORD.findall(f" {value}"):
        if len(lines[-1]) + len(word) > LINE and (len(lines) > 1 or lines[0] != start):
            lines.append(word)
        else:
            lines[-1] += word
    return "\r\n".join([*lines, ""]).encode("ascii")
