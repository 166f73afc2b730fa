"""Placeholders: names of capital letters, digits, `_` and `:` in braces, such as `{FIRSTNAME}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape

Escape = Callable[[str], str]
"""Escapes a value for its context."""

_SPACE = re.compile(r"\s")
_PATTERN = re.compile(r"\{([A-Z][A-Z0-9_:]*)\}")


def split(template: str) -> list[str]:
    """Return the template's literal texts, at even indexes, and its placeholders' names between them."""
    return _PATTERN.split(template)


def has_placeholders(template: str) -> bool:
    """Return whether the template contains a placeholder."""
    return _PATTERN.search(template) is not None


class Template:
    """A text with placeholders, parsed once for many recipients."""

    def __init__(self, text: str) -> None:
        self._parts = split(text)
        self._names = [(place, self._parts[place]) for place in range(1, len(self._parts), 2)]
        for place, name in self._names:
            self._parts[place] = f"{{{name}}}"

    def fill(self, values: Mapping[str, str]) -> str:
        """Replace each placeholder that has a value. Placeholders inside values are not replaced."""
        return self.fill_each([values.get(name) for _place, name in self._names])

    def fill_each(self, values: Sequence[str | None]) -> str:
        """Replace each placeholder by the value at its index; `None` leaves it unchanged."""
        parts = self._parts.copy()
        for (place, _name), value in zip(self._names, values, strict=True):
            if value is not None:
                parts[place] = value
        return "".join(parts)


def escape_for(before: str, *, is_html: bool) -> Escape:
    """Return the escaping for a value that follows the literal text `before`."""
    if not is_html:
        return unescaped
    return escape_in_tag if before.rfind("<") > before.rfind(">") else escape


def unescaped(value: str) -> str:
    """Return a value unchanged, for plain text."""
    return value


def escape_in_tag(value: str) -> str:
    """Escape a value so that it also stays inside an unquoted attribute."""
    escaped = escape(value)
    if escaped.isprintable() and " " not in escaped:  # no other white space is printable
        return escaped
    return _SPACE.sub(_reference, escaped)


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
