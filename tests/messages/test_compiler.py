"""Composed messages: the `email` parser reads the intended content, whatever the input."""

import re
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from own_smtp.errors import AddressError, ContentError
from own_smtp.hooks import Attachment, Content
from own_smtp.messages.compiler import compile_content, format_date, message_id, parse_message_id
from own_smtp.messages.contents import check_content
from own_smtp.messages.headers import clean
from own_smtp.messages.html_text import is_blank, shows_nothing, text_of
from own_smtp.messages.placeholders import LONGEST_START, Template
from own_smtp.smtp.values import Identity
from tests.composing import (
    DATE,
    ID,
    IDENTITY,
    assert_fit_for_the_wire,
    compose,
    hostile,
    one_line,
    parse,
    texts,
    values,
)

GOLDEN = Path(__file__).parents[1] / "data" / "golden.eml"
LOGO = Attachment(filename="logo.png", content_type="image/png", data=bytes(range(256)), content_id="logo@survey")
PDF = Attachment(filename="Einverständnis 同意.pdf", content_type="application/pdf", data=b"%PDF\r\n.\r\n\0" * 40)


def unified(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def meant(template: str, given_values: dict[str, str]) -> str:
    """The expected text of a part: placeholders replaced once, one kind of line end, one at the end."""
    template = unified(template)
    template = template if template.endswith("\n") else template + "\n"
    return Template(template).fill({key: unified(value) for key, value in given_values.items()})


def body(message: EmailMessage, kind: str) -> str:
    return next(text for content_type, text in texts(message) if content_type == f"text/{kind}")


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(subject=hostile, text=hostile, html=st.none() | hostile, given_values=values, name=hostile)
@example(subject="", text="", html=None, given_values={}, name="")
@example(subject="a" * 990, text="{A_B}{A_B}", html="{A_B} {A_B}\n{A_B}", given_values={"A_B": "."}, name="x" * 300)
@example(subject="{A_B}", text="{A_B}\n", html="<p>{A_B}", given_values={"A_B": "From "}, name="Frank, From ")
def test_any_input_makes_a_message_that_reads_as_meant(subject, text, html, given_values, name):
    """For all of Unicode: safe octets, no defects, and texts, subject and name as intended."""
    data = compose(Content(subject=subject, text=text, html=html), given_values, name=name)
    assert_fit_for_the_wire(data)
    message = parse(data)
    has_html = not shows_nothing(html)
    assert body(message, "plain") == meant(text_of(html) if is_blank(text) and has_html else text, given_values)
    assert message.get_content_type() == ("multipart/alternative" if has_html else "text/plain")
    assert message["Subject"] == clean(Template(subject).fill(given_values))
    assert message["To"].addresses[0].addr_spec == "anna@example.org"
    assert message["Bcc"] is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(before=hostile, between=hostile, after=hostile, value=hostile)
def test_text_with_values_survives_in_both_encodings(before, between, after, value):
    """A value of any length and script, anywhere in a Latin or a non-Latin text, arrives unchanged."""
    text = f"{before}{{A_B}}{between}{{A_B}}{after}"
    for padding in ("", "日本語" * 60):
        data = compose(Content(subject="x", text=padding + text), {"A_B": value})
        assert_fit_for_the_wire(data)
        assert b"\r\nFrom " not in data
        assert body(parse(data), "plain") == meant(padding + text, {"A_B": value})


class _Shape(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, attrs))

    def handle_data(self, data):
        self.text += data


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(value=hostile)
@example("x onmouseover=alert(1)")
@example("\" onmouseover='alert(1)")
@example("</p><script>alert(1)</script>")
@pytest.mark.parametrize("padding", ["", "日本語" * 60])
def test_a_value_in_html_is_text_and_nothing_else(padding, value):
    """A value adds no tag and no attribute, in text and in attributes with and without quotes, and stays unchanged."""
    html = f"<p>{padding}</p><a href=\"{{A_B}}\" title='{{A_B}}' id=x{{A_B}}>z</a><b>{{A_B}}</b>"
    shape = _Shape()
    shape.feed(body(parse(compose(Content(subject="x", text="x", html=html), {"A_B": value})), "html"))
    shape.close()
    kept = unified(value)
    assert [tag for tag, _ in shape.tags] == ["p", "a", "b"]
    assert [key for key, _ in shape.tags[1][1]] == ["href", "title", "id"]
    if value.isprintable():
        assert shape.tags[1][1] == [("href", value), ("title", value), ("id", f"x{value}")]
        assert shape.text == f"{padding}z{kept}\n"


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(name=one_line, sender=one_line)
@example(name="Anna, Bob", sender='"quoted" \\ back')
@example(name="boss@corp.example", sender="a <b@c.example>")
@example(name="=?utf-8?q?x?=", sender="Jürgen")
@example(name="日本語" * 80, sender="long " * 40)
def test_display_names_arrive_as_written(name, sender):
    """A name is quoted or encoded so that the parser restores it, and never becomes a part of an address."""
    identity = Identity(address="surveys@example.org", name=sender)
    data = compose(Content(subject="x", text="x"), identity=identity, name=name)
    message = parse(data)
    for field, wanted, address in (("To", name, "anna@example.org"), ("From", sender, "surveys@example.org")):
        (found,) = message[field].addresses
        assert found.addr_spec == address
        raw = (
            re.search(rf"\r\n{field}: (.*?)\s*<".encode(), b"\r\n" + data, re.DOTALL)[1].decode()
            if clean(wanted)
            else ""
        )
        # The parser of Python 3.11 puts a space between the encoded words of a name; RFC 2047, 6.2 has none.
        found_name = str(make_header(decode_header(raw))) if raw.startswith("=?") else found.display_name
        assert found_name == clean(wanted)


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(template=one_line, given_values=values)
@example(template="https://example.org/" + "a" * 300, given_values={})
@example(template="many  spaces   " + "and words " * 50 + "{A_B}", given_values={"A_B": "\r\nX: y"})
def test_further_headers_arrive_as_written(template, given_values):
    """A host's own header contains its text with the values, and stays one header."""
    message = parse(compose(Content(subject="s", text="t", headers={"X-Survey": template}), given_values))
    assert message["X-Survey"] == clean(Template(template).fill(given_values))
    assert message["X"] is None


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(value=hostile)
@example("t" * 200)
@example("\r\nBcc: eve@evil.example")
@example(">, <mailto:eve@evil.example")
@example("=?utf-8?q?a?=")
def test_a_value_in_the_unsubscribe_url_leaves_it_a_url(value):
    """Invalid characters are percent-encoded; nothing ends the URL early or adds another."""
    content = Content(subject="s", text="t", list_unsubscribe="https://example.org/out/{A_B}?l=de")
    message = parse(compose(content, {"A_B": value}))
    field = message["List-Unsubscribe"]
    if field is None:
        assert len(value.encode()) > 200
        return
    assert re.fullmatch(r"<https://example\.org/out/[!#-;=?-Z\[\]_a-z~]*\?l=de>", field)


