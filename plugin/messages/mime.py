"""A batch's text, HTML and files as one MIME tree (RFC 2045, 2046, 2387), encoded once, with gaps for values."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from email import policy
from email.headerregistry import ContentTypeHeader
from email.message import MIMEPart
from hashlib import blake2b
from typing import Protocol

from own_smtp.errors import ContentError
from own_smtp.hooks.events import Attachment, Content
from own_smtp.messages.encodings import (
    SOFT_BREAK,
    base64_lines,
    is_shorter_in_base64,
    newlines,
    quoted_printable,
    quoted_value,
)
from own_smtp.messages.placeholders import Escape, escape_for, split

_PART_POLICY = policy.SMTP.clone(max_line_length=998)
_TOKEN = r"[!#$%&'*+.^_`{|}~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(rf"{_TOKEN}/{_TOKEN}(?:\s*;.*)?")
_CONTENT_ID = re.compile(r"[!#-'*+.-;=?A-Z^-~-]+(?:@[!#-'*+.-;=?A-Z^-~-]+)?")
# Slashes could leave the folder, and some readers decode encoded words even in file names.
_NO_FILE_NAME = re.compile(r"[/\\]|=\?")
_LONGEST = 255


class MimePiece(Protocol):
    """A piece of the message that is rendered for each recipient."""

    def render(self, values: Mapping[str, str]) -> bytes: ...


@dataclass(slots=True)
class Skeleton:
    """The message as a list of pieces: constant ones, gaps for values, and pieces rendered for each recipient."""

    pieces: list[bytes] = field(default_factory=list)
    gaps: dict[str, dict[Escape, list[int]]] = field(default_factory=dict)
    """The positions of each placeholder's value, by its name and by its escaping there."""
    made: list[tuple[int, MimePiece]] = field(default_factory=list)

    def add(self, data: bytes) -> None:
        self.pieces.append(data)

    def add_gap(self, name: str, escape: Escape) -> None:
        self.gaps.setdefault(name, {}).setdefault(escape, []).append(len(self.pieces))
        self.pieces.append(quoted_value(f"{{{name}}}"))

    def add_made(self, piece: MimePiece) -> None:
        self.made.append((len(self.pieces), piece))
        self.pieces.append(b"")


@dataclass(frozen=True, slots=True)
class Base64Text:
    """A text part in base64, which has to be encoded as a whole for each recipient."""

    parts: Sequence[str]
    """Literal texts, and placeholders' names between them."""
    escapes: Sequence[Escape]
    """The escaping of each placeholder's value."""

    def render(self, values: Mapping[str, str]) -> bytes:
        texts = list(self.parts)
        for index, escape in enumerate(self.escapes):
            name = texts[2 * index + 1]
            value = values.get(name)
            texts[2 * index + 1] = f"{{{name}}}" if value is None else escape(newlines(value))
        return base64_lines("".join(texts).replace("\n", "\r\n").encode("utf-8", "replace"))


def check_attachment(attachment: Attachment) -> None:
    """Raise `ContentError` for an attachment with an invalid name, type, id or content."""
    name = attachment.filename
    if not name or len(name) > _LONGEST or not name.isprintable() or _NO_FILE_NAME.search(name):
        raise ContentError(f"{name!r} cannot be a file name: 1 to {_LONGEST} printable characters, no slash and no =?.")
    if not isinstance(attachment.data, bytes):
        raise ContentError(f"The data of {name} is not bytes.")
    kind = attachment.content_type
    if not kind.isascii() or not kind.isprintable() or len(kind) > _LONGEST or not _CONTENT_TYPE.fullmatch(kind):
        raise ContentError(f"{kind!r} is not a content type such as image/png.")
    if kind.lower().startswith(("multipart/", "message/")):
        raise ContentError(f"A file of the type {kind} cannot be attached; application/octet-stream suits any file.")
    content_id = attachment.content_id
    if content_id is not None and (len(content_id) > _LONGEST or not _CONTENT_ID.fullmatch(content_id)):
        raise ContentError(f"{content_id!r} cannot be a content id: ASCII without spaces and angle brackets.")


