"""Contents: checks, storage, and whole messages of a host."""

import json
import re
from binascii import b2a_base64, b2a_qp
from email import message_from_bytes, policy
from email.header import Header
from email.message import EmailMessage, Message
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

import flask
import flask_mail
import pytest
from hypothesis import HealthCheck, example, given, settings

from own_smtp.errors import AddressError, ContentError
from own_smtp.hooks import Attachment, Content, Invitation
from own_smtp.messages.compiler import compose_whole
from own_smtp.messages.contents import (
    check_content,
    load_content,
    load_override,
    store_content,
    store_name,
    store_override,
    store_values,
)
from own_smtp.messages.raw import whole_bytes, wire_ready
from own_smtp.smtp.values import Identity
from own_smtp.smtp.wire_check import why_unfit
from tests.composing import DATE, ID, IDENTITY, assert_fit_for_the_wire, compose, hostile, parse, texts
from tests.work import growth

FILE = Attachment(filename="Plan.pdf", content_type="application/pdf", data=b"\0\xff")
PICTURE = Attachment(filename="logo.png", content_type="image/png", data=b"png", content_id="logo")
FULL = Content(
    subject="Hallo {FIRSTNAME}",
    text="Text",
    html="<p>{FIRSTNAME}",
    headers={"X-Survey": "1", "Precedence": "bulk"},
    list_unsubscribe="https://example.org/{TOKEN}",
    one_click_unsubscribe=True,
    attachments=(FILE, PICTURE),
)


def invitation(**more):
    return Invitation(reference="1", address="anna@example.org", **more)


def whole(message, *, identity=IDENTITY, address="anna@example.org", name="Anna"):
    """Store and compose a host's message, and check that it is safe to send."""
    stored = json.loads(json.dumps(store_override(invitation(message=message))))
    data = compose_whole(load_override(stored), identity, address=address, name=name, message_id=ID, date=DATE)
    assert_no_bad_octets(data)
    return data


def assert_no_bad_octets(data):
    # The text of a host's own 7-bit message is not touched, so its lines may start with dots.
    assert_fit_for_the_wire(re.sub(rb"(?m)^\.", b"x", data))


@pytest.mark.parametrize("content", [FULL, Content(subject="", text=""), Content(subject="s", text="t", html="")])
def test_a_content_comes_back_from_json_as_it_was(content):
    """JSON and files together restore the content, and contain nothing else."""
    stored, files = store_content(content)
    loaded = load_content(json.loads(json.dumps(stored)), files)
    assert loaded == Content(
        subject=content.subject,
        text=content.text,
        html=content.html,
        headers=dict(content.headers),
        list_unsubscribe=content.list_unsubscribe,
        one_click_unsubscribe=content.one_click_unsubscribe,
        attachments=tuple(content.attachments),
    )


def test_an_override_comes_back_from_json_with_its_files():
    """An invitation's own content is stored whole, because its files have no rows."""
    stored = json.loads(json.dumps(store_override(invitation(content=FULL))))
    loaded = load_override(stored)
    assert isinstance(loaded, Content)
    assert (loaded.subject, loaded.html, tuple(loaded.attachments)) == (FULL.subject, FULL.html, (FILE, PICTURE))


def test_an_invitation_with_the_batchs_content_has_no_override():
    """`None` costs the outbox nothing."""
    assert store_override(invitation()) is None