def test_a_long_unsubscribe_url_arrives_byte_for_byte():
    """A URL with a token of 200 characters stands on one line, neither folded nor encoded (cpython #85725)."""
    url = "https://example.org/out?survey=12345&token=" + "aB3-_." * 33 + "%20~"
    content = Content(subject="s", text="t", list_unsubscribe="{OPTOUTURL}", one_click_unsubscribe=True)
    data = compose(content, {"OPTOUTURL": url})
    assert f"\r\nList-Unsubscribe: <{url}>\r\n".encode() in data
    assert b"\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n" in data


@pytest.mark.parametrize(
    ("value", "field"),
    [
        ("https://müller.example/ä b", "<https://xn--mller-kva.example/%C3%A4%20b>"),
        ("mailto:out@example.org?subject=no more", "<mailto:out@example.org?subject=no%20more>"),
        ("http://127.0.0.1:5000/out", "<http://127.0.0.1:5000/out>"),
        ("https://kim:pw@example.org/out", "<https://kim:pw@example.org/out>"),
        ("https://kïm:pw@müller.example:8443/out", "<https://k%C3%AFm:pw@xn--mller-kva.example:8443/out>"),
        ("https://example.org/a,b, mailto:out@example.org", "<https://example.org/a,b>, <mailto:out@example.org>"),
        ("javascript:alert(1)", None),
        ("/out/1", None),
        ("https://exa mple.org\udcff/", None),
        ("https://[/", None),
        ("https://example.org/" + "a" * 900, None),
        (None, None),
    ],
)
def test_only_a_usable_url_is_offered(value, field):
    """A value may be a whole URL; one that no client could open is omitted."""
    content = Content(subject="s", text="t", list_unsubscribe="{OPTOUTURL}")
    message = parse(compose(content, {} if value is None else {"OPTOUTURL": value}))
    assert message["List-Unsubscribe"] == field


