"""Whole messages made by the host: stored as bytes that are ready for sending, with our header for each invitation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from email.errors import MessageError
from email.header import Header
from email.message import EmailMessage, Message
from email.policy import SMTP, EmailPolicy
from typing import Any, TypeVar

from own_smtp.errors import ContentError
from own_smtp.hooks.events import WholeMessage
from own_smtp.messages.entities import (
    Entity,
    fields_of,
    joined,
    line_ends_of_header,
    name_of,
    split_entity,
    text_of,
    wire_safe,
)
from own_smtp.messages.fields import FieldKind, kind_of, write_field
from own_smtp.messages.headers import mailbox, mailboxes
from own_smtp.smtp.addresses import parse_address
from own_smtp.smtp.values import Identity
from own_smtp.smtp.wire_check import ONCE

_Given = TypeVar("_Given")

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NEW_LINE = re.compile(r"\r\n?(?![ \t\n])|(?<!\r)\n(?![ \t])|\0")
"""Line ends that would begin another field or end the header, and NUL."""

# Fields that Own SMTP writes, that name other recipients or senders, and that sign or authenticate another header.
_DROPPED = frozenset(
    {b"apparently-to", b"auto-submitted", b"bcc", b"cc", b"date", b"from", b"message-id", b"sender", b"to"}
    | {b"arc-authentication-results", b"arc-message-signature", b"arc-seal", b"authentication-results"}
    | {b"delivered-to", b"dkim-signature", b"domainkey-signature", b"received", b"return-path", b"x-original-to"}
)
_OF_THE_BODY = ("content-", "mime-version")
_COPIES = frozenset({b"bcc", b"cc"})
NO_COPIES = "The message has Cc or Bcc. No copies are sent: create an invitation for each recipient."
_LISTS = {b"in-reply-to": b"", b"references": b"", b"reply-to": b","}
"""List fields that a header has once, with the separator by which the values of two are joined."""


class _WholePolicy(EmailPolicy):
    """Keeps ASCII fields of parts unfolded: folded at 78, a long one would become encoded words (cpython #85725)."""

    def fold(self, name: str, value: str) -> str:
        folded: str = _inner(value).fold(name, value)
        return folded

    def fold_binary(self, name: str, value: str) -> bytes:
        return _inner(value).fold_binary(name, value)


def _inner(value: str) -> EmailPolicy[EmailMessage]:
    return _WIDE if value.isascii() else _NARROW


_NARROW = SMTP.clone(cte_type="8bit", refold_source="none")
_WIDE = _NARROW.clone(max_line_length=998)
_WHOLE = _WholePolicy(linesep="\r\n", cte_type="8bit", max_line_length=998, refold_source="none")


def whole_bytes(message: WholeMessage) -> bytes:
    """Return a host's message as bytes that are ready for sending: CRLF, no line over 998 octets, 7-bit unless signed.

    Accepts `EmailMessage`, the older `Message`, and any object with `as_bytes()`, such as Flask-Mail's. Raises
    `ContentError` for an invalid message, for a header that readers would interpret differently, and for copies (Cc,
    Bcc): each invitation goes to one recipient.
    """
    data = wire_ready(_or_refuse(_serialised, message))
    for field in fields_of(split_entity(data)[0]):
        if name_of(field) in _COPIES and field.partition(b":")[2].strip():
            name = name_of(field).decode("ascii").title()
            raise ContentError(f"The message has {name}. No copies are sent: create an invitation for each recipient.")
    return data


def wire_ready(data: bytes) -> bytes:
    """Return message bytes in the form of `whole_bytes`; bytes that have it already stay unchanged."""
    data = data.removeprefix(_BYTE_ORDER_MARK)
    head, body = split_entity(data)
    ends = line_ends_of_header(data)
    if not head or not ends:
        raise ContentError("The message is invalid: it needs a header, an empty line and text.")
    if len(ends) > 1:
        raise ContentError("The header of the message has different kinds of line ends: a value may contain one.")
    entity = wire_safe(Entity(_each_once(fields_of(head)), body))
    ready = joined(entity)
    return ready if ready.endswith(b"\r\n") else ready + b"\r\n"


def compose_whole(message: bytes, identity: Identity, *, address: str, name: str, message_id: str, date: str) -> bytes:
    """Return a host's message, a result of `whole_bytes`, for one recipient with `identity` as its sender.

    From, To, Date, Message-ID and Auto-Submitted are set, and Reply-To if the identity has one. Trace fields and other
    recipients are removed, all other fields are kept. Raises `AddressError` for an invalid address, and `ContentError`
    for an invalid message.
    """
    head, _, body = wire_ready(message).partition(b"\r\n\r\n")
    ours = [
        mailbox("From", parse_address(identity.address), identity.name),
        mailbox("To", address, name),
        f"Date: {date}\r\nMessage-ID: {message_id}\r\nAuto-Submitted: auto-generated\r\n".encode("ascii"),
    ]
    if identity.reply_to:
        ours.append(mailbox("Reply-To", parse_address(identity.reply_to), ""))
    kept = _kept(fields_of(head), b"reply-to" if identity.reply_to else b"")
    return b"".join([*ours, *kept, b"\r\n", body])


def _kept(fields: Iterable[bytes], replaced: bytes) -> list[bytes]:
    kept = [
        field
        for field in fields
        if (name := name_of(field)) not in _DROPPED and name != replaced and not name.startswith(b"resent-")
    ]
    has_version = any(name_of(field) == b"mime-version" for field in kept)
    return kept if has_version else [b"MIME-Version: 1.0\r\n", *kept]


def _each_once(fields: Sequence[bytes]) -> list[bytes]:
    """Join duplicate list fields; refuse duplicates of other fields that a header has once (RFC 5322, 3.6)."""
    kept: dict[bytes, bytes] = {}
    for index, field in enumerate(fields):
        name = name_of(field)
        if name not in ONCE or name in _DROPPED:
            kept[b"%s %d" % (name, index)] = field
        elif name not in kept:
            kept[name] = field
        elif name in _LISTS:
            kept[name] = kept[name][:-2] + _LISTS[name] + b"\r\n " + field.partition(b":")[2].lstrip()
        else:
            raise ContentError(f"The message has the header {name.decode('ascii').title()} twice.")
    return list(kept.values())


def _or_refuse(write: Callable[[_Given], bytes], given: _Given) -> bytes:
    """Turn the errors that the `email` package raises for messages that it cannot write into `ContentError`."""
    try:
        return write(given)
    except ContentError:
        raise
    except (AttributeError, LookupError, MessageError, TypeError, ValueError) as error:
        raise ContentError(f"The message cannot be written: {error}") from error


def _serialised(message: WholeMessage) -> bytes:
    """Return the message with a header written here from its decoded fields; libraries write the parts."""
    if isinstance(message, Message):
        return _with_header(message.as_bytes(policy=_policy_of(message)), _fields_of_message(message))
    if hasattr(message, "has_bad_headers"):
        return _with_header(_body_alone(message).as_bytes(), _fields_of_flask_mail(message))
    return message.as_bytes()


def _with_header(data: bytes, fields: Sequence[bytes]) -> bytes:
    head, body = split_entity(data)
    of_the_body = [field for field in fields_of(head) if name_of(field).decode("ascii").startswith(_OF_THE_BODY)]
    return joined(Entity([*fields, *of_the_body], body))


def _policy_of(message: Message) -> Any:
    """Return the policy to write a message with: its own if it is signed, because signed parts must not change."""
    is_signed = any(part.get_content_type() == "multipart/signed" for part in message.walk())
    if not isinstance(message.policy, EmailPolicy):
        return message.policy.clone(linesep="\r\n")
    return message.policy.clone(linesep="\r\n", refold_source="none") if is_signed else _WHOLE


def _fields_of_message(message: Message) -> list[bytes]:
    for part in message.walk():
        for name, value in part.raw_items():
            _check_value(name, str(value))
    return [
        _field_of(name, value)
        for name, value in message.raw_items()
        if not name.lower().startswith(_OF_THE_BODY) and name.lower().encode() not in _DROPPED - _COPIES
    ]


def _field_of(name: str, value: Any) -> bytes:
    """Write a field from its source text, a `Header`, or a modern policy's header object."""
    if isinstance(value, Header):
        return write_field(name, str(value))
    if not hasattr(value, "defects"):
        return _source_field(name, value)
    if hasattr(value, "addresses") and value.addresses:
        return mailboxes(name, [(parse_address(item.addr_spec), item.display_name or "") for item in value.addresses])
    text = str(value)
    return (
        _source_field(name, text) if text.isascii() and kind_of(name) is not FieldKind.TEXT else write_field(name, text)
    )


def _source_field(name: str, value: str) -> bytes:
    """Write a field: an ASCII value is already in transmitted form, any other one is a decoded text."""
    if not value.isascii():
        return write_field(name, text_of(value.encode("utf-8", "surrogateescape")))
    return fields_of(f"{name}: {value.strip()}".encode("ascii"))[0]


def _fields_of_flask_mail(message: Any) -> list[bytes]:
    """Return the fields of a Flask-Mail message. Messages that `mail.send` would refuse are refused here, too."""
    if message.has_bad_headers():
        raise ContentError("The message has a line end in its subject, its sender or a recipient.")
    if message.cc or message.bcc:
        raise ContentError(NO_COPIES)
    for item in message.attachments:
        for what in (item.filename, item.content_type, item.disposition, *item.headers, *item.headers.values()):
            _check_value("Content-Disposition", str(what or ""))
    fields = [_source_field("Subject", str(message.subject))] if message.subject else []
    if message.reply_to:
        fields.append(_reply_to(message.reply_to))
    for name, value in (message.extra_headers or {}).items():
        _check_value(name, str(value))
        if not name.lower().startswith(_OF_THE_BODY):
            fields.append(_source_field(name, str(value)))
    return fields


def _body_alone(message: Any) -> Any:
    """Return a Flask-Mail message without the header fields that are written here: it cannot write all of them."""
    alone = copy(message)
    alone.subject, alone.reply_to = "", None
    given = message.extra_headers or {}
    alone.extra_headers = {name: value for name, value in given.items() if name.lower().startswith(_OF_THE_BODY)}
    return alone


def _reply_to(person: str | tuple[str, str]) -> bytes:
    if isinstance(person, str):
        return write_field("Reply-To", person)
    return mailbox("Reply-To", parse_address(person[1]), person[0])


def _check_value(name: str, value: str) -> None:
    if _NEW_LINE.search(value):
        raise ContentError(f"The value of the header {name} contains a line end or a NUL, which could end the field.")
