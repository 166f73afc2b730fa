"""Shortens recipients' addresses, and removes them from servers' replies. Pure functions."""

from __future__ import annotations

import re

from own_smtp.errors import AddressError
from own_smtp.smtp.addresses import parse_address
from own_smtp.smtp.redaction import REMOVED

SHORTEST_WORD = 3
"""Shorter local parts occur in ordinary words."""


def shorten(address: str) -> str:
    """Return the form of an address that may be kept, `a…@example.org`: enough for diagnosis, no personal data."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}\N{HORIZONTAL ELLIPSIS}@{domain}"


def normal_form(address: str) -> str:
    """Return the form by which two spellings of one person's address are compared: in lower case.

    Servers may distinguish `Ann` from `ann`; none in use does, and people who request erasure write either.
    """
    try:
        address = parse_address(address)
    except AddressError:
        address = address.strip()
    return address.lower()


def scrub(text: str, address: str) -> str:
    """Remove a recipient's address from a server's text: as it is, in VERP form (`ann=example.org`), the local part."""
    local, _, domain = address.rpartition("@")
    if (text + local).isascii() and local.lower() not in text.lower():
        return text  # nearly always; compiling a pattern for each of a million recipients would take minutes
    forms = [address, f"{local}={domain}"] + ([local] if len(local) >= SHORTEST_WORD else [])
    pattern = "|".join(rf"(?<![\w.+-]){re.escape(form)}(?![\w+-])" for form in forms if form)
    return re.sub(pattern, REMOVED, text, flags=re.IGNORECASE) if pattern else text
