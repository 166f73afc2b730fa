"""Removal of secrets from servers' texts."""

from __future__ import annotations

import base64
import html
import quopri
import sys
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.redaction import LONGEST_REPLY, REMOVED, clean_reply
from own_smtp.smtp.replies.parser import ReplyParser, make_reply
from own_smtp.smtp.secret_redaction import Redactor, redact
from own_smtp.smtp.values import Reply
from tests.scripted import multiline
from tests.scripted.acts import crlf

SECRETS = st.text(min_size=4, max_size=40).filter(lambda text: len("".join(text.split())) >= 4 and "•" not in text)
PASSWORD = "pa$$ wörd 42"
TOKEN = base64.b64encode(f"\0user\0{PASSWORD}".encode()).decode()


@pytest.mark.parametrize(
    "echo",
    [
        "geheim!7",
        "GEHEIM!7",
        "gehe im!7",
        base64.b64encode(b"geheim!7").decode(),
        base64.b64encode(b"\0user\0geheim!7").decode(),
        base64.b64encode(b"\0users\0geheim!7").decode(),
        base64.b64encode(b"\0users1\0geheim!7").decode(),
        base64.b64encode(b"user=me\x01auth=Bearer geheim!7\x01\x01").decode(),
        base64.urlsafe_b64encode(b"\0users1\0geheim!7").decode().rstrip("="),
        quote("geheim!7", safe=""),
        "".join(f"%{octet:02x}" for octet in b"geheim!7"),
        "geheim%217",
        "".join(f"={octet:02X}" for octet in b"geheim!7"),
        "geheim=217",
        "gehe=\n im!7",
        "".join(f"&#{octet};" for octet in b"geheim!7"),
        "".join(f"&#X{octet:x};" for octet in b"geheim!7"),
        "geheim&excl;7",
        "geheim\\u00217",
        "geheim\\x217",
        "geheim\\!7",
        b"geheim!7".hex(),
        b"geheim!7".hex(":").upper(),
        "".join(f"\\x{octet:02x}" for octet in b"geheim!7"),
        quote(base64.b64encode(b"\0me\0geheim!7").decode(), safe=""),
    ],
)
def test_an_echoed_secret_is_removed(echo):
    """In whatever form a server repeats a password, it is removed, and the rest is kept."""
    assert redact(f"5.7.8 wrong: {echo} (sorry)", ["geheim!7"]) == f"5.7.8 wrong: {REMOVED} (sorry)"


@given(st.text(max_size=40), SECRETS, st.text(max_size=40))
def test_a_plain_secret_never_stays(before, secret, after):
    """A secret anywhere in a text is removed, in any case and with any white space."""
    kept = redact(before + secret + after, [secret])
    assert secret not in kept
    assert "".join(secret.split()).lower() not in "".join(kept.split()).lower()


@given(st.binary(max_size=20), SECRETS, st.binary(max_size=20), st.booleans())
def test_a_secret_in_base64_never_stays(before, secret, after, url_safe):
    """Base64 of any text with the secret is removed as a whole, whatever stands before and behind it."""
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    word = encode(before + secret.encode() + after).decode()
    assert redact(f"!{word}!", [secret]) == f"!{REMOVED}!"


@given(st.text(max_size=40), SECRETS, st.integers(3, 10))
def test_a_truncated_secret_is_removed(before, secret, size):
    """A text that was truncated at 500 characters does not end with the first half of a password."""
    beginning = "".join(secret.split())[:size]
    kept = redact(f"{before} {beginning}", [secret])
    assert not kept.endswith(beginning)


def test_truncated_base64_is_removed():
    """The same in base64: nothing stays of the first half of an AUTH PLAIN response."""
    word = base64.b64encode(b"\0somebody\0a long password").decode()
    assert redact(f"bad: {word[:24]}", ["a long password"]) == f"bad: {REMOVED}"


@pytest.mark.parametrize("secret", ["pass\u200bword", "pass\x07word", "p\u00e4ss w\u00f6rd"])
def test_a_secret_is_found_in_a_cleaned_reply(secret):
    """The sanitised form of a secret is removed, too."""
    kept = redact(clean_reply(f"5.7.8 you said {secret}, sorry"), [secret])
    assert kept == f"5.7.8 you said {REMOVED}, sorry"


def test_several_secrets_are_removed():
    """Secrets that overlap or contain one another leave no part behind."""
    assert redact("abcdefgh ijkl", ["cdefg", "abcdef", "ijkl"]) == f"{REMOVED}h {REMOVED}"


def test_nothing_is_removed_without_cause():
    """Empty and blank secrets, and texts without them, change nothing."""
    assert redact("5.7.8 Authentication failed", ["", " ", "geheim!7"]) == "5.7.8 Authentication failed"
    assert redact("", ["geheim!7"]) == ""
    assert redact("5.7.8 Authentication failed", []) == "5.7.8 Authentication failed"


