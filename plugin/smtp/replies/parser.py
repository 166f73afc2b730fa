"""Parses a server's bytes into replies: the grammar of RFC 5321, 4.2, within limits that no honest server reaches."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from own_smtp.errors import SessionError
from own_smtp.smtp.redaction import LONGEST_REPLY, clean_reply
from own_smtp.smtp.values import Reply

MAX_LINE = 4096
"""Octets of a line that are kept. RFC 5321, 4.5.3.1.5 allows 512, and some servers send more."""
MAX_LINES = 100
"""Lines of a reply that are kept: the first ones and the last."""
MAX_REPLY = 64 * 1024
"""Octets after which a reply counts as endless."""

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ \t-])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")
_REMEMBERED = 256


class ReplyError(SessionError):
    """The server sent an invalid reply, or one that does not end."""


@dataclass(slots=True)
class ReplyParser:
    """Splits a stream of bytes into replies.

    The code decides (RFC 5321, 4.2): a long reply counts by its code, and its text is truncated. A server sends the
    same text for most commands, so replies of one line are cached.
    """

    _rest: bytes = b""
    _code: bytes = b""
    _lines: list[bytes] = field(default_factory=list)
    _size: int = 0
    """Octets read of the current reply, including those that are not kept."""
    _known: dict[bytes, Reply] = field(default_factory=dict)

    @property
    def is_between_replies(self) -> bool:
        """Whether no part of a further reply has arrived yet."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Process received bytes and yield the replies that they complete; then raise `ReplyError` for invalid ones."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            reply = self._known.get(line) if not self._lines else None
            reply = reply or self._take(line)
            if reply is not None:
                yield reply
        if len(self._rest) > MAX_LINE:
            yield from self._shorten()

    def _shorten(self) -> Iterator[Reply]:
        """Keep only the beginning of an unfinished line; an endless line still counts by its code."""
        self._size += len(self._rest) - MAX_LINE
        self._rest = self._rest[:MAX_LINE]
        match = _LINE.fullmatch(self._rest)
        if match is None:
            raise ReplyError("The server sent something that is no SMTP reply.")
        if self._size > MAX_REPLY:
            if match[2] != b"-" and (reply := self._take(self._rest)) is not None:
                yield reply
            raise ReplyError("The server sent a reply that does not end.")

    def _take(self, line: bytes) -> Reply | None:
        text = line.removesuffix(b"\r")[:MAX_LINE]
        match = _LINE.fullmatch(text)
        if match is None:
            raise ReplyError("The server sent something that is no SMTP reply.")
        if self._lines and match[1] != self._code:
            raise ReplyError("The server sent a reply whose lines have different codes.")
        self._code = match[1]
        self._lines[MAX_LINES - 1 :] = [match[3] or b""]
        self._size += len(line)
        if match[2] != b"-":
            return self._finish(line)
        if self._size > MAX_REPLY:
            raise ReplyError("The server sent a reply that does not end.")
        return None

    def _finish(self, line: bytes) -> Reply:
        lines, self._lines, self._size = self._lines, [], 0
        reply = make_reply(int(self._code), lines)
        if len(lines) == 1 and len(self._known) < _REMEMBERED and len(line) <= MAX_LINE:
            self._known[line] = reply
        return reply


def make_reply(code: int, lines: list[bytes]) -> Reply:
    """Return the reply with this code and these lines, which come without their codes."""
    words = [_decode(line) for line in lines]
    enhanced = None
    if match := _ENHANCED.match(words[-1]):
        enhanced = match[1]
        words = [word.removeprefix(match[0]) for word in words]
    text = words[0] if len(words) == 1 else " ".join(words)
    return Reply(code=code, text=text[:LONGEST_REPLY], enhanced=enhanced, lines=() if len(words) == 1 else tuple(words))


def _decode(line: bytes) -> str:
    if line.isascii():
        text = line.decode("ascii")
        if text.isprintable() and len(text) <= LONGEST_REPLY:
            return text
    return clean_reply(line)
