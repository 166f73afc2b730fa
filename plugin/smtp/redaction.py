"""A server's words made safe to keep: nothing that a terminal, a log or a page would obey, and no secret in them."""

from __future__ import annotations

import base64
import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from urllib.parse import quote

LONGEST_REPLY = 500
"""In characters."""

REMOVED = "•••"
"""What stands where a secret or an address was."""

# Sequences that a terminal obeys (ECMA-48, 5.4 and 5.6): control sequences, strings up to their terminator, the rest.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


def clean_reply(text: str | bytes) -> str:
    """Return a server's words as one line of at most 500 printable characters.

    Invalid UTF-8 and what no text holds become U+FFFD; line ends and control characters become spaces, of which one is
    kept; ANSI sequences, and characters that are not seen or turn the direction of writing, go. HTML stays as it is: a
    page must escape it.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    visible = "".join(map(_visible, _ESCAPES.sub("", text)))
    return " ".join(visible.split())[:LONGEST_REPLY].rstrip()


def _visible(character: str) -> str:
    if character.isprintable():
        return character
    return _REPLACEMENTS.get(unicodedata.category(character), "\N{REPLACEMENT CHARACTER}")


_REPLACEMENTS = {"Cc": " ", "Zs": " ", "Zl": " ", "Zp": " ", "Cf": ""}
"""By category: controls and separators; formats such as bidirectional overrides and zero-width characters."""


def mask_addresses(text: str) -> str:
    """Take out whatever looks like somebody's address: for texts of which nobody knows whose could be in them."""
    return _ADDRESS.sub(REMOVED, text)


_ADDRESS = re.compile(r"(?<![^\s<>\"'(),:;\[\]])[^\s<>\"'(),:;\[\]]+@[^\s<>\"'(),:;\[\]]+")
"""Looked for from the beginnings of words only: a long word without any address is read once."""


def redact(text: str, secrets: Iterable[str]) -> str:
    """Take secrets out of a text, plain and inside base64, as a server does that echoes the AUTH line.

    Finds a secret in any case, with white space inside (an echo over several lines), percent-encoded, as `clean_reply`
    leaves it, and cut short at the text's end. Of base64 that holds a secret the whole word goes, whatever else is in
    it; a secret of one or two characters is found there only when it stands alone.
    """
    squeezed, places = _squeeze(text)
    spans = [
        (places[start], places[end - 1] + 1)
        for secret in secrets
        for form in _plain_forms(secret)
        for start, end in _find(_squeeze(form)[0], squeezed)
    ]
    spans += [
        _whole_word(text, places[start], places[end - 1] + 1)
        for secret in secrets
        for form in _base64_forms(secret)
        for start, end in _find(_squeeze(form)[0], squeezed)
    ]
    return _replace(text, sorted(spans))


_SHORTEST = 3
"""Fewer characters of base64 would be found in ordinary words, and fewer of a secret's beginning at a text's end."""
_IN_BASE64 = frozenset(string.ascii_letters + string.digits + "+/=_-")
_URL_SAFE = str.maketrans("+/", "-_")


def _squeeze(text: str) -> tuple[str, list[int]]:
    """Return the text in lower case without white space, and for each of its characters where it came from."""
    pairs = [(small, place) for place, large in enumerate(text) if not large.isspace() for small in large.lower()]
    return "".join(small for small, _ in pairs), [place for _, place in pairs]


def _plain_forms(secret: str) -> set[str]:
    data = secret.encode("utf-8", "surrogatepass")
    return {secret, clean_reply(secret), quote(data, safe=""), quote(data)}


def _base64_forms(secret: str) -> Iterator[str]:
    """Return what base64 of any text with the secret in it must contain, for each place where the secret may begin."""
    data = secret.encode("utf-8", "surrogatepass")
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + data).decode("ascii").rstrip("=")
        first = (before * 8 + 5) // 6
        # Unless it is full, the last character holds bits of what follows, too.
        last = len(encoded) - bool((before + len(data)) % 3)
        if last - first >= _SHORTEST:
            yield encoded[first:last]
            yield encoded[first:last].translate(_URL_SAFE)
    yield base64.b64encode(data).decode("ascii")


def _find(form: str, text: str) -> Iterator[tuple[int, int]]:
    """Return where a form stands in a text, and where the text ends with the beginning of one."""
    start = text.find(form) if form else -1
    while start >= 0:
        yield start, start + len(form)
        start = text.find(form, start + 1)
    for size in range(len(form) - 1, _SHORTEST - 1, -1):
        if text.endswith(form[:size]):
            yield len(text) - size, len(text)
            return


def _whole_word(text: str, start: int, end: int) -> tuple[int, int]:
    while start > 0 and text[start - 1] in _IN_BASE64:
        start -= 1
    while end < len(text) and text[end] in _IN_BASE64:
        end += 1
    return start, end


def _replace(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Put `REMOVED` in the place of each span; those that touch become one. The spans are in order."""
    parts: list[str] = []
    position = 0
    for start, end in spans:
        if not parts or start > position:
            parts += [text[position:start], REMOVED]
        position = max(position, end)
    return "".join([*parts, text[position:]])


class Redactor:
    """Takes the same secrets out of many texts: what cannot hold one costs next to nothing."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = tuple(secrets)
        forms = {form for secret in self._secrets for form in (*_plain_forms(secret), *_base64_forms(secret))}
        squeezed = {_squeeze(form)[0][:_SHORTEST] for form in forms}
        self._beginnings = tuple(sorted(squeezed - {""}))

    def __repr__(self) -> str:
        return "<Redactor>"

    def __call__(self, text: str) -> str:
        """Return what `redact` returns; the text itself when there is nothing to take out."""
        if text.isascii():
            squeezed = text.lower().translate(_NO_SPACE)
            if not any(beginning in squeezed for beginning in self._beginnings):
                return text
        return redact(text, self._secrets)


_NO_SPACE = {code: None for code in range(128) if chr(code).isspace()}
