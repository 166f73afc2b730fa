"""Removes secrets from a server's text, whatever encoding the server repeats them in.

A text is decoded as a whole, once for each encoding, and the secret is searched for in the result. All steps are linear
in the length of the text, however often and however close together the secret occurs.
"""

from __future__ import annotations

import base64
import html
import re
import string
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

from own_smtp.smtp.redaction import LONGEST_REPLY, REMOVED, clean_reply
from own_smtp.smtp.values import Reply

_SHORTEST = 3
"""The shortest match, in characters: shorter base64 occurs in ordinary words, shorter prefixes at any text's end."""
_IN_BASE64 = frozenset(string.ascii_letters + string.digits + "+/=_-")
_REST_OF_WORD = re.compile(r"[A-Za-z0-9+/=_-]*")
_URL_SAFE = str.maketrans("+/", "-_")
_LOWER = str.maketrans(string.ascii_uppercase + "\x1c\x1d\x1e\x1f", string.ascii_lowercase + "    ")

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Encoding:
    """An encoding of octets in a text. All of them ignore white space."""

    marker: str
    """A text without it contains nothing in this encoding."""
    pattern: re.Pattern[str]
    decode: Callable[[re.Match[str]], str] | None
    """Returns the octets that a match stands for; `None` if matches are only removed."""


