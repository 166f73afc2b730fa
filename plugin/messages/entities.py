"""The parts of a host's message (RFC 2046): each stays byte for byte as it is, unless servers could not accept it.

A library that parses a message and writes it again changes more than necessary: signatures break, attached messages are
split. Here parts are only located, and those that are not 7-bit text are encoded in base64.
"""

from __future__ import annotations

import re
from binascii import Error as Base64Error
from binascii import a2b_base64, a2b_qp
from email.header import decode_header, make_header
from email.headerregistry import HeaderRegistry
from email.policy import SMTP
from typing import Any, NamedTuple

from own_smtp.errors import ContentError
from own_smtp.messages.encodings import base64_lines
from own_smtp.messages.fields import write_field

DEEPEST = 20
"""Maximum nesting of parts; real messages have less."""

_LINE_END = re.compile(rb"\r\n|\r|\n")
_HEAD_END = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_FIELD_END = re.compile(rb"\r\n(?![ \t])")
_BLANK_LINE = re.compile(rb"\r\n[ \t]+(?=\r\n|\Z)")
_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:")
# The search for a long line starts only at the beginnings of lines, not at each octet.
_LONG_LINE = rb"(?<![^\r\n])[^\r\n]{999}"
_UNFIT = re.compile(rb"[^\t\r\n -~]|\r(?!\n)|(?<!\r)\n|" + _LONG_LINE)
_NO_WIRE = re.compile(rb"\0|" + _LONG_LINE)

_REGISTRY = HeaderRegistry()
_MIME = SMTP.clone(cte_type="7bit")
_OPAQUE = frozenset({"multipart/signed", "multipart/encrypted"})
"""Types whose content must not be changed (RFC 1847)."""
_BASE64 = b"Content-Transfer-Encoding: base64\r\n"


class Entity(NamedTuple):
    """A header of whole fields, and the body behind its empty line."""

    fields: list[bytes]
    body: bytes


class _Kind(NamedTuple):
    name: str
    boundary: str
    encoding: str


def fields_of(head: bytes) -> list[bytes]:
    """Return the whole fields of a header, ready for sending. Raises `ContentError` for an invalid header.

    ASCII stays as it is; raw UTF-8 is encoded as the field requires.
    """
    head = _BLANK_LINE.sub(b"", _LINE_END.sub(b"\r\n", head))
    return [_field(raw) for raw in _FIELD_END.split(head)]


def name_of(field: bytes) -> bytes:
    """Return the name of a whole field in lower case."""
    return field.partition(b":")[0].lower()


def wire_safe(entity: Entity, depth: int = 0) -> Entity:
    """Return an entity that every server can accept: 7-bit, CRLF, no line over 998 octets.

    Only signed or encrypted parts may keep non-ASCII octets. Raises `ContentError` for parts that cannot be sent.
    """
    if depth > DEEPEST:
        raise ContentError(f"The message has parts nested more than {DEEPEST} deep.")
    kind = _kind_of(entity.fields)
    if kind.name in _OPAQUE:
        return _opaque(entity)
    if kind.boundary and kind.name.startswith("multipart/"):
        return _multipart(entity, kind.boundary, depth)
    if kind.name == "message/rfc822":
        return _message(entity, kind.encoding, depth)
    return _leaf(entity, kind.encoding)


def text_of(octets: bytes) -> str:
    """Decode raw octets in a header: as UTF-8 if they are valid, else as Latin-1, which decodes every octet."""
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")


def _field(raw: bytes) -> bytes:
    match = _FIELD.match(raw)
    if not match:
        raise ContentError("The message is invalid: it needs a header, an empty line and text.")
    if b"\0" in raw:
        raise ContentError("The header of the message contains a NUL.")
    name, value = match[1], raw[match.end() :]
    written = name.decode("ascii")
    has_parameters = written.lower() in {"content-type", "content-disposition"}
    is_encoded = has_parameters and value.lstrip().startswith(b"=?")
    if not _UNFIT.search(raw) and not is_encoded:
        return name + b":" + value + b"\r\n"
    text = text_of(_LINE_END.sub(b"", value)).strip()
    if is_encoded:  # by a library that took it for free text, file name and all
        text = str(make_header(decode_header(text)))
    if has_parameters:
        header: Any = _REGISTRY(written, text)
        return header.fold(policy=_MIME).encode("ascii")  # type: ignore[no-any-return]
    return write_field(written, text)


def _kind_of(fields: list[bytes]) -> _Kind:
    values = {name_of(field): _LINE_END.sub(b"", field.partition(b":")[2]) for field in reversed(fields)}
    kind: Any = _REGISTRY("Content-Type", values.get(b"content-type", b"text/plain").decode("ascii").strip())
    encoding = values.get(b"content-transfer-encoding", b"7bit").decode("ascii").partition(";")[0].strip().lower()
    return _Kind(kind.content_type, str(kind.params.get("boundary", "")), encoding)