def test_an_invitation_has_one_override_at_most():
    """With both a content and a message it would be ambiguous which one is sent."""
    with pytest.raises(ContentError, match="not both"):
        store_override(invitation(content=FULL, message=EmailMessage()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject": "a\r\nBcc: eve@evil.example"}, "line end"),
        ({"subject": "a\x00"}, "control"),
        ({"subject": "a\u2028b"}, "line end"),
        ({"subject": "a" * 1001}, "longer than 1000"),
        ({"subject": None}, "not text"),
        ({"text": b"bytes"}, "not text"),
        ({"text": "\ud800"}, "surrogate"),
        ({"html": "\udfff"}, "surrogate"),
        ({"headers": {"From": "x"}}, "written by Own SMTP"),
        ({"headers": {"BCC": "x"}}, "written by Own SMTP"),
        ({"headers": {"Message-Id": "x"}}, "written by Own SMTP"),
        ({"headers": {"List-Unsubscribe": "x"}}, "written by Own SMTP"),
        ({"headers": {"Content-Type": "x"}}, "written by"),
        ({"headers": {"Content-Foo": "x"}}, "written by mail servers"),
        ({"headers": {"DKIM-Signature": "x"}}, "written by mail servers"),
        ({"headers": {"Resent-To": "x"}}, "written by mail servers"),
        ({"headers": {"Return-Path": "x"}}, "written by mail servers"),
        ({"headers": {"X A": "x"}}, "cannot be the name"),
        ({"headers": {"X:A": "x"}}, "cannot be the name"),
        ({"headers": {"": "x"}}, "cannot be the name"),
        ({"headers": {"X-Ä": "x"}}, "cannot be the name"),
        ({"headers": {"X\r\nBcc": "x"}}, "cannot be the name"),
        ({"headers": {"X" * 51: "x"}}, "cannot be the name"),
        ({"headers": {"X-A": "1\r\nBcc: eve@evil.example"}}, "line end"),
        ({"headers": {"X-A": "1\n"}}, "line end"),
        ({"headers": {"X-A": "a" * 4001}}, "longer than"),
        ({"headers": {"X-A": 1}}, "not text"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "twice"),
        ({"list_unsubscribe": "javascript:alert(1)"}, "begin with"),
        ({"list_unsubscribe": "<https://example.org/>"}, "begin with"),
        ({"list_unsubscribe": "example.org/out"}, "begin with"),
        ({"list_unsubscribe": "https://example.org/\r\nX: y"}, "line end"),
        ({"list_unsubscribe": "https://example.org/" + "a" * 900}, "longer than"),
        ({"list_unsubscribe": "http://example.org/", "one_click_unsubscribe": True}, "begins with https"),
        ({"list_unsubscribe": "mailto:a@example.org", "one_click_unsubscribe": True}, "begins with https"),
        ({"list_unsubscribe": None, "one_click_unsubscribe": True}, "needs an unsubscribe URL"),
        ({"html": None}, "there is no HTML"),
        ({"attachments": [PICTURE, PICTURE]}, "twice"),
    ],
)
def test_an_invalid_content_is_refused(change, reason):
    """Every invalid field is refused before anything is stored, with a reason that names it."""
    fields = {name: getattr(FULL, name) for name in FULL.__slots__} | change
    with pytest.raises(ContentError, match=reason):
        check_content(Content(**fields))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"filename": ""}, "file name"),
        ({"filename": "../../etc/passwd"}, "file name"),
        ({"filename": "a\\b"}, "file name"),
        ({"filename": 'a"\r\nX: y'}, "file name"),
        ({"filename": "a" * 256}, "file name"),
        ({"filename": "invoice\u202egpj.exe"}, "file name"),
        ({"content_type": "png"}, "content type"),
        ({"content_type": "image/png\r\nX: y"}, "content type"),
        ({"content_type": "image/"}, "content type"),
        ({"content_type": "multipart/mixed"}, "cannot be attached"),
        ({"content_type": "message/rfc822"}, "cannot be attached"),
        ({"content_id": ""}, "content id"),
        ({"content_id": "a b"}, "content id"),
        ({"content_id": "a>"}, "content id"),
        ({"content_id": "ä"}, "content id"),
        ({"data": "text"}, "not bytes"),
    ],
)
def test_a_file_that_cannot_be_attached_is_refused(change, reason):
    """File names with a path, invalid types, and ids that are invalid in a header."""
    fields = {name: getattr(PICTURE, name) for name in PICTURE.__slots__} | change
    with pytest.raises(ContentError, match=reason):
        check_content(Content(subject="s", text="t", html="h", attachments=[Attachment(**fields)]))


