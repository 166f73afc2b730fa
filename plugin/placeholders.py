"""Placeholders: names of capital letters, digits, `_` and `:` in braces, such as `{FIRSTNAME}`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape

Escape = Callable[[str], str]
"""Makes a value fit for the place it goes to."""

_SPACE = re.compile(r"\s")
_PATTERN = re.compile(r"\{([A-Z][A-Z0-9_:]*)\}")


def split(template: str) -> list[str]:
    """Return the template's literal texts, at even places, and its placeholders' names between them."""
    return _PATTERN.split(template)


def has_placeholders(template: str) -> bool:
    """Tell whether anything in the template can be replaced."""
    return _PATTERN.search(template) is not None


def substitute(template: str, values: Mapping[str, str]) -> str:
    """Replace each name that has a value. The values themselves are not searched for placeholders."""
    return _PATTERN.sub(lambda match: values.get(match[1], match[0]), template)


def escape_for(before: str, *, is_html: bool) -> Escape:
    """Return how a value must be escaped that follows the literal text `before`."""
    if not is_html:
        return unescaped
    return escape_in_tag if before.rfind("<") > before.rfind(">") else escape


def unescaped(value: str) -> str:
    """Leave a value as it is, for plain text."""
    return value


def escape_in_tag(value: str) -> str:
    """Escape a value so that it also stays inside of an attribute that lacks its quotes."""
    return _SPACE.sub(_reference, escape(value))


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"
