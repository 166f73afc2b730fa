"""Messages from contents: compiled once a batch, composed once an invitation.

What is made is a whole RFC 5322 message: CRLF line ends and one at the end, 7-bit (but for an address that only
SMTPUTF8 can carry), no line over 998 octets, no NUL, not dot-stuffed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from own_smtp.addresses import needs_smtputf8, parse_address
from own_smtp.encodings import is_bare, quoted_value
from own_smtp.headers import check_header, clean, mailbox, unstructured
from own_smtp.hooks.events import Content
from own_smtp.mime import Piece, Skeleton, add_body
from own_smtp.placeholders import Escape, Template, has_placeholders
from own_smtp.profiles import Identity
from own_smtp.unsubscribe import Unsubscribe
from own_smtp.whole import compose_whole

__all__ = ["CompiledContent", "compile_content", "compose_whole", "format_date", "message_id", "parse_message_id"]

_MESSAGE_ID = re.compile(r"<?([0-9A-Za-z]+)\.([0-9]+)@([^\s<>@]+)>?")


class CompiledContent:
    """One content in the name of one sender, ready to be filled in for any number of recipients.

    For one thread at a time.
    """

    def __init__(self, sender: bytes, skeleton: Skeleton, needs_smtputf8: bool) -> None:
        self.needs_smtputf8 = needs_smtputf8
        """Whether the sender's own address can only be used with SMTPUTF8."""
        self._sender = sender
        # The first stretch is left for the fields that differ in every message.
        self._pieces = [b"", *skeleton.pieces]
        self._gaps = [_Gap(name, skeleton.gaps[name]) for name in skeleton.gaps]
        self._made = [(place + 1, piece) for place, piece in skeleton.made]

    def compose(self, *, address: str, name: str, values: Mapping[str, str], message_id: str, date: str) -> bytes:
        """Return the message to one recipient.

        `address` must have come from `parse_address`; `message_id` and `date` from the functions of these names.
        Raises `AddressError` for an address that would break the header.
        """
        pieces = self._pieces.copy()
        pieces[0] = b"%s%sDate: %s\r\nMessage-ID: %s\r\n" % (
            self._sender,
            mailbox("To", address, name),
            date.encode("ascii"),
            message_id.encode("ascii"),
        )
        for gap in self._gaps:
            value = values.get(gap.name)
            if value is not None:
                gap.fill(pieces, value)
        for place, piece in self._made:
            pieces[place] = piece.render(values)
        return b"".join(pieces)


class _Gap:
    """All places that one placeholder's value goes to."""

    def __init__(self, name: str, uses: Mapping[Escape, Sequence[int]]) -> None:
        self.name = name
        # One stretch further on than in the skeleton: see `_pieces`.
        self._uses = [(escape, [place + 1 for place in places]) for escape, places in uses.items()]
        self._places = [place for _escape, places in self._uses for place in places]
        self._last: tuple[str, list[tuple[int, bytes]]] = ("", [])

    def fill(self, pieces: list[bytes], value: str) -> None:
        """Encode the value for each of its places: most look the same everywhere."""
        if is_bare(value):
            encoded = value.encode("ascii")
            for place in self._places:
                pieces[place] = encoded
            return
        last, filled = self._last
        if value != last or not filled:  # a survey's or a sender's name is the same for all
            filled = self._encode(value)
            self._last = (value, filled)
        for place, encoded in filled:
            pieces[place] = encoded

    def _encode(self, value: str) -> list[tuple[int, bytes]]:
        encoded: dict[str, bytes] = {}
        filled = []
        for escape, places in self._uses:
            escaped = escape(value)
            if escaped not in encoded:
                encoded[escaped] = quoted_value(escaped)
            filled += [(place, encoded[escaped]) for place in places]
        return filled


@dataclass(frozen=True, slots=True)
class _Field:
    """A header field with placeholders."""

    name: str
    template: Template

    def render(self, values: Mapping[str, str]) -> bytes:
        return unstructured(self.name, self.template.fill(values))


def compile_content(content: Content, identity: Identity) -> CompiledContent:
    """Encode all of a content that does not depend on the recipient.

    Raises `ContentError` for a header that a host may not set, `AddressError` for a sender that is no address.
    """
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
    """Return what a Message-ID of ours was made from: batch key, invitation id, domain. `None` for others'."""
    match = _MESSAGE_ID.fullmatch(text.strip())
    return (match[1], int(match[2]), match[3]) if match else None


def format_date(moment: datetime) -> str:
    """Return an aware time as a Date header says it, in UTC (RFC 5322, 3.3)."""
    return _format_second(int(moment.timestamp()))


@lru_cache(maxsize=16)
def _format_second(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


def _add_header(skeleton: Skeleton, content: Content, reply_to: str) -> None:
    if reply_to:
        skeleton.add(mailbox("Reply-To", reply_to, ""))
    _add_field(skeleton, content.subject, _Field("Subject", Template(content.subject)))
    skeleton.add(b"Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n")
    if content.list_unsubscribe:
        url = clean(content.list_unsubscribe)
        _add_field(skeleton, url, Unsubscribe(Template(url), content.one_click_unsubscribe))
    for name, value in content.headers.items():
        check_header(name, value)
        _add_field(skeleton, value, _Field(name, Template(value)))


def _add_field(skeleton: Skeleton, template: str, field: Piece) -> None:
    if has_placeholders(template):
        skeleton.add_made(field)
    else:
        skeleton.add(field.render({}))