def test_values_are_text():
    """A number is refused with the name of its placeholder, instead of failing during composition."""
    assert store_values({"FIRSTNAME": "Anna"}) == {"FIRSTNAME": "Anna"}
    with pytest.raises(ContentError, match="AGE"):
        store_values({"AGE": 7})


def test_a_name_fits_into_its_column():
    """Line ends and NUL, which PostgreSQL cannot store, become spaces; overlong names are truncated."""
    assert store_name(" Anna\r\n\0B ") == "Anna B"
    assert len(store_name("ä" * 300)) == 255


def test_an_email_message_keeps_all_but_its_envelope():
    """From, To, Date and Message-ID are ours; subject, further headers, parts and files stay."""
    message = EmailMessage()
    message["From"], message["To"] = "old@example.org", "many@example.org"
    message["Subject"], message["Resent-From"], message["Return-Path"] = "Grüße 👋", "r@example.org", "<p@example.org>"
    message["Received"], message["DKIM-Signature"], message["X-Survey"] = "by x", "v=1", "7"
    message["List-Unsubscribe"] = f"<https://example.org/{'t' * 200}>"
    message["Sender"], message["Reply-To"] = "sender@example.org", "reply@example.org"
    message.set_content("Zeile ä\n.\n" + "x" * 2000)
    message.add_alternative("<p>ä", subtype="html")
    message.add_attachment(b"\0\xff", maintype="application", subtype="pdf", filename="Plän.pdf")
    data = whole(message)
    parsed = parse(data)
    assert set(parsed) == {
        "From", "To", "Date", "Message-ID", "Auto-Submitted", "Subject", "X-Survey",
        "List-Unsubscribe", "Reply-To", "MIME-Version", "Content-Type",
    }  # fmt: skip
    assert (parsed["From"], parsed["To"]) == ("Example Surveys <surveys@example.org>", "Anna <anna@example.org>")
    assert (parsed["Date"], parsed["Message-ID"], parsed["Subject"]) == (DATE, ID, "Grüße 👋")
    assert f"\r\nList-Unsubscribe: <https://example.org/{'t' * 200}>\r\n".encode() in data
    assert texts(parsed) == [("text/plain", "Zeile ä\n.\n" + "x" * 2000 + "\n"), ("text/html", "<p>ä\n")]
    file = list(parsed.walk())[-1]
    assert (file.get_filename(), file.get_content()) == ("Plän.pdf", b"\0\xff")


def test_reply_to_is_the_identitys_if_it_has_one():
    """A relay's Reply-To replaces the host's; without one the host's stays."""
    message = EmailMessage()
    message["Reply-To"] = "host@example.org"
    message.set_content("x")
    identity = Identity(address="surveys@example.org", reply_to="help@example.org")
    assert parse(whole(message, identity=identity)).get_all("Reply-To") == ["help@example.org"]
    assert parse(whole(message)).get_all("Reply-To") == ["host@example.org"]


def test_a_message_of_the_older_kind_is_accepted():
    """`MIMEText` and similar, with `Header` objects and raw UTF-8, arrive as intended."""
    message = MIMEMultipart("alternative")
    message["Subject"] = Header("Grüße aus Köln", "utf-8")
    message["To"] = "old@example.org"
    message.attach(MIMEText("Hallo Änna\n", "plain", "utf-8"))
    message.attach(MIMEText("<p>Hallo", "html", "iso-8859-1"))
    parsed = parse(whole(message))
    assert parsed["Subject"] == "Grüße aus Köln"
    assert texts(parsed) == [("text/plain", "Hallo Änna\n"), ("text/html", "<p>Hallo")]


def test_a_flask_mail_message_is_accepted():
    """Flask-Mail's own `Message` needs no conversion by the host."""
    app = flask.Flask(__name__)
    flask_mail.Mail(app)
    with app.app_context():
        message = flask_mail.Message("Grüße", sender=("Ä", "old@example.org"), recipients=["x@example.org"])
        message.body, message.html = "Hallo Änna", "<p>Hallo Änna"
        message.attach("Plän.pdf", "application/pdf", b"\0\xff")
        parsed = parse(whole(message))
    assert (parsed["Subject"], parsed["To"], parsed["Bcc"]) == ("Grüße", "Anna <anna@example.org>", None)
    assert [text for _, text in texts(parsed)] == ["Hallo Änna", "<p>Hallo Änna"]
    assert list(parsed.walk())[-1].get_payload(decode=True) == b"\0\xff"


