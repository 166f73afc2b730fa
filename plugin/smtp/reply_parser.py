"""Bytes from a server become replies: the grammar of RFC 5321, 4.2, within limits that no honest server meets."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from own_smtp.errors import SessionError
from own_smtp.smtp.redaction import LONGEST_REPLY, clean_reply
from own_smtp.smtp.values import Reply

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

    A server answers most commands with the same words each time, so replies of one line are remembered. `hide` takes a
    secret out of a text, and must return the text itself when there is none in it.
    """

    hide: Callable[[str], str] | None = None
    _rest: bytes = b""
    _code: bytes = b""
    _lines: list[bytes] = field(default_factory=list)
    _size: int = 0
    _known: dict[bytes, Reply] = field(default_factory=dict)

    @property
    def is_between_replies(self) -> bool:
        """Whether no part of a further reply has come yet."""
        return not self._rest and not self._lines

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Take what was read and yield the replies that it completes, then raise `ReplyError` if the rest is none."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            reply = self._known.get(line) if not self._lines else None
            reply = reply or self._take(line)
            if reply is not None:
                yield reply
        if len(self._rest) > MAX_LINE + 1:  # one for the CR that may be its last
            raise ReplyError("The server sent a line of more than 4,096 characters.")

    def _take(self, line: bytes) -> Reply | None:
        text = line.removesuffix(b"\r")
        match = _LINE.fullmatch(text)
        if match is None or len(text) > MAX_LINE:
            raise ReplyError("The server sent something that is no SMTP reply.")
        if self._lines and match[1] != self._code:
            raise ReplyError("The server sent a reply whose lines have different codes.")
        self._code = match[1]
        self._lines.append(match[3] or b"")
        self._size += len(line)
        if len(self._lines) > MAX_LINES or self._size > MAX_REPLY:
            raise ReplyError("The server sent a reply that does not end.")
        return None if match[2] == b"-" else self._finish(line)

    def _finish(self, line: bytes) -> Reply:
        lines, self._lines, self._size = self._lines, [], 0
        reply = make_reply(int(self._code), lines)
        if self.hide is not None:
            reply = _hidden(reply, self.hide)
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
    return Reply(code=code, text=text[:LONGEST_REPLY], enhanced=enhanced, lines=() if len(words) == 1 else tuple(words))


def _decode(line: bytes) -> str:
    if line.isascii():
        text = line.decode("ascii")
        if text.isprintable() and len(text) <= LONGEST_REPLY:
            return text
    return clean_reply(line)


def _hidden(reply: Reply, hide: Callable[[str], str]) -> Reply:
    """Lines are searched together as well: a secret may be spread over them, and then none of them is kept."""
    text = hide(reply.text)
    if text == reply.text and not reply.lines:  # nearly all of them
        return reply
    joined, lines = hide("\n".join(reply.lines)), tuple(map(hide, reply.lines))
    if text == reply.text and lines == reply.lines and joined == "\n".join(lines):
        return reply
    # A password may be a word that servers say anyway: the other lines still say what is offered.
    return reply._replace(text=text[:LONGEST_REPLY], lines=lines if joined == "\n".join(lines) else ())
