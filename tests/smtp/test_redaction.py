"""A server's words made safe to keep."""

from __future__ import annotations

import base64
import time
import unicodedata
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.redaction import LONGEST_REPLY, REMOVED, clean_reply, mask_addresses, redact

SECRETS = st.text(min_size=4, max_size=40).filter(lambda text: len("".join(text.split())) >= 4 and "•" not in text)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (b"2.0.0 Ok: queued as 4Xyz", "2.0.0 Ok: queued as 4Xyz"),
        ("Empfänger unbekannt".encode(), "Empfänger unbekannt"),
        ("Empfänger".encode("latin-1"), "Empf\ufffdnger"),
        (b"a\r\nb\tc\x00d", "a b c d"),
        (b"  a    b  ", "a b"),
        (b"\x1b[31mred\x1b[0m \x1b]0;title\x07x \x1bc\x1b(By", "red x y"),
        ("\x9b31mred \x9d0;title\x9cx", "red x"),
        (b"\x1b]never ended", ""),
        ("a\u202eb\u2066c\u200bd\ufeffe\u00adf", "abcdef"),
        ("a\u2028b\u2029c\u00a0d", "a b c d"),
        ("a\ud800b\uffffc\ue000d", "a\ufffdb\ufffdc\ufffdd"),
        ("<b>bold</b> & more", "<b>bold</b> & more"),
        ("x" * 600, "x" * 500),
        ("", ""),
    ],
)
def test_what_is_kept_of_a_reply(said, kept):
    """One line of readable characters, whatever the server sent."""
    assert clean_reply(said) == kept


@given(st.binary(max_size=2000) | st.text(max_size=2000) | st.text(alphabet="\x1b[]m0;\x07\\ab\u202e\x9b", max_size=50))
def test_a_kept_reply_is_harmless(said):
    """No control, format, surrogate or unassigned character survives, and cleaning again changes nothing."""
    kept = clean_reply(said)
    assert len(kept) <= LONGEST_REPLY
    assert kept == "" or kept.isprintable()
    assert all(unicodedata.category(character)[0] != "C" for character in kept)
    assert clean_reply(kept) == kept
    kept.encode()


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
    ],
)
def test_an_echoed_secret_is_removed(echo):
    """However a server repeats a password, it is gone, and the rest is kept."""
    assert redact(f"5.7.8 wrong: {echo} (sorry)", ["geheim!7"]) == f"5.7.8 wrong: {REMOVED} (sorry)"


@given(st.text(max_size=40), SECRETS, st.text(max_size=40))
def test_a_plain_secret_never_stays(before, secret, after):
    """A secret anywhere in a text is gone, in any case and with any white space."""
    kept = redact(before + secret + after, [secret])
    assert secret not in kept
    assert "".join(secret.split()).lower() not in "".join(kept.split()).lower()


@given(st.binary(max_size=20), SECRETS, st.binary(max_size=20), st.booleans())
def test_a_secret_in_base64_never_stays(before, secret, after, url_safe):
    """Base64 of anything that holds the secret is gone as a whole, whatever stands before and behind it."""
    encode = base64.urlsafe_b64encode if url_safe else base64.b64encode
    word = encode(before + secret.encode() + after).decode()
    assert redact(f"!{word}!", [secret]) == f"!{REMOVED}!"


@given(st.text(max_size=40), SECRETS, st.integers(3, 10))
def test_a_secret_that_was_cut_short_is_removed(before, secret, size):
    """A text that was cut at 500 characters does not end with the first half of a password."""
    beginning = "".join(secret.split())[:size]
    kept = redact(f"{before} {beginning}", [secret])
    assert not kept.endswith(beginning)


def test_base64_that_was_cut_short_is_removed():
    """The same in base64: of the first half of an AUTH PLAIN response nothing stays."""
    word = base64.b64encode(b"\0somebody\0a long password").decode()
    assert redact(f"bad: {word[:24]}", ["a long password"]) == f"bad: {REMOVED}"


@pytest.mark.parametrize("secret", ["pass\u200bword", "pass\x07word", "p\u00e4ss w\u00f6rd"])
def test_a_secret_is_found_in_a_cleaned_reply(secret):
    """What cleaning makes of a secret is a secret, too."""
    kept = redact(clean_reply(f"5.7.8 you said {secret}, sorry"), [secret])
    assert kept == f"5.7.8 you said {REMOVED}, sorry"


def test_several_secrets_are_removed():
    """Secrets that overlap or hold one another leave nothing of each other."""
    assert redact("abcdefgh ijkl", ["cdefg", "abcdef", "ijkl"]) == f"{REMOVED}h {REMOVED}"


def test_nothing_is_removed_without_cause():
    """Empty and blank secrets, and texts without them, change nothing."""
    assert redact("5.7.8 Authentication failed", ["", " ", "geheim!7"]) == "5.7.8 Authentication failed"
    assert redact("", ["geheim!7"]) == ""
    assert redact("5.7.8 Authentication failed", []) == "5.7.8 Authentication failed"


def test_long_secrets_and_texts_take_little_time():
    """A token of 4,000 characters in 64 KiB of the same letter, the worst there is, costs seconds at most."""
    started = time.process_time()
    assert redact("t" * 65_536, ["t" * 4000]) == REMOVED
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("550 5.1.1 <ann@example.org>: unknown", "550 5.1.1 <•••>: unknown"),
        ("{'address': 'ann@example.org', 'id': 7}", "{'address': '•••', 'id': 7}"),
        ("from bounces+ann=example.org@lists.example", "from •••"),
        ("at 5@ or @home", "at 5@ or @home"),
        ("x" * 200_000, "x" * 200_000),
    ],
)
def test_whatever_looks_like_an_address_is_masked(said, kept):
    """In brackets and quotes, and encoded into another's local part; a long word takes no time."""
    assert mask_addresses(said) == kept
