"""Mail parsers other than Python's agree with the intended content, for every kind of message."""

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64decode, b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.header import Header
from email.message import EmailMessage
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from pathlib import Path
from types import SimpleNamespace

import flask
import flask_mail
import pytest
from flask_babel import Babel

from own_smtp.delivery.workers import confirmation_mails
from own_smtp.delivery.workers.confirmation_mails import ConfirmationLetter
from own_smtp.hooks import Attachment, Content
from own_smtp.hooks.events import PlatformMail, Tenant
from own_smtp.messages.compiler import compose_whole
from own_smtp.messages.raw import whole_bytes
from own_smtp.operations.notice_mails import message_for_flask_mail
from own_smtp.relays import test_mails
from own_smtp.smtp.values import Identity
from own_smtp.smtp.wire_check import why_unfit
from own_smtp.storage.models import Relay
from tests.composing import DATE, ID, compose
from tests.parsers.installed import POSTAL_MIME
from tests.wire_kit import profile_for

pytestmark = pytest.mark.servers

PROGRAMS = Path(__file__).parents[1] / "parsers"
LONG = "Ihre Meinung zählt für uns, wirklich: nehmen Sie sich  zehn Minuten Zeit, danke, 皆さん! " * 3
SUBJECT = LONG.strip()
MUELLER = ("Müller, Anna (Umfragen)", "umfragen@acme.example")
ANNA = ("Zoë O'Neil, Dr.", "zoe@example.org")
PDF = b"%PDF\r\n.\r\n\0\xff" * 40
PDF_NAME = "Einverständnis, Teil 1; 同意.pdf"
EML = b"From: a@b.example\r\nSubject: inner\r\n\r\nOriginal.\r\n.\r\nFrom here\r\n"
IDENTITY = Identity(address=MUELLER[1], name=MUELLER[0])


@dataclass(frozen=True)
class Meant:
    """The intended content of a message."""

    data: bytes
    subject: str = SUBJECT
    sender: tuple[str, str] = MUELLER
    recipient: tuple[str, str] = ANNA
    reply_to: list[tuple[str, str]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, str | None, bytes]] = field(default_factory=list)


def whole(message) -> bytes:
    return compose_whole(whole_bytes(message), IDENTITY, address=ANNA[1], name=ANNA[0], message_id=ID, date=DATE)


class Raw:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def as_bytes(self) -> bytes:
        return self._data


def an_invitation() -> Meant:
    content = Content(
        subject="{FIRSTNAME}, " + SUBJECT,
        text="Hallo {FIRSTNAME},\n.\nFrom here\n" + "x" * 1200,
        html='<p>Hallo {FIRSTNAME},</p><img src="cid:logo">' + "ü" * 700,
        attachments=[
            Attachment(filename=PDF_NAME, content_type="application/pdf", data=PDF),
            Attachment(filename="logo.png", content_type="image/png", data=b"\x89PNG\r\n", content_id="logo"),
        ],
    )
    data = compose(content, {"FIRSTNAME": "Zoë & Co"}, identity=IDENTITY, address=ANNA[1], name=ANNA[0])
    return Meant(
        data,
        subject=f"Zoë & Co, {SUBJECT}",
        texts=[
            ("text/plain", "Hallo Zoë & Co,\n.\nFrom here\n" + "x" * 1200),
            ("text/html", '<p>Hallo Zoë &amp; Co,</p><img src="cid:logo">' + "ü" * 700),
        ],
        files=[("image/png", "logo.png", b"\x89PNG\r\n"), ("application/pdf", PDF_NAME, PDF)],
    )


def an_invitation_in_html_alone() -> Meant:
    data = compose(Content(subject=SUBJECT, text=" ", html="<p>日本語 ö</p><p>b</p>"), identity=IDENTITY,
                   address=ANNA[1], name=ANNA[0])  # fmt: skip
    return Meant(data, texts=[("text/plain", "日本語 ö\n\nb"), ("text/html", "<p>日本語 ö</p><p>b</p>")])


def an_invitation_with_addresses_beyond_ascii() -> Meant:
    identity = Identity(address="pelé@south.example", name="Pelé", reply_to="zoë@south.example")
    data = compose(
        Content(subject=SUBJECT, text="ä", html=""), identity=identity, address="jürgen@example.org", name=""
    )
    return Meant(
        data,
        sender=("Pelé", "pelé@south.example"),
        recipient=("", "jürgen@example.org"),
        reply_to=[("", "zoë@south.example")],
        texts=[("text/plain", "ä")],
    )


