"""A server's words made safe to keep: nothing that a terminal, a log or a page would obey.

`own_smtp.smtp.secret_redaction` takes secrets out of them.
"""

from __future__ import annotations

import re
import unicodedata

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