ENCODERS = {
    "percent": lambda secret: quote(secret, safe=""),
    "quoted-printable": lambda secret: quopri.encodestring(secret.encode(), quotetabs=True).decode(),
    "entities": lambda secret: "".join(f"&#{ord(sign)};" for sign in secret),
    "html": html.escape,
    "json": lambda secret: "".join(f"\\u{ord(sign):04x}" for sign in secret),
    "hex": lambda secret: secret.encode().hex(),
    "base64": lambda secret: base64.b64encode(f"\0ann\0{secret}".encode()).decode(),
}


@pytest.mark.parametrize("encoder", ENCODERS)
@given(st.text(alphabet=st.characters(max_codepoint=0x2FFF, exclude_categories=["C", "Z"]), min_size=6, max_size=40))
def test_no_encoding_hides_a_secret(encoder, secret):
    """Everything that a program can decode to the password is removed, whatever its characters."""
    written = ENCODERS[encoder](secret)
    assert written not in redact(f"535 no: <{written}> sorry", [secret])


def steps(text: str, secrets: list[str]) -> int:
    """Return the number of Python lines executed to redact a text: a measure that does not depend on the machine."""
    redactor, count = Redactor(secrets), 0

    def trace(frame, event, _value):
        nonlocal count
        count += event == "line"
        return trace if frame.f_code.co_filename.endswith("secret_redaction.py") else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        redactor(text)
    finally:
        sys.settrace(before)
    return count


HOSTILE = {
    "base64 of the password, over and over": ("UUU", "V" * 8),
    "the password over and over": ("UUU", "U" * 8),
    "two words of base64": ("UUU", "VVVV VVVV "),
    "percent-encoded": ("UUU", "%55%55%55 "),
    "quoted-printable": ("UUU", "=55=55=55"),
    "entities": ("UUU", "&#85;"),
    "almost the password": ("U" * 40, "U" * 39 + "V"),
    "in hexadecimal": ("UUU", "555555 "),
    "beyond ASCII": ("ÜÜÜ", "üÜ"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_work_is_linear_in_the_text(name):
    """Twice the worst input takes about twice the work, with a bounded number of steps per character."""
    secret, piece = HOSTILE[name]
    few, many = (steps(piece * (size // len(piece)), [secret]) for size in (8_000, 32_000))
    assert many < 4.4 * few + 1000
    assert many < 12 * 32_000


def test_an_ordinary_reply_costs_next_to_nothing():
    """Ordinary replies are scanned a fixed number of times, however long they are."""
    assert steps("2.0.0 Ok: queued as 4XyZ0", ["correct horse"]) < 150
    assert steps("2.0.0 Ok: queued as 4XyZ0 " * 400, ["correct horse"]) < 150


def test_a_long_repetitive_token():
    """A token of 4,000 equal letters in 64 KiB of the same letter is one span."""
    assert redact("t" * 65_536, ["t" * 4000]) == REMOVED
    assert steps("t" * 65_536, ["t" * 4000]) < 10 * 65_536


@given(st.text(alphabet="ab", min_size=1, max_size=8), st.text(alphabet="ab", max_size=80))
def test_overlapping_secrets_leave_nothing(secret, text):
    """Every character of a secret is removed, and no other one but the beginning of a secret at the end."""
    covered = {
        place
        for start in range(len(text))
        if text.startswith(secret, start)
        for place in range(start, start + len(secret))
    }
    expected = "".join("•" if place in covered else sign for place, sign in enumerate(text))
    kept = Redactor([secret]).without(text)
    assert [part for part in kept.split(REMOVED) if part] == [part for part in expected.split("•") if part]


def said(*lines: str) -> Reply:
    (reply,) = ReplyParser().feed(crlf(multiline(550, *lines)))
    return reply


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
        ["x" * 490 + PASSWORD, "more"],
    ],
)
def test_a_reply_keeps_no_echoed_password(lines):
    """Neither in its text nor in its lines: plain, in base64, truncated, or spread over lines."""
    reply = Redactor([PASSWORD]).reply(said(*lines))
    assert REMOVED in reply.text
    assert len(reply.text) <= LONGEST_REPLY
    shown = repr(reply).replace(" ", "").lower()
    assert "wörd" not in shown
    assert "pa$$" not in shown
    assert TOKEN[12:20].lower() not in shown


def test_a_reply_without_a_password_stays_unchanged():
    """The result is the same object, with the same lines."""
    reply = said("no", "never")
    assert Redactor([PASSWORD]).reply(reply) is reply
    assert reply == make_reply(550, [b"no", b"never"])