@pytest.mark.parametrize(
    ("template", "field"),
    [
        ("https://example.org/o?m={M}&l=de", "<https://example.org/o?m=kim%2Ba%26b%23c%25%40x.example&l=de>"),
        ("https://example.org/o/{M}/x", "<https://example.org/o/kim+a%26b%23c%25@x.example/x>"),
        ("https://example.org/o#{M}", "<https://example.org/o#kim%2Ba%26b%23c%25%40x.example>"),
        ("mailto:{M}?subject={M}", "<mailto:kim+a%26b%23c%25@x.example?subject=kim%2Ba%26b%23c%25%40x.example>"),
        ("{URL}?m={M}", "<https://example.org/o?x=1&y=%20?m=kim%2Ba%26b%23c%25%40x.example>"),
        ("https://{HOST}/{TOKEN}", "<https://b.example:8080/a/b>"),
        ("https://example.org/o?{QUERY}", "<https://example.org/o?a=1&b=2>"),
        ("https://example.org/o, mailto:out@example.org", "<https://example.org/o>, <mailto:out@example.org>"),
        ("{URL}, mailto:out@example.org?subject={TOKEN}",
         "<https://example.org/o?x=1&y=%20>, <mailto:out@example.org?subject=a%2Fb>"),
        ("https://example.org/{NOTHING},mailto:out@example.org",
         "<https://example.org/%7BNOTHING%7D>, <mailto:out@example.org>"),
    ],
)  # fmt: skip
def test_a_value_inside_a_url_is_data(template, field):
    """An address with `&` or `#` never unsubscribes another person (RFC 3986, 2.2); several URLs stay several."""
    one_click = not template.startswith("mailto")
    content = Content(subject="s", text="t", list_unsubscribe=template, one_click_unsubscribe=one_click)
    check_content(content)
    given_values = {
        "M": "kim+a&b#c%@x.example",
        "URL": "https://example.org/o?x=1&y=%20",
        "HOST": "b.example:8080",
        "QUERY": "a=1&b=2",
        "TOKEN": "a/b",
    }
    assert re.sub(r"\s+", " ", parse(compose(content, given_values))["List-Unsubscribe"]) == field


KIM = "kim+a&b#c'%@x.example"
AS_DATA, AS_PATH = "kim%2Ba%26b%23c%27%25%40x.example", "kim+a%26b%23c'%25@x.example"


