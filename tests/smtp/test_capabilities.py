"""The extensions that a server offers in its reply to EHLO."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.capabilities import NOTHING, Capabilities, parse_ehlo
from own_smtp.smtp.replies.parser import make_reply


def offered(*lines: str) -> Capabilities:
    return parse_ehlo(make_reply(250, [b"mail.example.test", *(line.encode() for line in lines)]))


@pytest.mark.parametrize(
    ("line", "capabilities"),
    [
        ("PIPELINING", Capabilities(pipelining=True)),
        ("chunking", Capabilities(chunking=True)),
        ("8BITMIME", Capabilities(eight_bit=True)),
        ("SMTPUTF8", Capabilities(smtputf8=True)),
        ("DSN", Capabilities(dsn=True)),
        ("STARTTLS", Capabilities(starttls=True)),
        ("SIZE", Capabilities(sized=True)),
        ("SIZE 0", Capabilities(sized=True)),
        ("SIZE 1000", Capabilities(sized=True, max_size=1000)),
        ("SIZE lots", Capabilities(sized=True)),
        ("SIZE " + "9" * 5000, Capabilities(sized=True)),
        ("AUTH PLAIN login", Capabilities(auth=frozenset({"PLAIN", "LOGIN"}))),
        ("AUTH=LOGIN PLAIN", Capabilities(auth=frozenset({"PLAIN", "LOGIN"}))),
        ("AUTH", NOTHING),
        ("X-PIPELINING", NOTHING),
        ("", NOTHING),
    ],
)
def test_an_extension(line, capabilities):
    """Keywords count in any case, valid parameters are read, and unknown keywords are ignored."""
    assert offered(line) == capabilities


def test_the_greeting_line_offers_nothing():
    """A server whose name equals a keyword does not offer that extension (RFC 5321, 4.1.1.1)."""
    assert parse_ehlo(make_reply(250, [b"PIPELINING", b"DSN"])) == Capabilities(dsn=True)
    assert parse_ehlo(make_reply(250, [b"PIPELINING"])) == NOTHING


def test_mechanisms_of_several_lines_add_up():
    """Old servers send `AUTH` and `AUTH=`, each with a list."""
    assert offered("AUTH PLAIN", "AUTH=LOGIN").auth == {"PLAIN", "LOGIN"}


@given(st.lists(st.binary(max_size=60), max_size=20))
def test_arbitrary_lines_raise_nothing(lines):
    """Any lines at all become capabilities."""
    parse_ehlo(make_reply(250, lines or [b""]))
