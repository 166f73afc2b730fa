"""Sanitised texts of servers."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.redaction import LONGEST_REPLY, clean_reply, mask_addresses


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
def test_a_reply_becomes_one_readable_line(said, kept):
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
    ("said", "kept"),
    [
        ("550 5.1.1 <ann@example.org>: unknown", "550 5.1.1 <•••>: unknown"),
        ("{'address': 'ann@example.org', 'id': 7}", "{'address': '•••', 'id': 7}"),
        ("from bounces+ann=example.org@lists.example", "from •••"),
        ("at 5@ or @home", "at 5@ or @home"),
        ("x" * 200_000, "x" * 200_000),
    ],
)
def test_addresses_are_masked(said, kept):
    """In brackets and quotes, and encoded in another one's local part; a long word takes no time."""
    assert mask_addresses(said) == kept
