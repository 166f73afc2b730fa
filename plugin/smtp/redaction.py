"""Sanitises a server's text for terminals, logs and pages: no control characters, no escape sequences.

`own_smtp.smtp.secret_redaction` removes secrets from it.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST_REPLY = 500
"""In characters."""

REMOVED = "•••"
"""Replaces a secret or an address."""

# Sequences that control a terminal (ECMA-48, 5.4 and 5.6): control sequences, strings up to their terminator, the rest.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]?"
)


def clean_reply(text: str | bytes) -> str:
    """Return a server's text as one line of at most 500 printable characters.

    Invalid UTF-8 and unassigned characters become U+FFFD; runs of line ends and control characters become one space.
    ANSI sequences, invisible characters and those that change the writing direction are removed. HTML stays as it is:
    pages must escape it.
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
"""By category: controls and separators; format characters such as bidirectional overrides and zero-width ones."""


def mask_addresses(text: str) -> str:
    """Replace everything that looks like an email address, for texts that may contain any person's address."""
    return _ADDRESS.sub(REMOVED, text)


_ADDRESS = re.compile(r"(?<![^\s<>\"'(),:;\[\]])[^\s<>\"'(),:;\[\]]+@[^\s<>\"'(),:;\[\]]+")
"""Matches at the beginnings of words only: a long word without an address is scanned once."""
