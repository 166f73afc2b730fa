"""Whole messages made by the host: kept as bytes that are ready for the wire, given our header once an invitation."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.errors import MessageError
from email.message import EmailMessage, Message
from email.parser import BytesParser
from email.policy import SMTP, EmailPolicy
from typing import TypeVar

from own_smtp.errors import ContentError
from own_smtp.hooks.events import WholeMessage
from own_smtp.messages.encodings import base64_lines
from own_smtp.messages.headers import mailbox, unstructured
from own_smtp.smtp.addresses import parse_address
from own_smtp.smtp.values import Identity

_Given = TypeVar("_Given")

_LINE_END = re.compile(rb"\r\n|\r|\n")
_UNFIT = re.compile(rb"[^\t\r\n -~]|\r(?!\n)|(?<!\r)\n|[^\r\n]{999}")
_BINARY = re.compile(rb"^content-transfer-encoding:\s*(?:8bit|binary)", re.IGNORECASE | re.MULTILINE)
_HEAD_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")

# What Own SMTP writes, what names other recipients or senders, and what vouches for another header.
_DROPPED = frozenset(
    {b"apparently-to", b"auto-submitted", b"bcc", b"date", b"from", b"message-id", b"sender", b"to", b"x-original-to"}
    | {b"arc-authentication-results", b"arc-message-signature", b"arc-seal", b"authentication-results"}
    | {b"delivered-to", b"dkim-signature", b"domainkey-signature", b"received", b"return-path"}
)
_FREE_TEXT = (b"subject", b"comments", b"x-")
_ONCE = frozenset({b"content-transfer-encoding", b"content-type", b"mime-version", b"subject"})


class _WholePolicy(EmailPolicy):
    """Writes ASCII fields as they are: folded at 78, a long URL would become an encoded word (cpython #85725)."""

    def fold(self, name: str, value: str) -> str:
        folded: str = _inner(value).fold(name, value)
        return folded

    def fold_binary(self, name: str, value: str) -> bytes:
        return _inner(value).fold_binary(name, value)


def _inner(value: str) -> EmailPolicy[EmailMessage]:
    return _WIDE if value.isascii() else _NARROW


_NARROW = SMTP.clone(cte_type="7bit")
_WIDE = _NARROW.clone(max_line_length=998)
_WHOLE = _WholePolicy(linesep="\r\n", cte_type="7bit", max_line_length=998)


def whole_bytes(message: WholeMessage) -> bytes:
    """Return a host's message as bytes that are ready for the wire: 7-bit, CRLF, no line over 998 octets.

    Takes `EmailMessage`, the older `Message`, and whatever else has `as_bytes()`, such as Flask-Mail's. Raises
    `ContentError` when it is no message.
    """
    return wire_ready(_or_refuse(_serialised, message))


def wire_ready(data: bytes) -> bytes:
    """Return message bytes in the form of `whole_bytes`; those that have it already are not touched."""
    if not _BINARY.search(data):
        data = _LINE_END.sub(b"\r\n", data)
    if _UNFIT.search(data) or _BINARY.search(data):
        data = _or_refuse(_reencoded, data)
    head, separator, _ = data.partition(b"\r\n\r\n")
    if not separator or _UNFIT.search(data) or not all(map(_FIELD.match, _FIELD_END.split(head))):
        raise ContentError("The message is no message: it needs a header, an empty line and text.")
    return data if data.endswith(b"\r\n") else data + b"\r\n"


def compose_whole(message: bytes, identity: Identity, *, address: str, name: str, message_id: str, date: str) -> bytes:
    """Return a host's message, as `whole_bytes` made it, to one recipient in the name of `identity`.

    From, To, Date, Message-ID and Auto-Submitted are set, and Reply-To if the identity has one. Traces of other
    transports and recipients are dropped, all else is kept. Raises `AddressError` for an address that is none, and
    `ContentError` for bytes that are no message.
    """
    head, _, body = wire_ready(message).partition(b"\r\n\r\n")
    ours = [
        mailbox("From", parse_address(identity.address), identity.name),
        mailbox("To", address, name),
        f"Date: {date}\r\nMessage-ID: {message_id}\r\nAuto-Submitted: auto-generated\r\n".encode("ascii"),
    ]
    if identity.reply_to:
        ours.append(mailbox("Reply-To", parse_address(identity.reply_to), ""))
    kept = _kept(head, {b"reply-to"} if identity.reply_to else set())
    return b"".join([*ours, *kept, b"\r\n", body])


def _kept(head: bytes, replaced: set[bytes]) -> list[bytes]:
    kept, seen = [], set(replaced)
    for line in _FIELD_END.split(head):
        match = _FIELD.match(line)
        name = match[1].lower() if match else b""
        if name in _DROPPED or name in seen or name.startswith(b"resent-"):
            continue
        if name in _ONCE:
            seen.add(name)
        kept.append(line + b"\r\n")
    return kept if b"mime-version" in seen else [b"MIME-Version: 1.0\r\n", *kept]


def _or_refuse(write: Callable[[_Given], bytes], given: _Given) -> bytes:
    """Turn what the `email` package raises for messages that it cannot write into a refusal."""
    try:
        return write(given)
    except (AttributeError, LookupError, MessageError, TypeError, ValueError) as error:
        raise ContentError(f"The message cannot be written: {error}") from error


def _serialised(message: WholeMessage) -> bytes:
    if isinstance(message, EmailMessage) and isinstance(message.policy, EmailPolicy):
        # Flask-Mail takes UTF-8's body encoding out of the registry that the generator's own way to 7-bit relies on.
        return message.as_bytes(policy=_WHOLE.clone(cte_type="8bit"))
    if isinstance(message, Message):
        return message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    return message.as_bytes()


def _reencoded(data: bytes) -> bytes:
    head, body = _split(data)
    fields = [_seven_bit_field(field + b"\r\n") for field in _FIELD_END.split(head)]
    message = BytesParser(policy=_WHOLE).parsebytes(b"".join([*fields, b"\r\n", body]))
    for part in message.walk():
        part.preamble = part.epilogue = None
        if not part.is_multipart():
            _make_seven_bit(part)
        elif part.get("Content-Transfer-Encoding"):
            # Only 7bit is left for a multipart once its parts are (RFC 2045, 6.4).
            del part["Content-Transfer-Encoding"]
    return message.as_bytes(policy=_WHOLE)


def _split(data: bytes) -> tuple[bytes, bytes]:
    """Return header and body, and touch the line ends of the header only."""
    end = _HEAD_END.search(data)
    if end is None:
        return _LINE_END.sub(b"\r\n", data), b""
    return _LINE_END.sub(b"\r\n", data[: end.start()]), data[end.end() :]


def _seven_bit_field(field: bytes) -> bytes:
    """Encode free text that stands in a header as raw UTF-8: the parser would call it `unknown-8bit`, or fail."""
    name, colon, value = field.partition(b":")
    if field.isascii() or not colon or not name.lower().startswith(_FREE_TEXT):
        return field
    return unstructured(name.decode("ascii", "replace"), value.decode("utf-8", "replace"))


def _make_seven_bit(part: Message) -> None:
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    raw = part.get_payload()
    text = raw.encode("utf-8", "surrogatepass") if isinstance(raw, str) else b""
    if encoding not in {"8bit", "binary"} and not _UNFIT.search(_LINE_END.sub(b"\r\n", text)):
        return
    data = part.get_payload(decode=True)
    del part["Content-Transfer-Encoding"]
    part["Content-Transfer-Encoding"] = "base64"
    part.set_payload(base64_lines(data if isinstance(data, bytes) else b"").decode("ascii"))
