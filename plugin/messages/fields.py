"""Header fields by their kind (RFC 5322, 3.6): encoding, and values that must be refused.

In free text everything can become an encoded word; in a structured field only a phrase or a comment can (RFC 2047, 5).
"""

from __future__ import annotations

import re
from email.headerregistry import HeaderRegistry
from enum import StrEnum
from typing import Any

from own_smtp.errors import ContentError
from own_smtp.messages.headers import FOLD, LONGEST_WORD, clean, folded, mailboxes, phrase, unstructured
from own_smtp.messages.unsubscribe import usable_url
from own_smtp.smtp.addresses import parse_address


class FieldKind(StrEnum):
    """The format of a field's value."""

    TEXT = "text"
    ADDRESSES = "addresses"
    URLS = "urls"
    """URLs in angle brackets, with comments (RFC 2369, 2)."""
    LIST_ID = "list_id"
    """A phrase and an id in angle brackets (RFC 2919, 3)."""
    ASCII = "ascii"
    """Keywords, ids, numbers: nothing in them can be encoded."""


_KINDS = {
    FieldKind.ADDRESSES: (
        "cc", "disposition-notification-to", "errors-to", "mail-followup-to", "mail-reply-to", "reply-to",
        "return-receipt-to", "x-confirm-reading-to", "x-errors-to",
    ),
    FieldKind.URLS: (
        "archived-at", "list-archive", "list-help", "list-owner", "list-post", "list-subscribe", "list-unsubscribe",
    ),
    FieldKind.LIST_ID: ("list-id",),
    FieldKind.ASCII: (
        "auto-submitted", "content-language", "importance", "in-reply-to", "list-unsubscribe-post", "precedence",
        "priority", "references", "x-auto-response-suppress", "x-priority",
    ),
}  # fmt: skip
_KIND_OF = {name: kind for kind, names in _KINDS.items() for name in names}

_REGISTRY = HeaderRegistry()
_BRACKETS = re.compile(r"<([^<>]*)>")
_COMMENT = re.compile(r"\(([^()<>]*)\)")
_LIST_ID = re.compile(r"(.*)<([^<>\s]+)>", re.DOTALL)
_ID = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~@.-]+")


def kind_of(name: str) -> FieldKind:
    """Return the kind of a field; unknown fields are free text (RFC 5322, 3.6.8)."""
    return _KIND_OF.get(name.lower(), FieldKind.TEXT)


def write_field(name: str, value: str) -> bytes:
    """Return a whole field with its line end, from its decoded value.

    Raises `ContentError` for a value that this field cannot contain.
    """
    value = clean(value)
    match kind_of(name):
        case FieldKind.ADDRESSES:
            return mailboxes(name, addresses_in(name, value))
        case FieldKind.URLS:
            return _ascii(name, value if value.isascii() else _with_urls(name, value))
        case FieldKind.LIST_ID:
            return _list_id(name, value)
        case FieldKind.ASCII:
            return _ascii(name, value)
        case FieldKind.TEXT:
            return unstructured(name, value)


def addresses_in(name: str, value: str) -> list[tuple[str, str]]:
    """Return the addresses of a list, each with its display name. Raises `ContentError` for anything else in it."""
    header: Any = _REGISTRY("reply-to", value)
    try:
        found = [(parse_address(item.addr_spec), item.display_name or "") for item in header.addresses]
    except ContentError as error:
        raise ContentError(f"The header {name} contains an invalid address: {error}") from error
    if not found:
        raise ContentError(f"The header {name} contains no address.")
    return found


def _with_urls(name: str, value: str) -> str:
    """Percent-encode each URL, and encode each comment (RFC 3986, 2.1; RFC 2047, 5 (2)). Other text must be ASCII."""
    rest = _COMMENT.sub("", _BRACKETS.sub("", value))
    urls = [usable_url(url) for url in _BRACKETS.findall(value)]
    if not all(urls) or not rest.isascii():
        raise ContentError(f"The header {name} needs URLs in angle brackets; this value is not valid: {value}")
    written = iter(urls)
    value = _BRACKETS.sub(lambda _match: f"<{next(written)}>", value)
    return _COMMENT.sub(lambda match: f"({phrase(match[1], 2)})" if not match[1].isascii() else match[0], value)


def _list_id(name: str, value: str) -> bytes:
    match = _LIST_ID.fullmatch(value)
    words, identifier = (match[1].strip(), match[2]) if match else ("", value)
    if not _ID.fullmatch(identifier):
        raise ContentError(f"The header {name} needs an id in ASCII such as <surveys.example.org>, not: {value}")
    if not match or not words or '"' in words or "=?" in words:
        return _ascii(name, value)
    return f"{name}: {phrase(words, len(name) + 2)}{FOLD}<{identifier}>\r\n".encode("ascii")


def _ascii(name: str, value: str) -> bytes:
    if not "".join(value.split()).isascii():
        raise ContentError(f"The header {name} allows only ASCII, not: {value}")
    if max(map(len, value.split(" "))) > LONGEST_WORD:
        raise ContentError(f"The header {name} contains a word of more than {LONGEST_WORD} characters.")
    return folded(name, value)