def an_email_message() -> Meant:
    inner = EmailMessage()
    inner["Subject"] = "inner"
    inner.set_content("Original.\n")
    message = EmailMessage()
    message["Subject"] = SUBJECT
    message["Reply-To"] = '"Müller, Anna" <anna@acme.example>, "Büro, Süd" <buero@acme.example>'
    message.set_content("Zeile ä\n.\n" + "x" * 2000)
    message.add_alternative("<p>ä</p>", subtype="html")
    message.add_attachment(PDF, maintype="application", subtype="pdf", filename=PDF_NAME)
    message.add_attachment(inner)
    return Meant(
        whole(message),
        reply_to=[("Müller, Anna", "anna@acme.example"), ("Büro, Süd", "buero@acme.example")],
        texts=[("text/plain", "Zeile ä\n.\n" + "x" * 2000), ("text/html", "<p>ä</p>")],
        files=[
            ("application/pdf", PDF_NAME, PDF),
            ("message/rfc822", None, inner.as_bytes().rstrip().replace(b"\n", b"\r\n")),
        ],
    )


def an_older_message() -> Meant:
    message = MIMEMultipart("alternative")
    message["Subject"] = Header(SUBJECT, "utf-8")
    message["Reply-To"] = Header('"Müller, Anna" <anna@acme.example>', "utf-8")
    message.attach(MIMEText("Hallo Änna\n", "plain", "utf-8"))
    message.attach(MIMEText("<p>Hallo", "html", "iso-8859-1"))
    file = MIMEApplication(PDF, "pdf")
    file.add_header("Content-Disposition", f'attachment; filename="{PDF_NAME}"')
    message.attach(file)
    return Meant(
        whole(message),
        reply_to=[("Müller, Anna", "anna@acme.example")],
        texts=[("text/plain", "Hallo Änna"), ("text/html", "<p>Hallo")],
        files=[("application/pdf", PDF_NAME, PDF)],
    )


def a_message_of_flask_mail() -> Meant:
    message = flask_mail.Message(SUBJECT, sender="x@example.org", recipients=["y@example.org"])
    message.reply_to = ("Müller, Anna", "anna@acme.example")
    message.extra_headers = {"List-Help": "<https://acme.example/für>", "X-Info": "Grüße"}
    message.body, message.html = "Hallo Änna\n" + "x" * 1500, "<p>Hallo Änna"
    message.attach(PDF_NAME, "application/pdf", PDF)
    message.attach("original.eml", "message/rfc822", EML)
    return Meant(
        whole(message),
        reply_to=[("Müller, Anna", "anna@acme.example")],
        texts=[("text/plain", "Hallo Änna\n" + "x" * 1500), ("text/html", "<p>Hallo Änna")],
        files=[("application/pdf", PDF_NAME, PDF), ("message/rfc822", None, EML.rstrip())],
    )


def a_message_of_flask_mail_with_a_message_in_eight_bit() -> Meant:
    message = flask_mail.Message(SUBJECT, sender="x@example.org", recipients=["y@example.org"], body="a")
    eml = EML + "ä\r\n".encode("latin-1")
    message.attach("original.eml", "message/rfc822", eml)
    return Meant(whole(message), texts=[("text/plain", "a")], files=[("application/octet-stream", "original.eml", eml)])


def raw_octets() -> Meant:
    raw = (
        f"\ufeffSubject: {SUBJECT}\nReply-To: Müller Anna <anna@acme.example>\nReply-To: Büro <buero@acme.example>\n"
        "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: 8bit\n\n"
        "--b\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\näöü\n.\n"
        '--b\nContent-Type: application/pdf\nContent-Disposition: attachment; filename="Plän, 1.pdf"\n'
        f"Content-Transfer-Encoding: base64\n\n{b64encode(PDF).decode()}\n--b--\n"
    )
    return Meant(
        whole(Raw(raw.encode())),
        reply_to=[("Müller Anna", "anna@acme.example"), ("Büro", "buero@acme.example")],
        texts=[("text/plain", "äöü\n.")],
        files=[("application/pdf", "Plän, 1.pdf", PDF)],
    )


def a_signed_message() -> Meant:
    raw = (
        b"Subject: =?utf-8?q?signed_=C3=A4?=\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/signed; boundary="b"; protocol="application/pgp-signature"\r\n\r\n'
        b"--b\r\nContent-Type: text/plain;\r\n\tcharset=us-ascii\r\n\r\n.hello \r\n--b\r\n"
        b"Content-Type: application/pgp-signature\r\nContent-Transfer-Encoding: base64\r\n\r\nYWJj\r\n--b--\r\n"
    )
    return Meant(
        whole(Raw(raw)),
        subject="signed ä",
        texts=[("text/plain", ".hello ")],
        files=[("application/pgp-signature", None, b"abc")],
    )


