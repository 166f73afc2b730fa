"""Bytes become replies, within limits."""

from __future__ import annotations

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.redaction import REMOVED, Redactor
from own_smtp.smtp.reply_parser import MAX_LINE, MAX_LINES, MAX_REPLY, ReplyError, ReplyParser, make_reply
from own_smtp.smtp.values import Reply
from tests.scripted import GARBAGE, huge_line, multiline
from tests.scripted.acts import crlf

PASSWORD = "pa$$ wörd 42"
TOKEN = base64.b64encode(f"\0user\0{PASSWORD}".encode()).decode()

LINES = st.sampled_from(
    [
        b"250 ok\r\n",
        b"250-a\r\n",
        b"250 2.1.0 b\n",
        b"354 go\r\n",
        b"421\r\n",
        b"550-5.1.1 x\r\n",
        b"550 5.1.1 y\r\n",
        b"\r\n",
    ]
)
STREAMS = st.one_of(st.binary(max_size=200), st.lists(LINES | st.binary(max_size=10), max_size=20).map(b"".join))


def parse(*pieces: bytes, parser: ReplyParser | None = None) -> tuple[list[Reply], str]:
    """Return the replies and the text of the error that ended them, if one did."""
    parser = parser or ReplyParser()
    replies: list[Reply] = []
    try:
        for piece in pieces:
            for reply in parser.feed(piece):
                replies.append(reply)  # noqa: PERF402 -- `extend` would lose those before the error
    except ReplyError as error:
        return replies, str(error)
    return replies, ""


def split_at(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=30))
def test_pieces_make_no_difference(data, cuts):
    """However the network cuts a stream, the same replies come of it, and the same error after them."""
    assert parse(*split_at(data, cuts)) == parse(data)


@given(STREAMS)
def test_no_bytes_raise_anything_but_a_reply_error(data):
    """What a hostile server sends becomes replies of printable characters, or a `ReplyError`."""
    replies, _error = parse(data)
    assert all(reply.text.isprintable() and len(reply.text) <= 500 and 200 <= reply.code < 600 for reply in replies)


def test_replies_before_garbage_count():
    """A reply that was complete is not lost because of what came behind it in the same packet."""
    replies, error = parse(b"250 2.0.0 queued\r\n" + GARBAGE)
    assert [reply.code for reply in replies] == [250]
    assert "no SMTP reply" in error


@pytest.mark.parametrize(
    ("data", "reply"),
    [
        (b"250 ok\r\n", Reply(code=250, text="ok")),
        (b"250\r\n", Reply(code=250, text="")),
        (b"250 ok\n", Reply(code=250, text="ok")),
        (b"550 5.1.1 no such user\r\n", Reply(code=550, text="no such user", enhanced="5.1.1")),
        (b"550 5.1.1\r\n", Reply(code=550, text="", enhanced="5.1.1")),
        (b"550 4.7.1 both are kept\r\n", Reply(code=550, text="both are kept", enhanced="4.7.1")),
        (b"550 5.1.1.1 no code\r\n", Reply(code=550, text="5.1.1.1 no code")),
        (
            b"550-5.7.1 one\r\n550 5.7.1 two\r\n",
            Reply(code=550, text="one two", enhanced="5.7.1", lines=("one", "two")),
        ),
        (
            b"250-mail\r\n250-SIZE 10\r\n250 DSN\r\n",
            Reply(code=250, text="mail SIZE 10 DSN", lines=("mail", "SIZE 10", "DSN")),
        ),
        (b"550 \x1b[31mred\x00\xff<b>\r\n", Reply(code=550, text="red \ufffd<b>")),
    ],
)
def test_what_a_reply_says(data, reply):
    """Code, enhanced code and clean words, of one line or several."""
    assert parse(data) == ([reply], "")


