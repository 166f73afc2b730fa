"""Host names as people type and paste them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.errors import TargetError
from own_smtp.smtp.hostnames import clean_host


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("mail.abc.com", "mail.abc.com", None),
        ("  Mail.ABC.com.\n", "mail.abc.com", None),
        ("smtp://mail.abc.com:587/", "mail.abc.com", 587),
        ("https://mail.abc.com/owa?x=1#y", "mail.abc.com", None),
        ("mail.abc.com:25", "mail.abc.com", 25),
        ("mail", "mail", None),
        ("mail_1.abc.com", "mail_1.abc.com", None),
        ("müller.example", "xn--mller-kva.example", None),
        ("XN--MLLER-KVA.example", "xn--mller-kva.example", None),
        ("пошта。example", "xn--80a1acn3a.example", None),
        ("8.8.8.8", "8.8.8.8", None),
        ("8.8.8.8:465", "8.8.8.8", 465),
        ("127.0.0.1", "127.0.0.1", None),
        ("2001:DB8:0::1", "2001:db8::1", None),
        ("[2001:db8::1]", "2001:db8::1", None),
        ("smtps://[2001:db8::1]:465", "2001:db8::1", 465),
        ("1und1.example", "1und1.example", None),
        ("163.com", "163.com", None),
        ("0x7f.example", "0x7f.example", None),
    ],
)
def test_pasted_text_becomes_a_host(text, host, port):
    """White space, schemes, paths, ports, case, final dots and international names are handled."""
    assert clean_host(text) == (host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "smtp://",
        "127.1",
        "127.0.1",
        "0x7f000001",
        "0x7F.0.0.1",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.0x1",
        "127.0.0.1.",
        "256.256.256.256",
        "1.2.3.4.5",
        "127.0.0.1:\u0662\u0665",
        "\uff11\uff12\uff17.\uff11",
        "\u2461\u24601\u24620706433",
        "mail.abc.com:",
        "mail.abc.com:0",
        "mail.abc.com:65536",
        "mail.abc.com:smtp",
        "mail abc.com",
        "mail\r\nabc.com",
        "mail\x00.abc.com",
        "me@mail.abc.com",
        "smtp://me:pw@mail.abc.com",
        "mail..abc.com",
        ".abc.com",
        "-mail.abc.com",
        "mail-.abc.com",
        "a" * 64 + ".com",
        ".".join(["abcdefgh"] * 32),
        "mail,abc.com",
        "mail.abc.com\\@evil.example",
        "fe80::1%eth0",
        "[fe80::1%25eth0]",
        "[127.0.0.1]",
        "[mail.abc.com]",
        "[::1",
        "::1]",
        "1:2:3",
        "müller..example",
        "\ud800.example",
        "💌.example",
        "x" * 100_000,
    ],
)
def test_nonsense_is_refused(text):
    """Input that is neither a name nor an address in its usual form is refused, with a hint."""
    with pytest.raises(TargetError, match=r"mail\.example\.org") as caught:
        clean_host(text)
    assert len(str(caught.value)) < 700


@given(st.text())
def test_a_clean_host_is_safe_and_stays_as_it_is(text):
    """For any input the result is printable ASCII without white space, and cleaning it again changes nothing."""
    try:
        host, port = clean_host(text)
    except TargetError:
        return
    assert host.isascii()
    assert host.isprintable()
    assert not set(host) & set(" /@\\[]%")
    assert port is None or 0 < port < 65536
    assert clean_host(host) == (host, None)


@given(st.ip_addresses())
def test_addresses_survive_cleaning(address):
    """An IP address in its usual form is a host."""
    assert clean_host(str(address)) == (str(address), None)


@given(st.integers(0, 0xFFFFFFFF))
def test_numbers_are_not_hosts(number):
    """An IPv4 address as one number, in base 8, 10 or 16, is refused."""
    for text in (
        str(number),
        hex(number),
        f"0{number:o}",
        ".".join(f"0{octet:o}" for octet in number.to_bytes(4, "big")),
    ):
        with pytest.raises(TargetError):
            clean_host(text)