@pytest.mark.parametrize("padding", ["", "日本語" * 60])
@pytest.mark.parametrize(
    ("html", "href"),
    [
        ('<a href="https://example.org/o?l=de&amp;m={M}">', f"https://example.org/o?l=de&m={AS_DATA}"),
        ("<a class=x HREF = 'https://example.org/o?m={M}&x=1'>", f"https://example.org/o?m={AS_DATA}&x=1"),
        ("<a href=https://example.org/o?m={M}>", f"https://example.org/o?m={AS_DATA}"),
        ("<a href='https://example.org/{M}/x'>", f"https://example.org/{AS_PATH}/x"),
        ('<a href="mailto:{M}?subject={M}">', f"mailto:{AS_PATH}?subject={AS_DATA}"),
        ('<a href="{URL}?m={M}#{M}">', f"https://example.org/p?m={AS_DATA}#{AS_DATA}"),
        ('<a href="{URL}">', "https://example.org/p"),
        ('<a href="https://example.org/?{QUERY}">', "https://example.org/?a=1&b=2"),
        ('<a title="a > b" href="https://example.org/o?m={M}">', f"https://example.org/o?m={AS_DATA}"),
        ('<v:rect href="https://example.org/o?m={M}">', f"https://example.org/o?m={AS_DATA}"),
    ],
)
def test_a_value_inside_a_link_is_data(padding, html, href):
    """A link of the HTML leads to whom it is written for, whatever the address holds (RFC 3986, 2.2)."""
    given_values = {"M": KIM, "URL": "https://example.org/p", "QUERY": "a=1&b=2"}
    shape = _Shape()
    shape.feed(
        body(parse(compose(Content(subject="x", text="x", html=f"<p>{padding}</p>{html}a"), given_values)), "html")
    )
    assert dict(shape.tags[1][1])["href"] == href


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("https://example.org/o?m={M} {M}", f"https://example.org/o?m={AS_DATA} {KIM}"),
        ("<mailto:{M}>", f"<mailto:{AS_PATH}>"),
        ("{URL}?m={M}", f"https://example.org/p?m={AS_DATA}"),
        ("Really, {M}?{M} m={M} {M}/{M}", f"Really, {KIM}?{KIM} m={KIM} {KIM}/{KIM}"),
        ("https://example.org/,\n{M}", f"https://example.org/,\n{KIM}"),
        ("{URL}", "https://example.org/p"),
    ],
)
def test_a_value_inside_a_url_of_the_text_is_data(text, read):
    """Mail programs make a link of it; a value anywhere else stays as it is."""
    data = compose(Content(subject="x", text=text), {"M": KIM, "URL": "https://example.org/p"})
    assert body(parse(data), "plain") == read + "\n"


@pytest.mark.parametrize(("length", "value"), [(LONGEST_START - 30, AS_DATA), (LONGEST_START + 1, KIM)])
def test_the_start_of_a_url_is_looked_for_near_its_placeholder(length, value):
    """A template of a hundred thousand characters without a space takes no longer than a short one."""
    text = f"https://example.org/{'x' * length}?m={{M}}"
    assert body(parse(compose(Content(subject="x", text=text), {"M": KIM})), "plain").strip().endswith(f"?m={value}")


