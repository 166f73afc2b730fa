"""Values inside URLs: percent-encoded as the place they go to demands (RFC 3986, 2 and 3)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

_IN_PATH = "!$'()*+,-./:;=@_~"
"""What a value keeps in a path: what ends the path, or is an escape, is data there."""


def encoder_behind(before: str) -> Callable[[str], str] | None:
    """Return how a value is encoded behind the beginning of a URL; `None` leaves it alone.

    1. At the beginning it is the URL. 2. Behind `?` it is the whole query. 3. Elsewhere in a query or a fragment it is
    data. 4. In a path, or in the address of a mailto, it keeps slashes and the like. 5. In the host it is a part of it.
    """
    url = re.split(r"[<>\s]", before)[-1]
    if not url or url.endswith("?"):
        return None
    if "?" in url or "#" in url:
        return as_data
    _scheme, slashes, rest = url.partition("://")
    return None if slashes and "/" not in rest else as_path


def as_data(value: str) -> str:
    """Encode all that means anything in a URL."""
    return quote(value, safe="", errors="replace")


def as_path(value: str) -> str:
    """Encode what cannot stand in a path, or would end it."""
    return quote(value, safe=_IN_PATH, errors="replace")
