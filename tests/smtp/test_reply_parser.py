"""Parsing of replies, within limits."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.replies.parser import MAX_LINE, MAX_LINES, MAX_REPLY, ReplyError, ReplyParser
from own_smtp.smtp.values import Reply
from tests.scripted import GARBAGE, huge_line, multiline
from tests.scripted.acts import crlf

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
    """Return the replies and the text of the error that ended them, if there was one."""
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
    """However the network splits a stream, the replies are the same, and the same error follows them."""
    assert parse(*split_at(data, cuts)) == parse(data)


@given(STREAMS)
def test_no_bytes_raise_anything_but_a_reply_error(data):
    """Any input becomes replies of printable characters, or a `ReplyError`."""
    replies, _error = parse(data)
    assert all(reply.text.isprintable() and len(reply.text) <= 500 and 200 <= reply.code < 600 for reply in replies)


def test_replies_before_garbage_count():
    """A complete reply is not lost because of invalid bytes behind it in the same packet."""
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
def test_the_parts_of_a_reply(data, reply):
    """Code, enhanced code and sanitised text, of one line or several."""
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
def test_invalid_replies(data):
    """Violations of RFC 5321, 4.2 end the session, and so do different codes within one reply."""
    replies, error = parse(data)
    assert not replies
    assert error


@pytest.mark.parametrize(
    "data",
    [
        b"250 2.0.0 queued " + b"x" * MAX_LINE + b"\r\n",
        b"250 2.0.0 queued " + b"x" * (MAX_REPLY - 100) + b"\r\n",
        crlf(multiline(250, *["2.0.0 queued"] * (MAX_LINES + 1))),
        crlf(multiline(250, *["2.0.0 queued " + "x" * 4000] * 15)),
        b"250-2.0.0 queued\r\n250 2.0.0 " + b"x" * MAX_LINE + b"\r\n",
        b"250\t2.0.0 queued\r\n",
    ],
)
def test_a_reply_counts_by_its_code(data):
    """However long the text, the message was accepted; only a part of the text is kept (RFC 5321, 4.2)."""
    (reply,), error = parse(data)
    assert (reply.code, error) == (250, "")
    assert "queued" in reply.text
    assert len(reply.text) <= 500
    assert len(reply.lines) <= MAX_LINES


@pytest.mark.parametrize("pieces", [1, 100, 5000])
def test_a_long_line_does_not_affect_the_next_reply(pieces):
    """Discarded octets never become a part of the next reply, however the network splits them."""
    data = b"250 " + b"x" * 20_000 + b"\r\n550 5.1.1 no such user\r\n"
    replies, error = parse(*split_at(data, [number * len(data) // pieces for number in range(pieces)]))
    assert [(reply.code, reply.enhanced) for reply in replies] == [(250, None), (550, "5.1.1")]
    assert not error


def test_an_endless_line_counts_and_ends_the_session():
    """Its code was sent: the message was accepted, but no further command is sent to this server."""
    replies, error = parse(*[crlf(huge_line())[start : start + 5000] for start in range(0, 1 << 20, 5000)])
    assert [reply.code for reply in replies] == [250]
    assert "does not end" in error


@pytest.mark.parametrize("line", [b"250-x\r\n", b"250-" + b"x" * 4000 + b"\r\n", b"250-" + b"x" * MAX_REPLY])
def test_an_endless_reply_is_invalid(line):
    """It always announces another line: after 64 KiB the session ends."""
    replies, error = parse(*[line] * MAX_REPLY)
    assert not replies
    assert "does not end" in error


@given(st.binary(min_size=1, max_size=100), st.integers(1, 5000))
def test_memory_is_bounded(piece, times):
    """For any amount of input the stored octets stay within the limits of one reply."""
    parser = ReplyParser()
    for _ in range(times):
        if parse(piece, parser=parser)[1]:
            break
    assert len(parser._rest) <= MAX_LINE
    assert sum(map(len, parser._lines)) <= MAX_REPLY


def test_a_long_line_without_a_code_fails_at_once():
    """It is not a reply, and nothing more is read."""
    assert parse(b"x" * (MAX_LINE + 1))[1]


def test_usual_replies_are_cached():
    """The same line gives the same object, and the cache stays small."""
    parser = ReplyParser()
    (first,), (second,) = parse(b"250 ok\r\n", parser=parser)[0], parse(b"250 ok\r\n", parser=parser)[0]
    assert first is second
    for number in range(1000):
        parse(b"250 queued as %d\r\n" % number, parser=parser)
    assert len(parser._known) == 256


def test_a_cached_line_within_a_longer_reply_is_not_a_whole_reply():
    """`250 ok` ends a reply that began with `250-`."""
    replies, _error = parse(b"250 ok\r\n250-first\r\n250 ok\r\n")
    assert [reply.lines for reply in replies] == [(), ("first", "ok")]
