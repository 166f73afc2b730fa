"""Messages from contents: compiled once per batch, composed once per invitation.

The result is a complete RFC 5322 message: CRLF line ends and one at the end, 7-bit (except for an address that needs
SMTPUTF8), no line over 998 octets, no NUL, not dot-stuffed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from own_smtp.hooks.events import Content
from own_smtp.messages.encodings import is_bare, quoted_value
from own_smtp.messages.fields import FieldKind, kind_of, write_field
from own_smtp.messages.headers import check_header, mailbox, unstructured
from own_smtp.messages.html_text import is_blank, shows_nothing, text_of
from own_smtp.messages.mime import MimePiece, Skeleton, add_body
from own_smtp.messages.placeholders import Escape, Template, changes_only_html, has_placeholders
from own_smtp.messages.raw import compose_whole
from own_smtp.messages.unsubscribe import Unsubscribe, url_filler
from own_smtp.smtp.addresses import needs_smtputf8, parse_address
from own_smtp.smtp.values import Identity

__all__ = ["CompiledContent", "compile_content", "compose_whole", "format_date", "message_id", "parse_message_id"]

_MESSAGE_ID = re.compile(r"<?([0-9A-Za-z]+)\.([0-9]+)@([^\s<>@]+)>?")


class CompiledContent:
    """One content of one sender, ready to be filled in for any number of recipients.

    Its halves can be used in different processes: `personal` encodes the parts that differ between recipients, and
    `frame` inserts them into the rest.
    """

    def __init__(self, sender: bytes, skeleton: Skeleton, needs_smtputf8: bool) -> None:
        self.needs_smtputf8 = needs_smtputf8
        """Whether the sender's own address can only be used with SMTPUTF8."""
        self.personal = Personal(
            [_Gap(name, list(uses)) for name, uses in skeleton.gaps.items()], [piece for _place, piece in skeleton.made]
        )
        places = [places for uses in skeleton.gaps.values() for places in uses.values()]
        self.frame = Frame(sender, skeleton.pieces, [*places, *([place] for place, _piece in skeleton.made)])

    def compose(self, *, address: str, name: str, values: Mapping[str, str], message_id: str, date: str) -> bytes:
        """Return the message to one recipient. For the arguments and errors see `Personal.render`."""
        parts = self.personal.render(address=address, name=name, values=values, message_id=message_id)
        return self.frame.join(parts, date)


class Personal:
    """The parts of a message that differ between recipients. Not thread-safe."""

    def __init__(self, gaps: Sequence[_Gap], made: Sequence[MimePiece]) -> None:
        self._gaps = gaps
        self._made = made

    def render(self, *, address: str, name: str, values: Mapping[str, str], message_id: str) -> list[bytes]:
        """Return these parts encoded, in the order that `Frame.join` expects.

        `address` must be a result of `parse_address`, and `message_id` one of the function of this name. Raises
        `AddressError` for an address that would break the header.
        """
        parts = [mailbox("To", address, name), message_id.encode("ascii")]
        for gap in self._gaps:
            parts += gap.render(values.get(gap.name))
        for piece in self._made:
            parts.append(piece.render(values))
        return parts


class Frame:
    """The parts of a message that are the same for all recipients, with slots for the others. Immutable."""

    def __init__(self, sender: bytes, pieces: Sequence[bytes], slots: Sequence[Sequence[int]]) -> None:
        self._sender = sender
        # The first piece is reserved for the fields that differ in every message.
        self._pieces = [b"", *pieces]
        self._slots = [(number, place + 1) for number, places in enumerate(slots, start=2) for place in places]

    def join(self, parts: Sequence[bytes], date: str) -> bytes:
        """Return the message. `date` must be a result of `format_date`."""
        pieces = self._pieces.copy()
        pieces[0] = b"%s%sDate: %s\r\nMessage-ID: %s\r\n" % (self._sender, parts[0], date.encode("ascii"), parts[1])
        for number, place in self._slots:
            pieces[place] = parts[number]
        return b"".join(pieces)