def _octet(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else ""


def _entity(match: re.Match[str]) -> str:
    return _octets(html.unescape(match[0])) if match[1] else ""


def _escape(match: re.Match[str]) -> str:
    code, octet, octal, sign = match[1], match[2], match[3], match[4]
    if code or octet:
        return _octets(chr(int(code, 16))) if code else chr(int(octet, 16))
    return chr(int(octal, 8) & 0xFF) if octal else (sign or "").strip()


_PLAIN = _Encoding("", re.compile(r"\s+", re.ASCII), None)
_HEX = _Encoding("", re.compile(r"[\s:,-]+|\\x|0x", re.ASCII), None)
_ENCODINGS = (
    _Encoding("%", re.compile(r"\s+|%([0-9a-f]{2})", re.ASCII), _octet),  # percent-encoding (RFC 3986, 2.1)
    _Encoding(
        "=", re.compile(r"=?\s+|=([0-9a-f]{2})", re.ASCII), _octet
    ),  # quoted-printable, soft breaks too (RFC 2045, 6.7)
    _Encoding("&", re.compile(r"\s+|&(#[0-9]{1,7}|#x[0-9a-f]{1,6}|[a-z][a-z0-9]{1,30});", re.ASCII), _entity),
    _Encoding(
        "\\", re.compile(r"\s+|\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|([0-7]{3})|(.))", re.ASCII), _escape
    ),  # C and JSON
)


class _View:
    """A text decoded by one encoding."""

    def __init__(self, text: str, encoding: _Encoding) -> None:
        self._text = text
        self._encoding = encoding
        self.decoded = encoding.pattern.sub(encoding.decode or "", text).translate(_LOWER)

    @cached_property
    def edges(self) -> tuple[list[int], list[int]]:
        """The positions in the text at which each decoded character begins and ends."""
        decode = self._encoding.decode
        starts: list[int] = []
        ends: list[int] = []
        position = 0
        for match in self._encoding.pattern.finditer(self._text):
            starts += range(position, match.start())
            ends += range(position + 1, match.start() + 1)
            size = len(decode(match)) if decode else 0
            starts += [match.start()] * size
            ends += [match.end()] * size
            position = match.end()
        starts += range(position, len(self._text))
        ends += range(position + 1, len(self._text) + 1)
        return starts, ends


@dataclass(frozen=True)
class _Form:
    """A secret as it appears in a decoded text."""

    text: str
    is_base64: bool = False

    @cached_property
    def beginning(self) -> str:
        return self.text[:_SHORTEST]

    @cached_property
    def periods(self) -> list[int]:
        """The shifts by which it overlaps itself, the shortest first (Knuth, Morris, Pratt)."""
        borders = [0]
        for sign in self.text[1:]:
            border = borders[-1]
            while border and sign != self.text[border]:
                border = borders[border - 1]
            borders.append(border + (sign == self.text[border]))
        found, border = [], borders[-1]
        while border:
            found.append(len(self.text) - border)
            border = borders[border - 1]
        return found

    def find(self, text: str, start: int) -> Span | None:
        """Return its next occurrence; overlapping occurrences count as one."""
        start = text.find(self.text, start)
        if start < 0:
            return None
        end = start + len(self.text)
        while step := self._overlap(text, end):
            end += step
        return start, end

    def _overlap(self, text: str, end: int) -> int:
        """Return how far an occurrence that overlaps the one ending here extends beyond it; 0 if there is none."""
        return next((step for step in self.periods if text.startswith(self.text[-step:], end)), 0)

    def cut_at(self, text: str, end: int) -> int:
        """Return the length of the prefix that stands before `end`, at least `_SHORTEST` characters; else 0."""
        start = max(0, end - len(self.text) + 1)
        while (start := text.find(self.beginning, start, end)) >= 0:
            if self.text.startswith(text[start:end]):
                return end - start
            start += 1
        return 0


class Redactor:
    """Removes the same secrets from many texts; texts without secrets cost next to nothing.

    Finds a secret in any case, with white space inside (an echo over several lines), as `clean_reply` leaves it, and
    truncated at the text's end; plain, percent-encoded, as quoted-printable, in HTML entities, in the escapes of C and
    JSON, in hexadecimal, and in base64 at every alignment. A base64 word that contains a secret is removed as a whole;
    a secret of one or two characters is found there only if it stands alone.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        known = tuple(secrets)
        plain = {form for secret in known for form in _plain_forms(secret)}
        in_base64 = {form for secret in known for form in _base64_forms(secret)}
        self._forms = (*map(_Form, sorted(plain)), *(_Form(text, is_base64=True) for text in sorted(in_base64)))
        self._hex = tuple(_Form(form) for form in sorted({_hexadecimal(secret) for secret in known} - {""}))
        self._beginnings = tuple({form.beginning for form in self._forms})
        self._hex_beginnings = tuple({form.beginning for form in self._hex})

    def __repr__(self) -> str:
        return "<Redactor>"

    def __call__(self, text: str) -> str:
        """Return the text without secrets; the same object if there are none."""
        return self._redact(text, (len(text),))

    def without(self, text: str) -> str:
        """Do the same for a text that is known to be complete: its end is not a truncated secret."""
        return self._redact(text, ())

    def reply(self, reply: Reply) -> Reply:
        """Return a reply without secrets; the same object if there are none.

        Its lines are searched together: lines that share a secret become one.
        """
        lines = reply.lines or (reply.text,)
        text = "\n".join(lines)
        ends = accumulate(len(line) + 1 for line in lines)
        cut = [end - 1 for end, line in zip(ends, lines, strict=True) if len(line) >= LONGEST_REPLY - 1]
        kept = self._redact(text, (*cut, len(text)))
        if kept == text:
            return reply
        kept_lines = kept.split("\n")
        joined = " ".join(kept_lines)[:LONGEST_REPLY]
        return reply._replace(text=joined, lines=tuple(kept_lines) if reply.lines else ())

    def _redact(self, text: str, cut: Iterable[int]) -> str:
        data, places = (text.translate(_LOWER), None) if text.isascii() else _lowered(text)
        cuts = [end if places is None else bisect_left(places, end) for end in cut]
        spans = sorted({span for view, forms in self._views(data) for span in _found(data, view, forms, cuts)})
        if not spans:
            return text
        if places is not None:
            spans = [(places[start], places[end - 1] + 1) for start, end in spans]
        return _replace(text, spans)

    def _views(self, data: str) -> Iterator[tuple[_View, Iterable[_Form]]]:
        """Yield the decodings of a text that may contain a secret, with the forms that a secret has there."""
        for encoding in (_PLAIN, *(encoding for encoding in _ENCODINGS if encoding.marker in data)):
            view = _View(data, encoding)
            if any(beginning in view.decoded for beginning in self._beginnings):
                yield view, self._forms
        view = _View(data, _HEX)
        if any(beginning in view.decoded for beginning in self._hex_beginnings):
            yield view, self._hex


def redact(text: str, secrets: Iterable[str]) -> str:
    """Remove secrets from one text, as a `Redactor` does."""
    return Redactor(secrets)(text)


def _found(text: str, view: _View, forms: Iterable[_Form], cuts: list[int]) -> Iterator[Span]:
    """Yield the positions of secrets in one decoding of a text. `cuts` are positions at which it was truncated."""
    for form in forms:
        place = 0
        while span := form.find(view.decoded, place):
            start, end = view.edges[0][span[0]], view.edges[1][span[1] - 1]
            if form.is_base64:
                start, end = _whole_word(text, start, end)
            yield start, end
            place = max(span[1], bisect_left(view.edges[0], end))
        for cut in cuts:
            last = len(view.decoded) if cut == len(text) else bisect_left(view.edges[0], cut)
            if size := form.cut_at(view.decoded, last):
                start = view.edges[0][last - size]
                yield _whole_word(text, start, cut) if form.is_base64 else (start, cut)


def _lowered(text: str) -> tuple[str, list[int]]:
    """Return the UTF-8 of the lower-case text, one character for each octet, and the position of each in the text."""
    octets = [" " if sign.isspace() else _octets(sign.lower()) for sign in text]
    places = [place for place, written in enumerate(octets) for _ in written]
    return "".join(octets), places


def _octets(text: str) -> str:
    return text.encode("utf-8", "surrogatepass").decode("latin-1")


def _plain_forms(secret: str) -> set[str]:
    """Return the secret's forms in a decoded text: original and lower case, without white space."""
    written = {secret, clean_reply(secret)}
    small = {"".join(sign.lower() for sign in form) for form in written}
    return {_octets("".join(form.split())).translate(_LOWER) for form in written | small} - {""}


def _base64_forms(secret: str) -> Iterator[str]:
    """Yield the substrings that base64 of any text with the secret must contain, one for each alignment."""
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode("ascii").rstrip("=")
        first = (before * 8 + 5) // 6
        # The last character may also encode bits of the text behind the secret.
        last = len(encoded) - bool((before + len(data)) % 3)
        if last - first >= _SHORTEST:
            yield encoded[first:last].lower()
            yield encoded[first:last].translate(_URL_SAFE).lower()
    if data:
        yield base64.b64encode(data).decode("ascii").lower()


def _hexadecimal(secret: str) -> str:
    return secret.encode("utf-8", "surrogatepass").hex() if len(secret) >= _SHORTEST else ""


def _whole_word(text: str, start: int, end: int) -> Span:
    while start > 0 and text[start - 1] in _IN_BASE64:
        start -= 1
    rest = _REST_OF_WORD.match(text, end)
    return start, rest.end() if rest else end


def _replace(text: str, spans: Iterable[Span]) -> str:
    """Replace each span by `REMOVED`; adjoining spans become one. The spans are sorted."""
    parts: list[str] = []
    position = 0
    for start, end in spans:
        if not parts or start > position:
            parts += [text[position:start], REMOVED]
        position = max(position, end)
    return "".join([*parts, text[position:]])