@pytest.mark.parametrize("encoding", ["8bit", "binary"])
def test_an_eight_bit_message_becomes_seven_bit(encoding):
    """8-bit and binary parts are encoded again, at any depth, so that no server needs an extension."""
    inner = f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {encoding}\n\näöü\n.\n{'x' * 2000}\n"
    raw = (
        f"Subject: s\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n"
        f"Content-Transfer-Encoding: {encoding}\n\npreamble ä\n--b\n{inner}\n--b\n"
        f"Content-Type: message/rfc822\nContent-Transfer-Encoding: {encoding}\n\n"
        f"Subject: inner ü\nMIME-Version: 1.0\n{inner}\n--b--\n"
    )
    parsed = parse(whole(_Raw(raw.encode())))
    assert [kind for kind, _ in texts(parsed)] == ["text/plain", "text/plain"]
    assert all(text.startswith("äöü\n.\nxxx") for _, text in texts(parsed))


def test_raw_utf8_in_a_header_is_encoded():
    """A subject in raw UTF-8 is delivered, of any length."""
    for subject in ("Grüße", "Grüße " + "und noch viel mehr " * 20):
        parsed = parse(whole(_Raw(f"Subject: {subject}\nX-A: ä\n\nx".encode())))
        assert (parsed["Subject"], parsed["X-A"]) == (subject.strip(), "ä")


SIGNED = (
    b"--b\r\nContent-Type: text/plain;\r\n\tcharset=utf-8\r\n\r\n.hello \r\n\x0cz\xc3\xa4hlt\r\n"
    b"--b\r\nContent-Type: x/sig\r\n\r\nabc=\r\n--b--\r\n"
)
SIGNED_TYPE = b'Content-Type: multipart/signed; boundary=b;\r\n\tprotocol="x/sig"\r\n'


@pytest.mark.parametrize("around", [b"", b"outer"])
def test_signed_parts_are_not_changed(around):
    """They arrive byte for byte, also non-ASCII octets and inside other parts; otherwise the signature would break."""
    head = b"Subject: s\r\nMIME-Version: 1.0\r\n"
    if around:
        outer = b"Content-Type: multipart/mixed; boundary=outer\r\n\r\n--outer\r\n%s\r\n%s\r\n--outer--\r\n"
        raw = head + outer % (SIGNED_TYPE, SIGNED)
    else:
        raw = head + SIGNED_TYPE + b"\r\n" + SIGNED
    stored = store_override(invitation(message=_Raw(raw)))
    data = compose_whole(load_override(stored), IDENTITY, address="a@b.example", name="", message_id=ID, date=DATE)
    assert SIGNED_TYPE + b"\r\n" + SIGNED in data
    assert why_unfit(data) is None


def test_a_signed_email_message_is_written_as_its_signer_wrote_it():
    """An `EmailMessage` parsed from signed bytes keeps its folding, however long its lines are."""
    long = b"X-Long: " + b"word " * 15 + b"\r\n\tand more\r\n"
    body = SIGNED.replace(b"\xc3\xa4", b"a").replace(b"\x0c", b"").replace(b"--b\r\nC", b"--b\r\n" + long + b"C", 1)
    message = message_from_bytes(b"Subject: s\r\n" + SIGNED_TYPE + b"\r\n" + body, policy=policy.default)
    assert body in whole(message)


def test_a_signed_message_with_an_overlong_line_is_refused():
    """It is not repaired, because that would break its signature."""
    raw = b"Subject: s\r\n" + SIGNED_TYPE + b"\r\n" + SIGNED.replace(b"hello", b"x" * 1000)
    with pytest.raises(ContentError, match="signed"):
        store_override(invitation(message=_Raw(raw)))