class _Gap:
    """All encodings of one placeholder's value."""

    def __init__(self, name: str, escapes: Sequence[Escape]) -> None:
        self.name = name
        self._escapes = escapes
        self._last: tuple[str | None, list[bytes]] = (None, [quoted_value(f"{{{name}}}")] * len(escapes))
        self._missing = self._last[1]
        self._leaves_bare_alone = changes_only_html(escapes)

    def render(self, value: str | None) -> list[bytes]:
        """Encode the value for each of its uses; most values have the same encoding everywhere."""
        if value is None:
            return self._missing
        if is_bare(value) and (self._leaves_bare_alone or value.isalnum()):
            return [value.encode("ascii")] * len(self._escapes)
        last, encoded = self._last
        if value != last:  # some values, such as the survey's name, are the same for all recipients
            encoded = self._encode(value)
            self._last = (value, encoded)
        return encoded

    def _encode(self, value: str) -> list[bytes]:
        known: dict[str, bytes] = {}
        escaped = [escape(value) for escape in self._escapes]
        for text in escaped:
            known[text] = known.get(text) or quoted_value(text)
        return [known[text] for text in escaped]


class _Field:
    """A header field with placeholders."""

    def __init__(self, name: str, value: str) -> None:
        kind = kind_of(name)
        self._name = name
        self._fill = url_filler(value) if kind is FieldKind.URLS else Template(value).fill
        self._write = unstructured if kind is FieldKind.TEXT else write_field

    def render(self, values: Mapping[str, str]) -> bytes:
        """Return the field. Raises `ContentError` for a value that such a field cannot contain."""
        return self._write(self._name, self._fill(values))


def compile_content(content: Content, identity: Identity) -> CompiledContent:
    """Encode all parts of a content that do not depend on the recipient.

    HTML that shows nothing counts as none, and a blank text is derived from the HTML. Raises `ContentError` for a
    header that a host may not set, `AddressError` for an invalid sender.
    """
    content = _with_both(content)
    sender = parse_address(identity.address)
    reply_to = parse_address(identity.reply_to) if identity.reply_to else ""
    skeleton = Skeleton()
    _add_header(skeleton, content, reply_to)
    add_body(skeleton, content)
    return CompiledContent(
        mailbox("From", sender, identity.name), skeleton, needs_smtputf8(sender) or needs_smtputf8(reply_to)
    )


def message_id(batch_key: str, invitation_id: int, domain: str) -> str:
    """Return the Message-ID, angle brackets included. It is the same in every attempt at one invitation."""
    return f"<{batch_key}.{invitation_id}@{domain}>"


def parse_message_id(text: str) -> tuple[str, int, str] | None:
    """Return the parts of a Message-ID of ours: batch key, invitation id, domain. `None` for other Message-IDs."""
    match = _MESSAGE_ID.fullmatch(text.strip())
    return (match[1], int(match[2]), match[3]) if match else None


def format_date(moment: datetime) -> str:
    """Return an aware time in the format of a Date header, in UTC (RFC 5322, 3.3)."""
    return _format_second(int(moment.timestamp()))


@lru_cache(maxsize=16)
def _format_second(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _with_both(content: Content) -> Content:
    """Drop HTML that shows nothing, and derive a blank text: readers show the last alternative (RFC 2046, 5.1.4)."""
    if shows_nothing(content.html):
        return replace(content, html=None)
    return replace(content, text=text_of(content.html or "")) if is_blank(content.text) else content


def _add_header(skeleton: Skeleton, content: Content, reply_to: str) -> None:
    if reply_to:
        skeleton.add(mailbox("Reply-To", reply_to, ""))
    _add_field(skeleton, content.subject, _Field("Subject", content.subject))
    skeleton.add(b"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n")
    if content.list_unsubscribe:
        url = content.list_unsubscribe
        _add_field(skeleton, url, Unsubscribe(url, content.one_click_unsubscribe))
    for name, value in content.headers.items():
        check_header(name, value)
        _add_field(skeleton, value, _Field(name, value))


def _add_field(skeleton: Skeleton, template: str, field: MimePiece) -> None:
    if has_placeholders(template):
        skeleton.add_made(field)
    else:
        skeleton.add(field.render({}))