def _opaque(entity: Entity) -> Entity:
    body = _LINE_END.sub(b"\r\n", entity.body)
    if _NO_WIRE.search(body):
        raise ContentError("A signed or encrypted message cannot be changed, and contains a NUL or an overlong line.")
    return Entity(entity.fields, body)


def _leaf(entity: Entity, encoding: str) -> Entity:
    """Return a part without parts of its own; one whose lines cannot be sent is encoded in base64 again."""
    body = entity.body if encoding == "binary" else _LINE_END.sub(b"\r\n", entity.body)
    if not _UNFIT.search(body) and encoding != "binary":
        return Entity(_without_encoding(entity.fields) if encoding == "8bit" else entity.fields, body)
    return _in_base64(entity.fields, _decoded(body, encoding))


def _in_base64(fields: list[bytes], data: bytes) -> Entity:
    return Entity([*_without_encoding(fields), _BASE64], base64_lines(data))


def _decoded(body: bytes, encoding: str) -> bytes:
    try:
        match encoding:
            case "base64":
                return a2b_base64(body)
            case "quoted-printable":
                return a2b_qp(body)
            case _:
                return body
    except Base64Error as error:
        raise ContentError(
            f"A part of the message does not have the encoding that its header states: {error}."
        ) from error


def _message(entity: Entity, encoding: str, depth: int) -> Entity:
    """Return an attached message without a transfer encoding, which readers would not decode (RFC 2046, 5.2.1).

    One that is not a valid message, or was encoded and cannot be sent as it is, becomes an ordinary file.
    """
    data = _decoded(entity.body, encoding)
    was_encoded = encoding in {"base64", "quoted-printable"}
    inner = _LINE_END.sub(b"\r\n", data)
    if _is_message(inner) and not _UNFIT.search(inner):
        return Entity(_without_encoding(entity.fields), inner)
    if was_encoded or not _is_message(inner):
        fields = [field for field in entity.fields if name_of(field) != b"content-type"]
        return _in_base64([b"Content-Type: application/octet-stream\r\n", *fields], data)
    head, body = split_entity(data)
    safe = wire_safe(Entity(fields_of(head), body), depth + 1)
    return Entity(_without_encoding(entity.fields), joined(safe))


def _is_message(data: bytes) -> bool:
    head, separator, _ = data.partition(b"\r\n\r\n")
    return bool(separator) and all(_FIELD.match(field) for field in _FIELD_END.split(head))


def _multipart(entity: Entity, boundary: str, depth: int) -> Entity:
    """Make each part safe in its place. Preamble and epilogue, for readers without MIME, are kept if they are safe."""
    body = entity.body
    delimiter = re.compile(rb"(?:\A|\r\n|\n|\r)--" + re.escape(boundary.encode()) + rb"(--)?[ \t]*(?=\r\n|\n|\r|\Z)")
    pieces, start, is_open = [], 0, False
    for match in delimiter.finditer(body):
        pieces.append(_part(body[start : match.start()], depth) if is_open else _around(body[: match.start()]))
        pieces.append(b"%s--%s%s\r\n" % (b"\r\n" if any(pieces) else b"", boundary.encode(), match[1] or b""))
        start, is_open = match.end(), match[1] is None
        if not is_open:
            break
    if not pieces:
        return _leaf(entity, "7bit")
    pieces.append(_part(body[start:], depth) if is_open else _around(_LINE_END.sub(b"", body[start:], count=1)))
    whole = b"".join(pieces)
    fields = _without_encoding(entity.fields)
    return Entity(fields if whole.isascii() else [*fields, b"Content-Transfer-Encoding: 8bit\r\n"], whole)


def _around(text: bytes) -> bytes:
    text = _LINE_END.sub(b"\r\n", text)
    return b"" if _UNFIT.search(text) else text


def _part(octets: bytes, depth: int) -> bytes:
    head, body = split_entity(_LINE_END.sub(b"", octets, count=1))
    return joined(wire_safe(Entity(fields_of(head) if head else [], body), depth + 1))


def split_entity(octets: bytes) -> tuple[bytes, bytes]:
    """Return the header without its last line end, and the body; either may be empty."""
    first = _LINE_END.match(octets)
    if first:
        return b"", octets[first.end() :]
    end = _HEAD_END.search(octets)
    return (octets[: end.start()], octets[end.end() :]) if end else (octets.rstrip(b"\r\n"), b"")


def line_ends_of_header(octets: bytes) -> set[bytes]:
    """Return the kinds of line ends in a header, its empty line included; none if the header does not end."""
    end = _HEAD_END.search(octets)
    return set(_LINE_END.findall(octets, 0, end.end())) if end else set()


def joined(entity: Entity) -> bytes:
    """Return the octets of an entity."""
    return b"".join([*entity.fields, b"\r\n", entity.body])


def _without_encoding(fields: list[bytes]) -> list[bytes]:
    return [field for field in fields if name_of(field) != b"content-transfer-encoding"]