@pytest.mark.parametrize("copies", ["Cc", "Bcc"])
@pytest.mark.parametrize("make", ["email", "older", "flask", "raw"])
def test_copies_are_refused_and_not_forgotten(copies, make):
    """Cc and Bcc are refused with a reason, instead of being ignored."""
    app = flask.Flask(__name__)
    flask_mail.Mail(app)
    with app.app_context():
        if make == "raw":
            message = _Raw(f"Subject: s\r\n{copies}: boss@example.org\r\n\r\nx\r\n".encode())
        elif make == "flask":
            message = flask_mail.Message("s", sender="a@b.example", **{copies.lower(): ["boss@example.org"]})
        else:
            message = EmailMessage() if make == "email" else Message()
            message[copies] = "boss@example.org"
        with pytest.raises(ContentError, match="No copies are sent"):
            store_override(invitation(message=message))


@pytest.mark.parametrize("value", ["a\nBcc: x@evil.test", "a\r\nBcc: x@evil.test", "a\n\nhello", "a\rB: c", "a\0b"])
def test_no_line_end_in_a_value_becomes_a_field(value):
    """Whatever kind of message: it is refused, as Flask-Mail's own `send` refuses it."""
    app = flask.Flask(__name__)
    flask_mail.Mail(app)
    older = Message()
    older.add_header("Subject", value)
    named = Message()
    named.add_header("X-Survey", value)
    raw = _Raw(f"From: a@b.example\r\nSubject: {value}\r\n\r\nx\r\n".encode())
    with app.app_context():
        flasks = [
            flask_mail.Message(value, sender="a@b.example"),
            flask_mail.Message("s", sender="a@b.example", reply_to=value),
            flask_mail.Message("s", sender="a@b.example", extra_headers={"X-A": value}),
        ]
        attached = flask_mail.Message("s", sender="a@b.example")
        attached.attach(value, "text/plain", b"x")
        for message in (older, named, *flasks, attached, *([] if "\r\n" in value else [raw])):
            with pytest.raises(ContentError):
                store_override(invitation(message=message))


def test_an_encoded_word_that_hides_a_line_end_is_refused():
    """The `email` package decodes it when parsing, so it would become a field of its own when written."""
    message = EmailMessage()
    message["Subject"] = "=?utf-8?q?a=0ABcc:_x@evil.test?="
    message.set_content("x")
    with pytest.raises(ContentError, match="line end"):
        store_override(invitation(message=message))


def test_duplicate_list_fields_are_joined():
    """Two Reply-To or References become one field with all of them (RFC 5322, 3.6); two subjects are refused."""
    raw = b"Reply-To: a@b.example\nreply-to: C <c@d.example>\nReferences: <1@b>\nReferences: <2@b>\nSubject: s\n\nx"
    parsed = parse(whole(_Raw(raw)))
    assert [item.addr_spec for item in parsed["Reply-To"].addresses] == ["a@b.example", "c@d.example"]
    assert parsed.get_all("References") == ["<1@b> <2@b>"]
    with pytest.raises(ContentError, match="Subject twice"):
        store_override(invitation(message=_Raw(b"Subject: a\nSubject: b\n\nx")))


def test_a_byte_order_mark_loses_no_field():
    """An editor's mark before the first field is not a part of its name."""
    assert parse(whole(_Raw(b"\xef\xbb\xbfSubject: s\r\nX-A: 1\r\n\r\nx\r\n")))["Subject"] == "s"


