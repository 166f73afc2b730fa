"""Hostile input for composed messages, and the requirements for every message."""

import re
from email import message_from_bytes, policy
from email.message import EmailMessage

from hypothesis import strategies as st

from own_smtp.hooks import Content
from own_smtp.messages.compiler import compile_content, message_id
from own_smtp.smtp.values import Identity

IDENTITY = Identity(address="surveys@example.org", name="Example Surveys")
DATE = "Fri, 02 Jan 2026 03:04:05 +0000"
ID = message_id("0123456789abcdef", 7, "example.org")
NAMES = ("FIRSTNAME", "LASTNAME", "TOKEN:1", "A_B")

TRICKY = [
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\r\n.\nMAIL FROM:<>\r\n",
    ".",
    "..",
    "\r\nBcc: eve@evil.example\r\n\r\n",
    "\x00",
    "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029",
    "--=_alternative",
    "\r\n--=_mixed--\r\n",
    "From eve",
    "=?utf-8?q?a?=",
    "=3D=\r\n",
    "=",
    "<a href=",
    '"><script>',
    "\u202eabc",
    "👩‍👩‍👧‍👦",
    "e\u0301",
    "عربى",
    "日本語",
    "ß",
    '"',
    "\\",
    "a" * 80,
    "b" * 1001,
    "ü" * 400,
    " ",
    "\t",
    "{FIRSTNAME}",
    "{NOBODY}",
    "{A_B}",
]
hostile = st.lists(
    st.one_of(st.sampled_from(TRICKY), st.text(st.characters(exclude_categories=["Cs"]), max_size=20)), max_size=6
).map("".join)
one_line = hostile.map(lambda text: re.sub("[\x00-\x1f\x7f-\x9f\u2028\u2029]", "", text)[:900])
values = st.dictionaries(st.sampled_from(NAMES), hostile, max_size=4)


def compose(content: Content, values=None, *, identity=IDENTITY, address="anna@example.org", name="Anna") -> bytes:
    return compile_content(content, identity).compose(
        address=address, name=name, values=values or {}, message_id=ID, date=DATE
    )


def parse(data: bytes) -> EmailMessage:
    """Parse a composed message, and fail on any defect that the parser tolerated."""
    message = message_from_bytes(data, policy=policy.default)
    assert isinstance(message, EmailMessage)
    for part in message.walk():
        assert not part.defects
        for name, value in part.items():
            assert not value.defects, (name, value.defects)
    return message


def texts(message: EmailMessage) -> list[tuple[str, str]]:
    """Return type and text of each text part, with `\\n` for line ends."""
    return [
        (part.get_content_type(), part.get_payload(decode=True).decode().replace("\r\n", "\n"))
        for part in message.walk()
        if part.get_content_maintype() == "text"
    ]


def assert_fit_for_the_wire(data: bytes) -> None:
    """RFC 5321 and 5322: CRLF only, no NUL, no 8-bit, no line over 998 octets, none that ends the message early."""
    assert data.endswith(b"\r\n")
    assert data.isascii()
    assert b"\0" not in data
    lines = data.split(b"\r\n")
    assert not any(b"\r" in line or b"\n" in line for line in lines)
    assert max(map(len, lines)) <= 998
    assert not any(line.startswith(b".") for line in lines)