def add_body(skeleton: Skeleton, content: Content) -> None:
    """Add everything from the first Content-Type to the end of the message."""
    files = [_file(item) for item in content.attachments if item.content_id is None]
    inline = [_file(item) for item in content.attachments if item.content_id is not None]
    words = f"{content.subject}{content.text}{content.html}".encode("utf-8", "replace")
    mark = blake2b(words, digest_size=8).hexdigest()
    outer = _Multipart("mixed", mark) if files else None
    if outer:
        outer.start(skeleton)
    _add_texts(skeleton, content, inline, mark)
    if outer:
        outer.finish(skeleton, files)


def _add_texts(skeleton: Skeleton, content: Content, inline: Sequence[bytes], mark: str) -> None:
    if content.html is None:
        _add_text(skeleton, "plain", content.text)
        return
    alternative = _Multipart("alternative", mark)
    alternative.start(skeleton)
    _add_text(skeleton, "plain", content.text)
    alternative.next(skeleton)
    if inline:
        related = _Multipart("related", mark, '; type="text/html"')
        related.start(skeleton)
        _add_text(skeleton, "html", content.html)
        related.finish(skeleton, inline)
    else:
        _add_text(skeleton, "html", content.html)
    alternative.finish(skeleton, ())


class _Multipart:
    def __init__(self, subtype: str, mark: str, parameters: str = "") -> None:
        self._boundary = f"=_{subtype}_{mark}"
        self._head = f"multipart/{subtype}{parameters}"

    def start(self, skeleton: Skeleton) -> None:
        skeleton.add(f'Content-Type: {self._head};\r\n boundary="{self._boundary}"\r\n\r\n'.encode("ascii"))
        self._delimit(skeleton)

    def next(self, skeleton: Skeleton) -> None:
        skeleton.add(b"\r\n")
        self._delimit(skeleton)

    def finish(self, skeleton: Skeleton, parts: Sequence[bytes]) -> None:
        for part in parts:
            self.next(skeleton)
            skeleton.add(part)
        skeleton.add(f"\r\n--{self._boundary}--\r\n".encode("ascii"))

    def _delimit(self, skeleton: Skeleton) -> None:
        skeleton.add(f"--{self._boundary}\r\n".encode("ascii"))


def _add_text(skeleton: Skeleton, subtype: str, template: str) -> None:
    template = newlines(template)
    template = template if template.endswith("\n") else template + "\n"
    parts = split(template)
    written = [f"{{{part}}}" if index % 2 else part for index, part in enumerate(parts)]
    escapes = [escape_for("".join(written[:index]), is_html=subtype == "html") for index in range(1, len(parts), 2)]
    in_base64 = is_shorter_in_base64("".join(parts[::2]))
    encoding = "base64" if in_base64 else "quoted-printable"
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n'
    skeleton.add(head.encode("ascii"))
    if in_base64:
        skeleton.add_made(Base64Text(parts, escapes))
    else:
        _add_quoted(skeleton, parts, escapes)


def _add_quoted(skeleton: Skeleton, parts: Sequence[str], escapes: Sequence[Escape]) -> None:
    """Encode the literal texts once. Soft breaks put each value on lines of its own, so its length affects no other."""
    for index, part in enumerate(parts):
        if index % 2:
            skeleton.add_gap(part, escapes[index // 2])
            continue
        encoded = quoted_printable(part)
        if index and not part.startswith("\n"):
            encoded = SOFT_BREAK + encoded
        if index < len(parts) - 1 and encoded and not encoded.endswith(b"\r\n"):
            encoded += SOFT_BREAK
        skeleton.add(encoded)


def _file(attachment: Attachment) -> bytes:
    kind = _PART_POLICY.header_factory("Content-Type", attachment.content_type)
    assert isinstance(kind, ContentTypeHeader)
    part = MIMEPart(policy=_PART_POLICY)
    part.set_content(
        attachment.data,
        maintype=kind.maintype,
        subtype=kind.subtype,
        params=dict(kind.params),
        disposition="attachment" if attachment.content_id is None else "inline",
        filename=attachment.filename,
        cid=None if attachment.content_id is None else f"<{attachment.content_id}>",
    )
    return part.as_bytes(policy=_PART_POLICY).removesuffix(b"\r\n")