@pytest.mark.parametrize(
    ("field", "written"),
    [
        ("Reply-To: Müller, Anna <a@b.example>", None),
        ('Reply-To: "Müller, Anna" <a@b.example>', "Reply-To: =?utf-8?q?M=C3=BCller=2C_Anna?= <a@b.example>"),
        ("Reply-To: zoë@b.example", "Reply-To: zoë@b.example"),
        ("Reply-To: a@müller.example", "Reply-To: a@xn--mller-kva.example"),
        ("References: <ü@b.example>", None),
        ("List-Id: Umfragen Süd <surveys.b.example>", "List-Id: =?utf-8?q?Umfragen_S=C3=BCd?=\r\n <surveys.b.example>"),
        ("List-Id: Umfragen <süd.example>", None),
        ("List-Help: <https://b.example/ä>", "List-Help: <https://b.example/%C3%A4>"),
        ("List-Help: Hilfe <https://b.example/ä>", "List-Help: Hilfe <https://b.example/%C3%A4>"),
        ("List-Help: Hülfe <https://b.example/>", None),
        ("List-Help: <https://b.example/> (Hülfe)", "List-Help: <https://b.example/> (=?utf-8?b?SMO8bGZl?=)"),
        ("Errors-To: Büro <a@b.example>", "Errors-To: =?utf-8?b?QsO8cm8=?= <a@b.example>"),
        ("Importance: höher", None),
    ],
)
def test_raw_text_in_structured_fields_is_encoded_as_the_field_demands(field, written):
    """Phrases and comments as encoded words, URLs percent-encoded, addresses unchanged; the rest is refused."""
    raw = _Raw(f"Subject: s\r\n{field}\r\n\r\nx\r\n".encode())
    if written is None:
        with pytest.raises(ContentError):
            store_override(invitation(message=raw))
        return
    stored = store_override(invitation(message=raw))
    data = compose_whole(load_override(stored), IDENTITY, address="a@b.example", name="", message_id=ID, date=DATE)
    assert f"\r\n{written}\r\n".encode() in data


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
def test_an_attached_message_is_never_encoded(encoding):
    """It stays as it is (RFC 2046, 5.2.1); if that is impossible, it becomes a file with the same octets."""
    for eml, kind in (
        (b"Subject: a=3D\r\n\r\n=3D\r\n", "message/rfc822"),
        (b"Subject: \xe4\r\n\r\nx\r\n", "application/octet-stream"),
        (b"no message", "application/octet-stream"),
    ):
        encoded = b2a_base64(eml) if encoding == "base64" else b2a_qp(eml, istext=False)
        raw = b"Subject: s\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n"
        raw += b"Content-Transfer-Encoding: %s\n\n%s\n--b--\n" % (encoding.encode(), encoded)
        data = whole(_Raw(raw))
        part = next(part for part in parse(data).walk() if part.get_content_type() == kind)
        assert eml in data if kind == "message/rfc822" else part.get_payload(decode=True) == eml


def test_the_nesting_of_parts_is_limited():
    """A message nested without end is refused before the stack overflows."""
    raw = b"Subject: s\n" + b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number) for number in range(500)
    )
    with pytest.raises(ContentError, match="deep"):
        store_override(invitation(message=_Raw(raw)))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"no header at all",
        b"Subject: s",
        b"no colon\r\n\r\nx",
        b"Subject: s\r\nno colon\r\n\r\nx",
        b": s\r\n\r\nx",
        b"\r\n\r\nx",
    ],
)
def test_an_invalid_message_is_refused(raw):
    """Without a header of well-formed fields and an empty line there is no message to send."""
    with pytest.raises(ContentError):
        store_override(invitation(message=_Raw(raw)))


class _Raw:
    def __init__(self, data):
        self._data = data

    def as_bytes(self):
        return self._data


def test_a_message_that_fails_to_write_itself_is_refused():
    """The exception of a broken message becomes a `ContentError`, so one invitation fails and not the batch."""
    broken = Message()
    broken.set_payload(object())
    with pytest.raises(ContentError, match="cannot be written"):
        whole_bytes(broken)
    with pytest.raises(ContentError, match="cannot be written"):
        whole_bytes("text")


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(text=hostile, subject=hostile, name=hostile)
@example(text="a\r\n.\nMAIL FROM:<>", subject="a\r\nBcc: eve@evil.example", name="a\r\nBcc: eve@evil.example")
def test_no_whole_message_becomes_two(text, subject, name):
    """Whatever raw text a host's message contains, it is sent as one message to one recipient, or refused."""
    raw = f"Subject: {subject}\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{text}"
    try:
        data = whole(_Raw(raw.encode()), name=name)
    except ContentError:
        return
    head, _, _ = data.partition(b"\r\n\r\n")
    fields = re.split(rb"\r\n(?![ \t])", head)
    assert [field.split(b":")[0] for field in fields[:5]] == [
        b"From", b"To", b"Date", b"Message-ID", b"Auto-Submitted"
    ]  # fmt: skip
    assert not any(field.lower().startswith((b"bcc:", b"to:", b"from:")) for field in fields[2:])


