"""Placeholders: names of capital letters, digits, `_` and `:` in braces, such as `{FIRSTNAME}`."""

from __future__ import annotations

import re
from collections.abc import Mapping

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
