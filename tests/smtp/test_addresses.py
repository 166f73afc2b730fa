"""Addresses: accepted ones, their normal form, and refused ones."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import example, given, settings
from hypothesis import strategies as st

from own_smtp.errors import AddressError
from own_smtp.smtp.addresses import (
    _PLAIN,
    LONGEST_ADDRESS,
    LONGEST_LOCAL,
    domain_of,
    needs_smtputf8,
    parse_address,
)

ATEXT = "abcXYZ019!#$%&'*+-/=?^_`{|}~."
DOMAIN = "abZ09-."


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("anna@example.org", "anna@example.org"),
        ("  Anna.B@Example.ORG \n", "Anna.B@example.org"),
        ("x@müller.example", "x@xn--mller-kva.example"),
        ("x@XN--mller-kva.example", "x@xn--mller-kva.example"),
        ("用户@例子.广告", "用户@xn--fsqu00a.xn--4rr70v"),
        ("POSTMASTER@example.org", "POSTMASTER@example.org"),
        ("o'neil+survey=2@a.b.example.org", "o'neil+survey=2@a.b.example.org"),
        ("it@corp.local", "it@corp.local"),
        ("a" * 64 + "@example.org", "a" * 64 + "@example.org"),
    ],
)
def test_an_address_gets_its_normal_form(text, address):
    """White space is removed, the domain becomes lower-case A-labels, the local part stays unchanged."""
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "anna",
        "anna@",
        "@example.org",
        "anna@localhost",
        "anna@1.2.3.4",
        "anna@[192.0.2.1]",
        "anna@[IPv6:2001:db8::1]",
        "anna@example..org",
        "anna@.example.org",
        "anna@example.org.",
        "anna@-example.org",
        "anna@example-.org",
        "anna@exam_ple.org",
        "an..na@example.org",
        ".anna@example.org",
        "anna.@example.org",
        '"an na"@example.org',
        '"anna"@example.org',
        "Anna <anna@example.org>",
        "<anna@example.org>",
        "anna@example.org (Anna)",
        "anna(comment)@example.org",
        "a" * 65 + "@example.org",
        "ü" * 33 + "@example.org",
        "anna@" + "b" * 64 + ".org",
        "anna@" + ".".join(["b" * 60] * 5),
        "anna@xn--a.example",
        "a" * 100_000,
    ],
)
def test_invalid_addresses_are_refused(text):
    """Incomplete addresses, literals, quoted local parts, comments, names and overlong parts are refused."""
    with pytest.raises(AddressError) as caught:
        parse_address(text)
    assert str(caught.value).endswith((".", ")", "characters."))


@pytest.mark.parametrize(
    "text",
    [
        "anna@example.org\r\nRCPT TO:<eve@evil.example>",
        "anna@example.org\nBcc: eve@evil.example",
        "anna\r\n@example.org",
        "anna\x00@example.org",
        "anna@example.org\x00",
        "anna@exa\tmple.org",
        "anna\x7f@example.org",
        "an na@example.org",
        "anna@example.org eve@evil.example",
        "anna@example.org> NOTIFY=NEVER",
        "anna\u2028@example.org",
        "an\u202ena@example.org",
        "anna@exam\u00adple.org",
        "\ufeffanna@example.org",
    ],
)
def test_nothing_that_could_break_a_command_or_a_header_passes(text):
    """Line ends, NUL, other control characters, spaces and invisible characters in an address are refused."""
    with pytest.raises(AddressError):
        parse_address(text)


@pytest.mark.parametrize(
    "text",
    [
        "alice@example.org)bob@evil.example",
        "alice@example.org(<bob@evil.example>",
        "alice@example.org@evil.example",
        "alice@example.org,bob@evil.example",
        "alice@example.org;bob@evil.example",
        '"alice@example.org"@evil.example',
        '"alice@example.org" <bob@evil.example>',
        "alice@example.org<bob@evil.example>",
        "group:alice@example.org;",
        "@relay.example:alice@example.org",
        "alice%example.org@",
        "alice@evil.example\\@example.org",
        "alice@example.org/@evil.example",
        "alice@example。org@evil.example",
    ],
)
def test_readers_cannot_disagree_about_the_domain(text):
    """Input that some parsers read as two addresses, or as another domain (CVE-2023-27043), is refused."""
    with pytest.raises(AddressError):
        parse_address(text)


@settings(max_examples=500)
@given(
    st.one_of(
        st.builds("{}@{}".format, st.text(ATEXT, max_size=70), st.text(DOMAIN, max_size=70)),
        st.builds(
            "{}@{}.{}".format,
            st.text(ATEXT, min_size=1, max_size=9),
            st.text(DOMAIN, max_size=9),
            st.text("abZ0-", max_size=4),
        ),
        st.text(ATEXT + "@", max_size=40),
    )
)
@example("a@b--c.example")
@example("a@ab--c.example")
@example("0@0.Z---0")
@example("a@example.c1")
def test_the_fast_path_accepts_only_what_email_validator_accepts(text):
    """An address that the regular expression accepts is valid for email-validator, with the same domain."""
    if len(text) > LONGEST_ADDRESS or not _PLAIN.fullmatch(text):
        return
    parts = validate_email(text, check_deliverability=False, globally_deliverable=False)
    assert domain_of(parse_address(text)) == parts.ascii_domain
    assert len(parts.local_part) <= LONGEST_LOCAL


@settings(max_examples=500)
@given(st.one_of(st.text(max_size=60), st.builds("{}@{}.example".format, st.text(max_size=20), st.text(max_size=20))))
def test_every_parsed_address_is_safe_in_a_command(text):
    """A parsed address has one @, an ASCII domain, no blank, bracket or control character, and parses to itself."""
    try:
        address = parse_address(text)
    except AddressError:
        return
    local, _, domain = address.partition("@")
    assert domain.isascii()
    assert domain == domain.lower() == domain_of(address)
    assert not set(address) & set('<>()[]\\,;:" ')
    assert address.isprintable()
    assert "@" not in domain
    assert len(local.encode()) <= 64
    assert parse_address(address) == address


@given(st.text(max_size=60))
def test_nothing_is_accepted_that_email_validator_refuses(text):
    """Own SMTP is never more lenient than email-validator."""
    try:
        parse_address(text)
    except AddressError:
        return
    try:
        validate_email(text.strip(), check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        pytest.fail(f"{text!r} was taken")


def test_a_value_that_is_not_text_is_refused():
    """A missing address is an ordinary refusal, not an exception in the host's transaction."""
    with pytest.raises(AddressError):
        parse_address(None)


def test_only_a_non_ascii_local_part_needs_smtputf8():
    """An internationalised domain becomes A-labels and needs no extension; a local part needs SMTPUTF8."""
    assert not needs_smtputf8(parse_address("anna@müller.example"))
    assert needs_smtputf8(parse_address("jürgen@example.org"))
