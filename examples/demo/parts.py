"""The parts of a message as the inbox shows them."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

NEW_TAB = '<base target="_blank">'
CONTENT_ID = re.compile(r"\bcid:([^\s\"'<>()]+)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Part:
    """A file in a message."""

    number: int
    """Counted from 1 within the message."""
    filename: str
    content_type: str
    data: bytes


def attachments(message: EmailMessage) -> Iterator[Part]:
    """Yield the attached files, and the images that the HTML shows inline."""
    files = (part for part in message.walk() if part.get_content_disposition() in {"attachment", "inline"})
    for number, part in enumerate(files, start=1):
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            yield Part(number, part.get_filename() or f"part-{number}", part.get_content_type(), content)


def html_document(message: EmailMessage) -> str | None:
    """Return the HTML with its own images embedded and links that open a new tab; `None` without HTML."""
    body = message.get_body(("html",))
    if body is None:
        return None
    images = dict(_inline_images(message))
    document = CONTENT_ID.sub(lambda match: images.get(match[1], match[0]), str(body.get_content()))
    return NEW_TAB + document


def _inline_images(message: EmailMessage) -> Iterator[tuple[str, str]]:
    for part in message.walk():
        content = part.get_payload(decode=True)
        if part.get_content_maintype() == "image" and part["Content-ID"] and isinstance(content, bytes):
            encoded = base64.b64encode(content).decode("ascii")
            yield str(part["Content-ID"]).strip("<> "), f"data:{part.get_content_type()};base64,{encoded}"
