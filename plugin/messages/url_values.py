"""Values inside URLs: percent-encoded for their position (RFC 3986, 2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

_IN_PATH = "!$'()*+,-./:;=@_~"
"""Characters that a value keeps in a path; those that would end the path, and `%`, are percent-encoded."""


def encoder_behind(before: str) -> Callable[[str], str] | None:
    """Return the encoding of a value behind the beginning of a URL; `None` leaves it unchanged.

    1. At the beginning it is the URL: unchanged. 2. Behind `?` it is the whole query: unchanged. 3. Elsewhere in a
    query or a fragment it is data. 4. In a path, or in the address of a mailto, slashes and the like are kept. 5. In
    the host it is unchanged.
    """
    url = re.split(r"[<>\s]", before)[-1]
    if not url or url.endswith("?"):
        return None
    if "?" in url or "#" in url:
        return as_data
    _scheme, slashes, rest = url.partition("://")
    return None if slashes and "/" not in rest else as_path


def as_data(value: str) -> str:
    """Percent-encode all characters with a meaning in URLs."""
    return quote(value, safe="", errors="replace")


def as_path(value: str) -> str:
    """Percent-encode characters that are invalid in a path, or would end it."""
    return quote(value, safe=_IN_PATH, errors="replace")
