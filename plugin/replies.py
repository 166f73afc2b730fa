"""Bytes from a server become replies: the grammar of RFC 5321, 4.2, within limits that no honest server meets."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from own_smtp.errors import SessionError
from own_smtp.profiles import Reply
from own_smtp.redaction import clean_reply

MAX_LINE = 4096
MAX_LINES = 100
MAX_REPLY = 64 * 1024

_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL)
_ENHANCED = re.compile(r"([245]\.[0-9]{1,3}\.[0-9]{1,3})(?: +|$)")
_REMEMBERED = 256


class ReplyError(SessionError):
    """What the server sent is no reply, or is longer than any reply may be."""


@dataclass(slots=True)
class ReplyParser:
    """Cuts a stream of bytes into replies.

    A server answers most commands with the same words each time, so replies of one line are remembered.
    """

    _rest: bytes = b""
    _lines: list[bytes] = field(default_factory=list)
    _size: int = 0
    _known: dict[bytes, Reply] = field(default_factory=dict)

    @property
    def is_between_replies(self) -> bool:
        """Whether no part of a further reply has come yet."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> list[Reply]:
        """Take what was read and return the replies that it completes. Raises `ReplyError`."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise ReplyError("The server sent a line of more than 4,096 characters.")
        replies = []
        for line in lines:
            reply = self._known.get(line) if not self._lines else None
            reply = reply or self._take(line)
            if reply is not None:
                replies.append(reply)
        return replies

    def _take(self, line: bytes) -> Reply | None:
        text = line.removesuffix(b"\r")
        match = _LINE.fullmatch(text)
        if match is None or len(text) > MAX_LINE:
            raise ReplyError("The server sent something that is no SMTP reply.")
        self._lines.append(match[3] or b"")
        self._size += len(line)
        if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:
            raise ReplyError("The server sent a reply that does not end.")
        if match[2] == b"-":
            return None
        return self._finish(line, int(match[1]))

    def _finish(self, line: bytes, code: int) -> Reply:
        lines, self._lines, self._size = self._lines, [], 0
        reply = make_reply(code, lines)
        if len(lines) == 1 and len(self._known) < _REMEMBERED:
            self._known[line] = reply
        return reply


def make_reply(code: int, lines: list[bytes]) -> Reply:
    """Return the reply that these lines, without their codes, are. Only the basic code's class is believed."""
    words = [_decode(line) for line in lines]
    enhanced = None
    if match := _ENHANCED.match(words[-1]):
        enhanced = match[1]
        words = [word.removeprefix(match[0]) for word in words]
    text = words[0] if len(words) == 1 else " ".join(words)
    return Reply(code=code, text=text[:500], enhanced=enhanced, lines=() if len(words) == 1 else tuple(words))


def _decode(line: bytes) -> str:
    if line.isascii():
        text = line.decode("ascii")
        if text.isprintable() and len(text) <= 500:
            return text
    return clean_reply(line)
