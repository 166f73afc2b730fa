"""Reads a JSON list of messages in base64, and prints what GMime makes of each. For Debian's Python, which has `gi`."""

import base64
import json
import sys

import gi

gi.require_version("GMime", "3.0")
from gi.repository import GMime  # noqa: E402 - the version must be chosen first


def main() -> None:
    GMime.init()
    json.dump([read(base64.b64decode(item)) for item in json.load(sys.stdin)], sys.stdout)


def read(data: bytes) -> dict[str, object]:
    message = GMime.Parser.new_with_stream(GMime.StreamMem.new_with_buffer(data)).construct_message(None)
    return {
        "subject": message.get_subject() or "",
        "from": people(message.get_from()),
        "to": people(message.get_to()),
        "reply_to": people(message.get_reply_to()),
        "parts": parts(message.get_mime_part(), []),
    }


def people(addresses) -> list[list[str]]:
    found = [addresses.get_address(index) for index in range(addresses.length() if addresses else 0)]
    return [[item.get_name() or "", item.get_addr()] for item in found]


def parts(entity, found: list[dict[str, object]]) -> list[dict[str, object]]:
    kind = entity.get_content_type().get_mime_type()
    if isinstance(entity, GMime.Multipart):
        for index in range(entity.get_count()):
            parts(entity.get_part(index), found)
    elif isinstance(entity, GMime.MessagePart):
        found.append({"type": kind, "data": octets_of(entity.get_message())})
    else:
        found.append({"type": kind, "name": entity.get_filename(), "data": octets_of(entity.get_content())})
    return found


def octets_of(thing) -> str:
    stream = GMime.StreamMem.new()
    thing.write_to_stream(stream) if isinstance(thing, GMime.DataWrapper) else thing.write_to_stream(None, stream)
    return base64.b64encode(bytes(stream.get_byte_array())).decode()


if __name__ == "__main__":
    main()