@settings(max_examples=200)
@given(hostile)
def test_readying_a_message_twice_changes_nothing(text):
    """A message that is ready for sending stays unchanged."""
    once = wire_ready(f"Subject: x\r\n\r\n{text}".encode())
    assert wire_ready(once) == once
    assert_no_bad_octets(once)


@pytest.mark.parametrize("address", ["", "a@b.example\r\nBcc: c@d.example", "a b@c.example"])
def test_a_whole_message_goes_to_an_address_only(address):
    """An address that would break the header is refused here, too."""
    with pytest.raises(AddressError):
        compose_whole(b"Subject: s\r\n\r\nx", IDENTITY, address=address, name="", message_id=ID, date=DATE)


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("List-Id", "Umfragen Süd <surveys.acme.example>", "=?utf-8?q?Umfragen_S=C3=BCd?=\r\n <surveys.acme.example>"),
        ("List-Id", "Acme, surveys <surveys.acme.example>", '"Acme, surveys"\r\n <surveys.acme.example>'),
        ("List-Id", "<surveys.acme.example>", "<surveys.acme.example>"),
        ("Disposition-Notification-To", "Büro <a@acme.example>", "=?utf-8?b?QsO8cm8=?= <a@acme.example>"),
        ("Errors-To", "a@acme.example", "a@acme.example"),
        ("List-Help", "<https://acme.example/hülfe>", "<https://acme.example/h%C3%BClfe>"),
        ("List-Help", "<https://acme.example/?a={EMAIL}>", "<https://acme.example/?a=kim%2Ba%26b%23c%40x.example>"),
        ("Content-Language", "de, en", "de, en"),
        ("X-Survey", "Süd <1>", "=?utf-8?b?U8O8ZCA8MT4=?="),
    ],
)
def test_a_header_of_a_content_is_written_as_its_kind_demands(name, value, written):
    """Brackets, ids and URLs stay unchanged; only text is encoded."""
    content = Content(subject="s", text="t", headers={name: value})
    check_content(content)
    assert f"\r\n{name}: {written}\r\n".encode() in compose(content, {"EMAIL": "kim+a&b#c@x.example"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("List-Id", "Umfragen <süd.acme.example>"),
        ("List-Id", "Umfragen Süd"),
        ("Errors-To", "nobody"),
        ("Errors-To", "Müller, Anna <a@acme.example>"),
        ("Content-Language", "türkçe"),
        ("In-Reply-To", "<ä@acme.example>"),
        ("List-Help", "Hülfe <https://acme.example/>"),
        ("List-Help", f"<https://acme.example/{'a' * 1000}>"),
    ],
)
def test_a_header_that_cannot_be_written_is_refused(name, value):
    """With a reason, at intake, or when an invitation's value makes it invalid."""
    with pytest.raises(ContentError, match=name):
        check_content(Content(subject="s", text="t", headers={name: value}))
    template = Content(subject="s", text="t", headers={name: "{VALUE}"})
    check_content(template)
    with pytest.raises(ContentError, match=name):
        compose(template, {"VALUE": value})


def test_long_lines_are_no_more_work_than_short_ones():
    """A whole message is read once, whether its lines have 76 octets or nearly as many as a line may have."""
    short, long = (b"Subject: s\r\n\r\n" + (b"a" * size + b"\r\n") * (500_000 // size) for size in (76, 990))
    assert growth(wire_ready, short, long) < 4
