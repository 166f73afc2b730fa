"""A recipient's address made short, and taken out of what servers said. Pure functions."""

from __future__ import annotations

import re

from own_smtp.errors import AddressError
from own_smtp.smtp.addresses import parse_address
from own_smtp.smtp.redaction import REMOVED

SHORTEST_WORD = 3
"""A local part of fewer characters would be found in ordinary words."""


def shorten(address: str) -> str:
    """Return what may be kept of an address: `a…@example.org`. Nothing of a person, most of a problem."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}\N{HORIZONTAL ELLIPSIS}@{domain}"


def normal_form(address: str) -> str:
    """Return the form by which two spellings of one person's address are compared: in small letters.

    A server may tell `Ann` from `ann`; none in use does, and who asks to be forgotten writes either.
    """
    try:
        address = parse_address(address)
    except AddressError:
        address = address.strip()
    return address.lower()


def scrub(text: str, address: str) -> str:
    """Take a recipient's address out of a server's words: as it is, as senders encode it, and its local part alone."""
    local, _, domain = address.rpartition("@")
    if (text + local).isascii() and local.lower() not in text.lower():
        return text  # as nearly always: a pattern for each recipient would cost minutes for a million
    forms = [address, f"{local}={domain}"] + ([local] if len(local) >= SHORTEST_WORD else [])
    pattern = "|".join(rf"(?<![\w.+-]){re.escape(form)}(?![\w+-])" for form in forms if form)
    return re.sub(pattern, REMOVED, text, flags=re.IGNORECASE) if pattern else text
