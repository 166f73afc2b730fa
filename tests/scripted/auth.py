"""The server's side of an AUTH exchange (RFC 4954)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

Ask = Callable[[str], str | None]
"""Sends a prompt, and returns the decoded answer or `None` for a `*`."""


def exchange(mechanism: str, initial: str, ask: Ask) -> tuple[str, str] | None:
    """Return user name and password, or `None` when the client cancelled or the mechanism is not known."""
    if mechanism == "LOGIN":
        username = decoded(initial) if initial else ask("Username:")
        password = None if username is None else ask("Password:")
        return None if username is None or password is None else (username, password)
    if mechanism not in {"PLAIN", "XOAUTH2"}:
        return None
    response = decoded(initial) if initial else ask("")
    if response is None:
        return None
    return _plain(response) if mechanism == "PLAIN" else _xoauth2(response)


def _plain(response: str) -> tuple[str, str]:
    _, username, password = (response + "\0\0").split("\0")[:3]
    return username, password


def _xoauth2(response: str) -> tuple[str, str]:
    fields = dict(item.partition("=")[::2] for item in response.split("\x01"))
    return fields.get("user", ""), fields.get("auth", "").removeprefix("Bearer ")


def decoded(text: str) -> str:
    """Return the decoded base64; an empty text for invalid input."""
    try:
        return base64.b64decode(text.encode("ascii", "replace")).decode("utf-8", "surrogateescape")
    except binascii.Error:
        return ""


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
