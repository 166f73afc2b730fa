"""A host's content: checked once and stored as JSON, with its files in rows of their own."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from typing import Any

from own_smtp.errors import ContentError
from own_smtp.hooks.events import Attachment, Content, Invitation
from own_smtp.messages.fields import write_field
from own_smtp.messages.headers import check_header, check_line, clean
from own_smtp.messages.html_text import shows_nothing
from own_smtp.messages.mime import check_attachment
from own_smtp.messages.placeholders import has_placeholders
from own_smtp.messages.raw import whole_bytes
from own_smtp.messages.unsubscribe import check_unsubscribe

LONGEST_SUBJECT = 1000
LONGEST_NAME = 255


def check_content(content: Content) -> None:
    """Raise `ContentError`, with a reason for people, if no message can be made from the content."""
    _check_kind("The content", content, Content, "a Content")
    _check_text("The subject", content.subject)
    _check_text("The text", content.text)
    if content.html is not None:
        _check_text("The HTML", content.html)
    check_line("The subject", content.subject)
    if len(content.subject) > LONGEST_SUBJECT:
        raise ContentError(f"The subject is longer than {LONGEST_SUBJECT} characters.")
    _check_headers(content.headers)
    if content.list_unsubscribe is not None:
        _check_text("The unsubscribe URL", content.list_unsubscribe)
        check_unsubscribe(content.list_unsubscribe, content.one_click_unsubscribe)
    elif content.one_click_unsubscribe:
        raise ContentError("One-click unsubscription needs an unsubscribe URL.")
    _check_attachments(content)


def store_content(content: Content) -> tuple[dict[str, Any], list[Attachment]]:
    """Return a content as JSON, and its files, which get rows of their own. Raises `ContentError`."""
    check_content(content)
    stored = {
        "subject": content.subject,
        "text": content.text,
        "html": content.html,
        "headers": dict(content.headers),
        "list_unsubscribe": content.list_unsubscribe,
        "one_click_unsubscribe": content.one_click_unsubscribe,
    }
    return stored, list(content.attachments)


def load_content(stored: Mapping[str, Any], attachments: Sequence[Attachment]) -> Content:
    """Restore a content from the results of `store_content`."""
    return Content(**stored, attachments=tuple(attachments))


def store_override(invitation: Invitation) -> dict[str, Any] | None:
    """Return an invitation's own content or message as JSON, files included; `None` if it has the batch's content.

    Raises `ContentError`.
    """
    if invitation.message is not None:
        if invitation.content is not None:
            raise ContentError("An invitation has either a content or a message of its own, not both.")
        return {"message": _to_text(whole_bytes(invitation.message))}
    if invitation.content is None:
        return None
    stored, attachments = store_content(invitation.content)
    return {"content": stored, "attachments": [_store_attachment(item) for item in attachments]}


def load_override(stored: Mapping[str, Any]) -> Content | bytes:
    """Restore the content from the result of `store_override`, or the bytes of a whole message."""
    if "message" in stored:
        return b64decode(stored["message"])
    return load_content(stored["content"], [_load_attachment(item) for item in stored["attachments"]])


def store_values(values: Mapping[str, str]) -> dict[str, str]:
    """Return an invitation's values as JSON. Raises `ContentError` for a name or a value that is not text."""
    _check_kind("The values", values, Mapping, "a mapping of names to texts")
    for name, value in values.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise ContentError(f"The value of the placeholder {name} is not text.")
        if not (name.isascii() and value.isascii()):  # most are, and one request may have a hundred thousand
            _check_text("The name of a placeholder", name)
            _check_text(f"The value of the placeholder {name}", value)
    return dict(values)


def store_name(name: str) -> str:
    """Return a recipient's name in a form that fits its column and its header: one line, at most 255 characters."""
    _check_text("The name", name)
    return clean(name)[:LONGEST_NAME]


def _check_text(what: str, text: str) -> None:
    if not isinstance(text, str):
        raise ContentError(f"{what} is not text.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ContentError(f"{what} contains half of a character (a lone surrogate).") from error


def _check_kind(what: str, value: object, kind: type, words: str) -> None:
    if not isinstance(value, kind):
        raise ContentError(f"{what} must be {words}, not {type(value).__name__}.")


def _check_headers(headers: Mapping[str, str]) -> None:
    _check_kind("The headers", headers, Mapping, "a mapping of names to texts")
    seen = set()
    for name, value in headers.items():
        _check_text("A header's name", name)
        _check_text(f"The header {name}", value)
        check_header(name, value)
        if not has_placeholders(value):
            write_field(name, value)
        if name.lower() in seen:
            raise ContentError(f"The header {name} is given twice.")
        seen.add(name.lower())


def _check_attachments(content: Content) -> None:
    seen = set()
    for item in content.attachments:
        _check_kind("Each attachment", item, Attachment, "an Attachment")
        _check_text("A file name", item.filename)
        _check_text(f"The content type of {item.filename}", item.content_type)
        check_attachment(item)
        if item.content_id is None:
            continue
        if shows_nothing(content.html):
            raise ContentError(f"{item.filename} is an inline image, but there is no HTML to show it.")
        if item.content_id in seen:
            raise ContentError(f"The content id {item.content_id} is given twice.")
        seen.add(item.content_id)


def _store_attachment(attachment: Attachment) -> dict[str, Any]:
    return {
        "filename": attachment.filename,
        "content_type": attachment.content_type,
        "content_id": attachment.content_id,
        "data": _to_text(attachment.data),
    }


def _load_attachment(stored: Mapping[str, Any]) -> Attachment:
    return Attachment(**{**stored, "data": b64decode(stored["data"])})


def _to_text(data: bytes) -> str:
    return b64encode(data).decode("ascii")