def a_confirmation_mail() -> Meant:
    identity = Identity(address="pelé@south.example", name="=?utf-8?q?=0ABcc:_x@evil.test?= Süd")
    letter = ConfirmationLetter(
        profile=profile_for(SimpleNamespace(host="mail.acme.example", port=465), identity=identity),
        tenant=Tenant(tenant_id="acme", name="Acme & Söhne", locale="de"),
        recipient="zoë@south.example",
        link="https://surveys.example/own-smtp/confirm/" + "t" * 43,
        expires_at=datetime(2026, 7, 1, tzinfo=UTC),
        platform="Survey House",
    )
    return Meant(
        confirmation_mails.compose(letter),
        subject="Bitte bestätigen: der Mailserver mail.acme.example",
        sender=(identity.name, identity.address),
        recipient=("", "zoë@south.example"),
    )


def a_test_mail() -> Meant:
    relay = Relay(host="mail.acme.example", sender_address="surveys@acme.example")
    tenant = Tenant(tenant_id="acme", name="Acme & Söhne", locale="de")
    content = test_mails.content_for(relay, tenant, platform="Survey House", person="Änne")
    data = compose(content, identity=IDENTITY, address=ANNA[1], name=ANNA[0])
    return Meant(data, subject="Testmail über mail.acme.example")


def a_notice() -> Meant:
    notice = PlatformMail(
        recipient="ann@acme.example", subject=SUBJECT, text="Ü" * 700 + "\n.\n", html="<p>" + "ü" * 90
    )
    config = {"MAIL_DEFAULT_SENDER": MUELLER}
    return Meant(
        message_for_flask_mail(notice, config).as_bytes(),
        recipient=("", "ann@acme.example"),
        texts=[("text/plain", "Ü" * 700 + "\n."), ("text/html", "<p>" + "ü" * 90)],
    )


KINDS: dict[str, Callable[[], Meant]] = {
    make.__name__: make
    for make in (
        an_invitation, an_invitation_in_html_alone, an_invitation_with_addresses_beyond_ascii, an_email_message,
        an_older_message, a_message_of_flask_mail, a_message_of_flask_mail_with_a_message_in_eight_bit, raw_octets,
        a_signed_message, a_confirmation_mail, a_test_mail, a_notice,
    )
}  # fmt: skip


@pytest.fixture(scope="module")
def meant() -> dict[str, Meant]:
    app = flask.Flask("platform")
    app.config["MAIL_DEFAULT_SENDER"] = "x@example.org"
    flask_mail.Mail(app)
    Babel(app)
    with app.app_context():
        return {name: make() for name, make in KINDS.items()}


def perl() -> list[str]:
    command = ["perl", "-MMIME::Parser", "-e", "1"]
    if not shutil.which("perl") or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("libmime-tools-perl is not installed")
    return ["perl", str(PROGRAMS / "mime_parser.pl")]


def gmime() -> list[str]:
    check = "import gi; gi.require_version('GMime', '3.0')"
    python = "/usr/bin/python3"
    if not Path(python).exists() or subprocess.run([python, "-c", check], check=False, capture_output=True).returncode:
        pytest.skip("gir1.2-gmime-3.0 and python3-gi are not installed")
    return [python, str(PROGRAMS / "gmime.py")]


def postal_mime() -> list[str]:
    if not shutil.which("node") or not POSTAL_MIME.exists():
        pytest.skip("nodejs and postal-mime (npm) are not installed")
    return ["node", str(PROGRAMS / "postal_mime.mjs"), str(POSTAL_MIME)]


@pytest.fixture(scope="module", params=[perl, gmime, postal_mime], ids=lambda find: find.__name__)
def understood(request, meant) -> dict[str, dict]:
    """The results of a parser for all kinds of messages."""
    given = json.dumps([b64encode(item.data).decode() for item in meant.values()])
    done = subprocess.run(request.param(), input=given, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(zip(meant, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_a_parser_reads_the_intended_content(name, understood, meant):
    """Subject, sender, recipient, Reply-To, texts, and files byte for byte."""
    found, wanted = understood[name], meant[name]
    assert why_unfit(wanted.data) is None
    assert found["subject"] == wanted.subject
    assert found["from"] == [list(wanted.sender)]
    assert found["to"] == [list(wanted.recipient)]
    assert found["reply_to"] == [list(person) for person in wanted.reply_to]
    texts, files = _taken_apart(found["parts"])
    if wanted.texts:
        assert texts == wanted.texts
    assert len(texts) == len(wanted.texts or ["plain", "html"])
    assert files == wanted.files


def _taken_apart(parts):
    """Return an attached message without its name, which not every parser reports, and without trailing empty lines."""
    texts, files = [], []
    for part in parts:
        data = part["text"].encode() if "text" in part else b64decode(part["data"])
        if part["type"] in {"text/plain", "text/html"}:
            texts.append((part["type"], data.decode().replace("\r\n", "\n").rstrip("\n")))
        elif part["type"] == "message/rfc822":
            files.append((part["type"], None, data.replace(b"\r\n", b"\n").rstrip(b"\n").replace(b"\n", b"\r\n")))
        else:
            files.append((part["type"], part.get("name"), data))
    return texts, files
