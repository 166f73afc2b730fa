"""The last check of a message: unsafe octets are refused, and nothing is repaired."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.wire_check import LONGEST_LINE, why_unfit
from tests.scripted import EXTENSIONS, ScriptedServer
from tests.wire_kit import TEXT, Listed, converse, envelope

HEAD = b"From: a@acme.example\r\nSubject: hello\r\n\tand more\r\n"

UNFIT = {
    "bare LF": (HEAD + b"\r\na\nb\r\n", "bare CR or LF"),
    "bare CR": (HEAD + b"\r\na\rb\r\n", "bare CR or LF"),
    "LF CR": (HEAD + b"\r\na\n\rb\r\n", "bare CR or LF"),
    "a dot between bare LFs": (HEAD + b"\r\na\n.\nMAIL FROM:<>\r\n", "bare CR or LF"),
    "CR at the end": (HEAD + b"\r\na\r", "bare CR or LF"),
    "NUL": (HEAD + b"\r\na\0b\r\n", "NUL"),
    "NUL in the header": (b"Subject: a\0b\r\n\r\nx\r\n", "NUL"),
    "no last line end": (HEAD + b"\r\na", "no line end"),
    "a long line": (HEAD + b"\r\n" + b"a" * 999 + b"\r\n", "998"),
    "a long line in the header": (b"Subject: " + b"a" * 990 + b"\r\n\r\nx\r\n", "998"),
    "a long last line": (HEAD + b"\r\n" + b"x\r\n" * 999 + b"a" * 999 + b"\r\n", "998"),
    "nothing": (b"", "no line end"),
    "no header": (b"\r\nSubject: x\r\n\r\n", "header"),
    "no empty line": (HEAD, "header"),
    "a line that is no field": (b"Subject: x\r\nhello\r\n\r\nx\r\n", "header"),
    "a field without a name": (b"Subject: x\r\n: y\r\n\r\nx\r\n", "header"),
    "a name with a blank": (b"Subject : x\r\n\r\nx\r\n", "header"),
    "a first line that goes on": (b" x\r\nSubject: x\r\n\r\nx\r\n", "header"),
    "a blank line that goes on": (b"Subject: x\r\n \t\r\nX-A: b\r\n\r\nx\r\n", "header"),
    "two recipients' fields": (b"To: a@b.example\r\nX-A: 1\r\nTO: c@d.example\r\n\r\nx\r\n", "To twice"),
    "two senders' fields": (b"From: a@b.example\r\nFrom: c@d.example\r\n\r\nx\r\n", "From twice"),
    "two that go on": (
        b"To: a@b.example,\r\n c@d.example\r\nTo: e@f.example,\r\n g@h.example\r\n\r\nx\r\n",
        "To twice",
    ),
    "CR and LF far from each other": (HEAD + b"\r\na\rb\nc\r\n", "bare CR or LF"),
    "two types": (b"Content-Type: text/html\r\nContent-Type: text/plain\r\n\r\nx\r\n", "twice"),
    "hidden recipients": (b"From: a@b.example\r\nBcc: c@d.example\r\n\r\nx\r\n", "Bcc"),
}
FIT = {
    "folded": HEAD + b"\r\nText.\r\n",
    "no text": HEAD + b"\r\n",
    "dots": HEAD + b"\r\n.\r\n..\r\n",
    "as long as may be": HEAD + b"\r\n" + b"a" * 998 + b"\r\n",
    "other octets": HEAD + b"\r\n\x01\x0c\xff\r\n",
    "fields that go on twice": b"Subject: a\r\n b\r\nTo: a@b.example,\r\n c@d.example\r\n\r\nx\r\n",
    "fields that may come often": b"X-A: 1\r\nX-A: 2\r\nComments: a\r\nComments: b\r\n\r\nx\r\n",
    "a header within the text": HEAD + b"\r\nBcc: a@b.example\r\nFrom: c\r\nFrom: d\r\n\r\nx\r\n",
}


@pytest.mark.parametrize("name", UNFIT)
def test_unsafe_messages_are_refused(name: str) -> None:
    """Bare line ends, NUL, long lines, an invalid header, and duplicate address fields."""
    data, reason = UNFIT[name]
    assert reason in (why_unfit(data) or "")


@pytest.mark.parametrize("name", FIT)
def test_valid_messages_pass(name: str) -> None:
    """Nothing is refused that the standards allow."""
    assert why_unfit(FIT[name]) is None


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"\r", b"a", b"." * 500, b" ", b"X: y"]), max_size=12).map(b"".join))
def test_it_equals_a_check_of_each_line(text: bytes) -> None:
    """The jumps over a text find the same problems as a check of each line."""
    data = HEAD + b"\r\n" + text + b"\r\n"
    lines = data.split(b"\r\n")
    is_fit = all(len(line) <= LONGEST_LINE and b"\r" not in line and b"\n" not in line for line in lines)
    assert (why_unfit(data) is None) == is_fit


@pytest.mark.parametrize("without", [("PIPELINING", "CHUNKING"), ("CHUNKING",), ()])
def test_no_octet_of_an_unsafe_message_is_sent(without: tuple[str, ...]) -> None:
    """By DATA and by BDAT it fails locally, and the next message is sent."""
    bad = envelope(1, data=UNFIT["a dot between bare LFs"][0])
    offered = tuple(name for name in EXTENSIONS if name not in without)
    with ScriptedServer(extensions=offered) as server:
        sent = converse(server, Listed(bad, envelope(2)), window=1 if without else 4)
    assert sent.states == ["failed", "accepted"]
    assert [copy.data for copy in server.copies] == [TEXT]
