"""Contents: what is checked, how it is kept, and whole messages of a host."""

import json
import re
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
from tests.composing import DATE, ID, IDENTITY, assert_fit_for_the_wire, hostile, parse, texts

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
    """Send a host's message through storage and composition, and check that it is fit for the wire."""
    stored = json.loads(json.dumps(store_override(invitation(message=message))))
    data = compose_whole(load_override(stored), identity, address=address, name=name, message_id=ID, date=DATE)
    assert_no_bad_octets(data)
    return data


def assert_no_bad_octets(data):
    # The text of a host's own 7-bit message is not touched, so its lines may start with dots.
    assert_fit_for_the_wire(re.sub(rb"(?m)^\.", b"x", data))


@pytest.mark.parametrize("content", [FULL, Content(subject="", text=""), Content(subject="s", text="t", html="")])
def test_a_content_comes_back_from_json_as_it_was(content):
    """Everything said is in the JSON or among the files; nothing else is."""
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
    """An invitation's own content is kept whole, since its files have no rows."""
    stored = json.loads(json.dumps(store_override(invitation(content=FULL))))
    loaded = load_override(stored)
    assert isinstance(loaded, Content)
    assert (loaded.subject, loaded.html, tuple(loaded.attachments)) == (FULL.subject, FULL.html, (FILE, PICTURE))


def test_an_invitation_that_says_what_its_batch_says_has_no_override():
    """`None` costs the outbox nothing."""
    assert store_override(invitation()) is None


def test_an_invitation_has_one_override_at_most():
    """A content and a message at once would leave open which is sent."""
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
        ({"list_unsubscribe": "http://example.org/", "one_click_unsubscribe": True}, "begin with https"),
        ({"list_unsubscribe": "mailto:a@example.org", "one_click_unsubscribe": True}, "begin with https"),
        ({"list_unsubscribe": None, "one_click_unsubscribe": True}, "needs an unsubscribe URL"),
        ({"html": None}, "there is none"),
        ({"attachments": [PICTURE, PICTURE]}, "twice"),
    ],
)
def test_a_content_that_no_message_can_be_made_from_is_refused(change, reason):
    """Every wrong field is refused before anything is taken over, with a reason that names it."""
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
    """File names that lead elsewhere or lie, types that are none, ids that cannot stand in a header."""
    fields = {name: getattr(PICTURE, name) for name in PICTURE.__slots__} | change
    with pytest.raises(ContentError, match=reason):
        check_content(Content(subject="s", text="t", html="h", attachments=[Attachment(**fields)]))


def test_values_are_text():
    """A number is refused by the name of its placeholder instead of failing when the message is composed."""
    assert store_values({"FIRSTNAME": "Anna"}) == {"FIRSTNAME": "Anna"}
    with pytest.raises(ContentError, match="AGE"):
        store_values({"AGE": 7})


def test_a_name_fits_into_its_column():
    """Line ends and NUL, which PostgreSQL cannot store, become spaces; what is too long is cut."""
    assert store_name(" Anna\r\n\0B ") == "Anna B"
    assert len(store_name("ä" * 300)) == 255


def test_an_email_message_keeps_all_but_its_envelope():
    """From, To, Date and Message-ID are ours; subject, further headers, parts and files stay."""
    message = EmailMessage()
    message["From"], message["To"], message["Bcc"] = "old@example.org", "many@example.org", "hidden@example.org"
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


def test_a_message_of_the_older_kind_is_taken():
    """`MIMEText` and its like, with `Header` objects and raw UTF-8, arrive as they were meant."""
    message = MIMEMultipart("alternative")
    message["Subject"] = Header("Grüße aus Köln", "utf-8")
    message["To"] = "old@example.org"
    message.attach(MIMEText("Hallo Änna\n", "plain", "utf-8"))
    message.attach(MIMEText("<p>Hallo", "html", "iso-8859-1"))
    parsed = parse(whole(message))
    assert parsed["Subject"] == "Grüße aus Köln"
    assert texts(parsed) == [("text/plain", "Hallo Änna\n"), ("text/html", "<p>Hallo")]


def test_a_flask_mail_message_is_taken():
    """Flask-Mail's own `Message` needs no conversion by the host."""
    app = flask.Flask(__name__)
    flask_mail.Mail(app)
    with app.app_context():
        message = flask_mail.Message(
            "Grüße", sender=("Ä", "old@example.org"), recipients=["x@example.org"], bcc=["hidden@example.org"]
        )
        message.body, message.html = "Hallo Änna", "<p>Hallo Änna"
        message.attach("Plän.pdf", "application/pdf", b"\0\xff")
        parsed = parse(whole(message))
    assert (parsed["Subject"], parsed["To"], parsed["Bcc"]) == ("Grüße", "Anna <anna@example.org>", None)
    assert [text for _, text in texts(parsed)] == ["Hallo Änna", "<p>Hallo Änna"]
    assert list(parsed.walk())[-1].get_payload(decode=True) == b"\0\xff"


@pytest.mark.parametrize("encoding", ["8bit", "binary"])
def test_an_eight_bit_message_becomes_seven_bit(encoding):
    """8-bit and binary parts are encoded again, at any depth, so that no server has to offer more than RFC 5321."""
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
    """A host that writes a subject as raw UTF-8 gets it delivered, of any length."""
    for subject in ("Grüße", "Grüße " + "und noch viel mehr " * 20):
        parsed = parse(whole(_Raw(f"Subject: {subject}\nX-A: ä\n\nx".encode())))
        assert (parsed["Subject"], parsed["X-A"]) == (subject.strip(), "ä")


def test_a_signed_message_is_not_touched():
    """A 7-bit body arrives byte for byte, or the signature over it would break."""
    body = b"--b\r\nContent-Type: text/plain\r\n\r\n.hello \r\n--b\r\nContent-Type: x/sig\r\n\r\nabc=\r\n--b--\r\n"
    head = b'Subject: s\r\nMIME-Version: 1.0\r\nContent-Type: multipart/signed; boundary=b;\r\n\tprotocol="x/sig"\r\n'
    data = whole(_Raw(head + b"\r\n" + body))
    assert data.endswith(head + b"\r\n" + body)


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
def test_what_is_no_message_is_refused(raw):
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


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(text=hostile, subject=hostile, name=hostile)
@example(text="a\r\n.\nMAIL FROM:<>", subject="a\r\nBcc: eve@evil.example", name="a\r\nBcc: eve@evil.example")
def test_no_whole_message_can_break_out(text, subject, name):
    """Whatever raw text a host's message holds, it goes out as one message to one recipient, or is refused."""
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


@settings(max_examples=200, deadline=None)
@given(hostile)
def test_readying_a_message_twice_changes_nothing(text):
    """What is ready for the wire stays as it is."""
    once = wire_ready(f"Subject: x\r\n\r\n{text}".encode())
    assert wire_ready(once) == once
    assert_no_bad_octets(once)


@pytest.mark.parametrize("address", ["", "a@b.example\r\nBcc: c@d.example", "a b@c.example"])
def test_a_whole_message_goes_to_an_address_only(address):
    """An address that would break the header is refused here, too."""
    with pytest.raises(AddressError):
        compose_whole(b"Subject: s\r\n\r\nx", IDENTITY, address=address, name="", message_id=ID, date=DATE)