def test_one_click_is_offered_for_https_only():
    """RFC 8058 requires https: an http URL gets no one-click header."""
    content = Content(subject="s", text="t", list_unsubscribe="{U}", one_click_unsubscribe=True)
    assert parse(compose(content, {"U": "http://example.org/o"}))["List-Unsubscribe-Post"] is None
    assert (
        parse(compose(content, {"U": "https://example.org/o"}))["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    )


def test_files_and_pictures_stand_where_mail_programs_look():
    """mixed(alternative(plain, related(html, picture)), file), with the given bytes, names and ids."""
    content = Content(subject="s", text="t", html='<img src="cid:logo@survey">', attachments=[PDF, LOGO])
    data = compose(content)
    assert_fit_for_the_wire(data)
    message = parse(data)
    kinds = [part.get_content_type().partition("/")[2] for part in message.walk()]
    assert kinds == ["mixed", "alternative", "plain", "related", "html", "png", "pdf"]
    *_, picture, file = message.walk()
    assert (picture["Content-ID"], picture.get_content_disposition()) == ("<logo@survey>", "inline")
    assert picture.get_content() == LOGO.data
    assert (file.get_filename(), file.get_content_disposition()) == (PDF.filename, "attachment")
    assert file.get_content() == PDF.data


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.binary(max_size=400), filename=one_line.filter(lambda text: text.strip()))
def test_a_file_arrives_byte_for_byte(data, filename):
    """Any bytes arrive unchanged, under a printable name of any script."""
    filename = re.sub(r"[/\\?]", "", "".join(filter(str.isprintable, filename))).strip()[:255] or "x"
    file = Attachment(filename=filename, content_type="text/calendar; method=REQUEST", data=data)
    composed = compose(Content(subject="s", text="t", attachments=[file]))
    assert_fit_for_the_wire(composed)
    part = list(message_from_bytes(composed, policy=policy.default).walk())[-1]
    assert part.get_payload(decode=True) == data
    assert part["Content-Disposition"].params["filename"] == filename
    assert part["Content-Type"].params["method"] == "REQUEST"


def test_a_value_is_not_searched_for_placeholders():
    """A recipient whose name is a placeholder gets no other value through it."""
    given_values = {"FIRSTNAME": "{TOKEN:1}", "TOKEN:1": "secret"}
    message = parse(compose(Content(subject="{FIRSTNAME}", text="{FIRSTNAME}", html="<p>{FIRSTNAME}"), given_values))
    assert "secret" not in str(message)
    assert message["Subject"] == "{TOKEN:1}"


def test_other_braces_stay_unchanged():
    """Placeholders without a value, braces in CSS and lower-case names stay unchanged."""
    html = "<style>p {color: red}</style>{UNKNOWN} {lower} {1A} {} {{FIRSTNAME}}"
    message = parse(compose(Content(subject="{UNKNOWN}", text=html, html=html), {"FIRSTNAME": "Anna"}))
    wanted = html.replace("{FIRSTNAME}", "Anna") + "\n"
    assert (message["Subject"], body(message, "plain"), body(message, "html")) == ("{UNKNOWN}", wanted, wanted)


@pytest.mark.parametrize(
    "text",
    [
        "a\r\n.\r\nQUIT",
        "a\n.\nQUIT",
        "a\r.\rQUIT",
        "a\n.\r\nQUIT",
        "a\r\n.\rQUIT",
        "a\r\n.\nQUIT",
        ".",
        "..",
        "\n.",
        ".\n",
    ],
)
@pytest.mark.parametrize("padding", ["", "日本語" * 60])
def test_no_text_can_end_the_message_early(text, padding):
    """No line starts with a dot and there is no bare CR or LF, so no server sees two messages (CVE-2023-51764)."""
    content = Content(subject=text, text=padding + text + "{A_B}", html=f"{text}{{A_B}}", headers={"X-A": "{A_B}"})
    assert_fit_for_the_wire(compose(content, {"A_B": text}, name=text))


def test_a_message_means_the_same_as_one_by_email_message():
    """The stdlib's own rendering of the same content has the same headers, structure and texts."""
    content = Content(subject="Grüße, Anna", text="Hallo Änna\n.\n", html="<p>Hallo Änna</p>\n")
    theirs = EmailMessage()
    theirs["From"], theirs["To"] = '"Example Surveys" <surveys@example.org>', "Anna <anna@example.org>"
    theirs["Subject"], theirs["Date"], theirs["Message-ID"] = content.subject, DATE, ID
    theirs.set_content(content.text)
    theirs.add_alternative(content.html, subtype="html")
    other, ours = parse(theirs.as_bytes(policy=policy.SMTP)), parse(compose(content))
    assert texts(ours) == texts(other)
    assert [part.get_content_type() for part in ours.walk()] == [part.get_content_type() for part in other.walk()]
    for field in ("From", "To", "Subject", "Date", "Message-ID", "MIME-Version"):
        assert str(ours[field]).replace('"', "") == str(other[field]).replace('"', "")


def test_the_bytes_of_one_message_are_known():
    """One whole message, byte for byte, so that changes of the output are noticed."""
    content = Content(
        subject="{FIRSTNAME}, Ihre Meinung zählt",
        text="Guten Tag {FIRSTNAME} {LASTNAME},\n\nbitte nehmen Sie teil:\n{SURVEYURL}\n\n.\nGrüße\n",
        html='<p>Guten Tag {FIRSTNAME} {LASTNAME},</p>\n<a href="{SURVEYURL}">Zur Umfrage</a> <img src="cid:dot">\n',
        headers={"X-Survey": "12345"},
        list_unsubscribe="https://surveys.example.org/out/{TOKEN}",
        one_click_unsubscribe=True,
        attachments=[
            Attachment(filename="dot.gif", content_type="image/gif", data=b"GIF89a", content_id="dot"),
            Attachment(filename="Einverständnis.txt", content_type="text/plain", data=b"Ja.\n"),
        ],
    )
    given_values = {
        "FIRSTNAME": "Zoë",
        "LASTNAME": "O'Neil & Söhne",
        "SURVEYURL": "https://surveys.example.org/12345?token=" + "t" * 60,
        "TOKEN": "t" * 60,
    }
    identity = Identity(address="umfrage@müller.example", name="Müller, Umfragen", reply_to="help@example.org")
    data = compose(content, given_values, identity=identity, address="zoe@example.org", name="Zoë O'Neil")
    assert data == GOLDEN.read_bytes()


def test_the_required_header_fields():
    """Auto-Submitted, Date, Message-ID and Reply-To occur once each, as given."""
    identity = Identity(address="surveys@example.org", reply_to="Help@Example.org")
    message = parse(compose(Content(subject="s", text="t"), identity=identity))
    assert message["From"] == "surveys@example.org"
    assert message["Reply-To"] == "Help@example.org"
    assert (message["Date"], message["Message-ID"], message["Auto-Submitted"]) == (DATE, ID, "auto-generated")
    assert len(set(message.keys())) == len(message.keys())


def test_only_a_non_ascii_local_part_makes_the_header_utf8():
    """Such an address is UTF-8 in To (RFC 6532), never an encoded word; everything else stays ASCII."""
    compiled = compile_content(Content(subject="ä", text="ä"), IDENTITY)
    data = compiled.compose(address="jürgen@example.org", name="Jürgen", values={}, message_id=ID, date=DATE)
    assert " <jürgen@example.org>\r\n".encode() in data
    assert data.replace("jürgen@".encode(), b"x@").isascii()
    assert not compiled.needs_smtputf8
    identity = Identity(address="bücher@example.org")
    assert compile_content(Content(subject="s", text="t"), identity).needs_smtputf8


@pytest.mark.parametrize(
    "address", ["", "anna", "a@b.example\r\nBcc: x@y.example", "a@b>, <c@d.example", "a b@c.example"]
)
def test_an_address_that_breaks_the_header_is_refused(address):
    """Composition checks addresses itself: one that was not parsed does not get into the header."""
    with pytest.raises(AddressError):
        compose(Content(subject="s", text="t"), address=address)


def test_a_header_that_own_smtp_writes_cannot_be_set():
    """Compiling refuses it, too, whatever was stored."""
    with pytest.raises(ContentError, match="written by Own SMTP"):
        compile_content(Content(subject="s", text="t", headers={"From": "eve@evil.example"}), IDENTITY)


def test_a_message_id_is_stable_and_can_be_read_back():
    """The same invitation has the same Message-ID in every attempt, and bounces can be matched by it."""
    assert message_id("ab12", 7, "example.org") == "<ab12.7@example.org>"
    assert parse_message_id(" <ab12.7@example.org> ") == ("ab12", 7, "example.org")
    assert parse_message_id("ab12.7@example.org") == ("ab12", 7, "example.org")


@pytest.mark.parametrize("text", ["", "<x@example.org>", "<ab.c@example.org>", "<ab.1@a@b>", "<ab.1@ex ample>"])
def test_a_foreign_message_id_is_not_taken_for_ours(text):
    """A Message-ID of another form is not parsed."""
    assert parse_message_id(text) is None


def test_a_date_is_written_in_utc():
    """RFC 5322, 3.3, for any time zone and without fractions of a second."""
    moment = datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC)
    assert format_date(moment) == DATE
    assert format_date(moment.astimezone(timezone(timedelta(hours=-5)))) == DATE


def test_text_that_is_mostly_not_latin_is_sent_in_base64():
    """The shorter encoding is used: quoted-printable would treble such a text."""
    text = "これはテストです。\n" * 20
    message = parse(compose(Content(subject="s", text=text, html=f"<p>{text}{{A_B}}"), {"A_B": "<&>"}))
    plain, html = [part for part in message.walk() if not part.is_multipart()]
    assert plain["Content-Transfer-Encoding"] == html["Content-Transfer-Encoding"] == "base64"
    assert unescape(body(message, "html")) == f"<p>{text}<&>\n"


def test_one_compiled_content_serves_any_number_of_recipients():
    """Nothing of one recipient gets into the message of the next."""
    compiled = compile_content(Content(subject="{A_B}", text="{A_B}", html="<b>{A_B}"), IDENTITY)
    first = compiled.compose(address="a@example.org", name="A", values={"A_B": "secret"}, message_id=ID, date=DATE)
    second = compiled.compose(address="b@example.org", name="", values={}, message_id=ID, date=DATE)
    assert b"secret" in first
    assert b"secret" not in second
    assert b"a@example.org" not in second