@pytest.mark.parametrize(
    "data",
    [
        GARBAGE,
        b"199 no such class\r\n",
        b"600 no such class\r\n",
        b"25 short\r\n",
        b"2500 long\r\n",
        b" 250 indented\r\n",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"\r\n",
        b"250-first\r\n550 second\r\n",
        b"250-first\r\nsecond\r\n",
    ],
)
def test_what_is_no_reply(data):
    """What RFC 5321, 4.2 does not know ends the conversation; codes that change within a reply do, too."""
    replies, error = parse(data)
    assert not replies
    assert error


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        (b"250 " + b"x" * (MAX_LINE - 4) + b"\r\n", True),
        (b"250 " + b"x" * (MAX_LINE - 3) + b"\r\n", False),
        (crlf(huge_line()), False),
        (crlf(multiline(250, *["x"] * MAX_LINES)), True),
        (crlf(multiline(250, *["x"] * (MAX_LINES + 1))), False),
        (crlf(multiline(250, *["x" * 4000] * (MAX_REPLY // 4000 + 1))), False),
    ],
)
def test_limits_of_a_reply(data, fits):
    """A line has 4 KiB at most, a reply 100 lines and 64 KiB."""
    replies, error = parse(data)
    assert (len(replies), bool(error)) == ((1, False) if fits else (0, True))


@given(st.binary(min_size=1, max_size=100), st.integers(1, 5000))
def test_memory_is_bounded(piece, times):
    """Whatever is fed for however long, what is held stays within the limits of one reply."""
    parser = ReplyParser()
    for _ in range(times):
        if parse(piece, parser=parser)[1]:
            break
    assert len(parser._rest) <= MAX_LINE + 1 + len(piece)
    assert sum(map(len, parser._lines)) <= MAX_REPLY


def test_an_endless_line_ends_after_4_kib():
    """A line without an end is given up as soon as it is too long, not when memory is."""
    parser = ReplyParser()
    assert parse(b"220 " + b"x" * MAX_LINE, parser=parser)[1]


def test_usual_replies_are_remembered():
    """The same line becomes the same object, and what is remembered stays small."""
    parser = ReplyParser()
    (first,), (second,) = parse(b"250 ok\r\n", parser=parser)[0], parse(b"250 ok\r\n", parser=parser)[0]
    assert first is second
    for number in range(1000):
        parse(b"250 queued as %d\r\n" % number, parser=parser)
    assert len(parser._known) == 256


def test_a_remembered_line_within_a_longer_reply_is_not_taken_for_a_whole_one():
    """`250 ok` ends a reply that began with `250-`."""
    replies, _error = parse(b"250 ok\r\n250-first\r\n250 ok\r\n")
    assert [reply.lines for reply in replies] == [(), ("first", "ok")]


@pytest.mark.parametrize(
    "lines",
    [
        [PASSWORD],
        [PASSWORD.upper()],
        [f"you said AUTH PLAIN {TOKEN}, no"],
        [f"AUTH PLAIN {TOKEN[:12]}", TOKEN[12:]],
        ["no", TOKEN],
        ["pa$$", "wörd 42"],
        ["x" * 490 + PASSWORD],
    ],
)
def test_an_echoed_password_is_hidden(lines):
    """Neither the words nor the lines of a reply keep it, in plain, in base64, or spread over lines."""
    parser = ReplyParser(hide=Redactor([PASSWORD]))
    (reply,), _error = parse(crlf(multiline(550, *lines)), parser=parser)
    assert REMOVED in reply.text
    shown = repr(reply).replace(" ", "").lower()
    assert "wörd" not in shown
    assert TOKEN[12:20].lower() not in shown


def test_a_password_that_servers_say_anyway():
    """Whoever chose `mail` as the password still learns what the server offers."""
    parser = ReplyParser(hide=Redactor(["mail"]))
    (reply,), _error = parse(b"250-mail.example.org\r\n250-SIZE 10\r\n250 STARTTLS\r\n", parser=parser)
    assert reply.lines == (f"{REMOVED}.example.org", "SIZE 10", "STARTTLS")
    assert "mail" not in reply.text


def test_hiding_changes_nothing_else():
    """A reply without the password in it stays what it was, its lines included."""
    parser = ReplyParser(hide=Redactor([PASSWORD]))
    (reply,), _error = parse(b"550-no\r\n550 never\r\n", parser=parser)
    assert reply == make_reply(550, [b"no", b"never"])


@given(st.text(max_size=60), st.text(min_size=3, max_size=20))
def test_the_quick_redactor_finds_what_the_thorough_one_finds(text, secret):
    """Its short cut passes over no text that `redact` would change."""
    from own_smtp.smtp.redaction import redact

    for said in (text, text + secret, secret + text, text + base64.b64encode(secret.encode()).decode() + text):
        assert Redactor([secret])(said) == redact(said, [secret])
