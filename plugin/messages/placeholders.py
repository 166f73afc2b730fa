"""Placeholders: names of capital letters, digits, `_` and `:` in braces, such as `{FIRSTNAME}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from html import escape, unescape

from own_smtp.messages.url_values import as_data, as_path, encoder_behind

LONGEST_START = 1000
"""Characters of a URL before a placeholder; longer URLs are not recognised, so that no template takes long."""

Escape = Callable[[str], str]
"""Escapes a value for its context."""

_SPACE = re.compile(r"\s")
_IN_ATTRIBUTE = re.compile(
    r"\b(?:action|background|cite|data|href|poster|src)\s*=\s*(?:\"([^\"]*)|'([^']*)|([^\s\"']*))\Z", re.IGNORECASE
)
"""The beginning of a URL in a tag."""
_IN_TEXT = re.compile(r"(?:(?:https?://|mailto:)[^\s<>\"]*|\{[A-Z][A-Z0-9_:]*\}\?[^\s<>\"]*=)\Z", re.IGNORECASE)
"""The beginning of a URL that mail programs make a link."""
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
    """Return the escaping for a value that follows the template's text `before`, placeholders included.

    Inside a URL it is percent-encoded, as in List-Unsubscribe: otherwise `kim+a&b@example.org` in a link's query would
    reach somebody else.
    """
    is_in_tag = is_html and before.rfind("<") > before.rfind(">")
    if is_in_tag:
        match = _IN_ATTRIBUTE.search(before, max(before.rfind("<"), len(before) - LONGEST_START))
        url = next((group for group in match.groups() if group is not None), "") if match else ""
    else:
        start = max(before.rfind(end) for end in " \n\t>") + 1
        match = _IN_TEXT.search(before, max(start, len(before) - LONGEST_START))
        url = match[0] if match else ""
    encode = encoder_behind(unescape(url) if is_html else url)
    if encode is as_path and is_html:
        return _escape_path
    if encode is not None:
        return encode
    if not is_html:
        return unescaped
    return escape_in_tag if is_in_tag else escape


def changes_only_html(escapes: Sequence[Escape]) -> bool:
    """Tell whether each of these leaves a value alone that has nothing of HTML in it: none is for a URL."""
    return not any(escape in {as_data, as_path, _escape_path} for escape in escapes)


def _escape_path(value: str) -> str:
    """Percent-encode a value for a path; its apostrophes could end an attribute."""
    return escape(as_path(value))


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
