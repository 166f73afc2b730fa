"""The example platform's own mail, received by a real mail server."""

from __future__ import annotations

import email
import email.policy
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope
from flask import Flask

from own_smtp.hooks import (
    PlatformMail,
)
from survey_host.extensions import db
from survey_host.models import Response, SendRun
from tests.survey_host_kit import (
    SEND,
    URL,
    Visitor,
    add_people,
    hidden_fields,
    people,
    platform,
    press,
    signed_in,
    text_of,
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        yield made


@pytest.fixture
def manager(app: Flask) -> Visitor:
    return signed_in(app, "manager@north.example")


class Mailbox:
    """A real mail server on the loopback interface, in a thread of its own."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []
        self.recipients: list[str] = []
        self.hang_up_after: int | None = None

    async def handle_RCPT(  # noqa: N802 -- the name that aiosmtpd calls
        self, _server: Any, _session: Any, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address.startswith("gone"):
            return "550 5.1.1 No such user here"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802 -- see above
        assert isinstance(envelope.content, bytes)
        if self.hang_up_after is not None and len(self.mails) >= self.hang_up_after:
            server.transport.abort()
            return "250 never heard"
        self.mails.append(email.message_from_bytes(envelope.content, policy=email.policy.default))
        self.recipients += envelope.rcpt_tos
        return "250 OK"


@contextmanager
def listening(box: Mailbox) -> Iterator[tuple[Mailbox, int]]:
    """Let `box` receive mail; yield it and its port."""
    controller = Controller(box, hostname="127.0.0.1", port=0, server_hostname="mail.example", ready_timeout=10)
    # With port 0 the system chooses; the controller would probe port 0, so it is given the chosen one.
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        controller.port = chosen.getsockname()[1]
    controller.start()
    try:
        yield box, controller.port
    finally:
        controller.stop()


@pytest.fixture
def mailbox(app: Flask) -> Iterator[Mailbox]:
    with listening(Mailbox()) as (box, port):
        app.extensions["mail"].server, app.extensions["mail"].port = "127.0.0.1", port
        yield box


def test_the_platform_sends_itself(app: Flask, manager: Visitor, mailbox: Mailbox) -> None:
    """Without plugins each participant gets a mail in their language, with name, links and one-click opt-out."""
    add_people(app, "ada@r.example")
    add_people(app, "bernd@r.example", language="de")
    assert "Sent 2" in press(manager)
    ada, bernd = mailbox.mails
    token = people(app)["ada@r.example"].token
    assert ada["To"] == "Ada Example <ada@r.example>"
    assert ada["From"] == "surveys@platform.example"
    assert ada["Subject"] == "Your opinion: Student satisfaction"
    assert bernd["Subject"] == "Ihre Meinung: Student satisfaction"
    assert ada["List-Unsubscribe"] == f"<{URL}/opt-out/1/{token}>"
    assert ada["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert ada["Auto-Submitted"] == "auto-generated"
    body = ada.get_body(("plain",))
    assert body is not None
    assert f"{URL}/s/1/{token}" in body.get_content()
    assert mailbox.recipients == ["ada@r.example", "bernd@r.example"]
    assert people(app)["ada@r.example"].mail_state == "sent"


def test_the_link_in_a_mail_works(app: Flask, manager: Visitor, mailbox: Mailbox) -> None:
    """The addresses of the survey and of the opt-out in a mail work."""
    add_people(app, "ada@r.example")
    press(manager)
    body = mailbox.mails[0].get_body(("plain",))
    assert body is not None
    links = [word.removeprefix(URL) for word in body.get_content().split() if word.startswith(URL)]
    assert [Visitor(app).get(link).status_code for link in links] == [200, 200]
    with app.app_context():
        assert db.session.scalar(db.select(Response)) is None


def test_a_long_opt_out_address_arrives_byte_for_byte(tmp_path: Path) -> None:
    """An address beyond 78 characters is neither folded nor encoded."""
    base = f"https://surveys.example.org/{'x' * 200}"
    with platform(tmp_path, {"SURVEY_PUBLIC_URL": base}) as app, listening(Mailbox()) as (box, port):
        app.extensions["mail"].server, app.extensions["mail"].port = "127.0.0.1", port
        add_people(app, "ada@r.example")
        press(signed_in(app, "manager@north.example"))
        assert box.mails[0]["List-Unsubscribe"] == f"<{base}/opt-out/1/{people(app)['ada@r.example'].token}>"


def test_a_refusal_is_kept_in_the_servers_words(app: Flask, manager: Visitor, mailbox: Mailbox) -> None:
    """The others get theirs; a refused participant counts as not invited, and the page says why."""
    add_people(app, "gone@r.example", "ada@r.example")
    page = press(manager)
    assert "Sent 1" in page
    assert "gone@r.example 550 5.1.1 No such user here" in page
    gone = people(app)["gone@r.example"]
    assert (gone.invited_at, gone.mail_state) == (None, "not_taken")


def test_a_mail_server_that_is_down_loses_nothing(app: Flask, manager: Visitor) -> None:
    """The page shows the error, the mails wait, and continuing sends them once the server is back."""
    app.extensions["mail"].server, app.extensions["mail"].port = "127.0.0.1", 1
    add_people(app, "ada@r.example", "bob@r.example")
    answer = manager.post(SEND, {"audience": "new", "sender": "platform"})
    page = text_of(manager.get(answer.location))
    assert "Connection refused" in page
    assert "2 mails have not been sent yet." in page
    assert "Nobody is left" in press(manager)
    with listening(Mailbox()) as (box, port):
        app.extensions["mail"].port = port
        manager.post(f"{answer.location}/continue", page=answer.location)
        assert box.recipients == ["ada@r.example", "bob@r.example"]
        manager.post(f"{answer.location}/continue", page=answer.location)
        assert len(box.mails) == 2
    assert "Connection refused" not in text_of(manager.get(answer.location))


def test_a_lost_answer_is_unknown_and_not_sent_again(app: Flask, manager: Visitor, mailbox: Mailbox) -> None:
    """If the server disconnects before its reply, that mail is not repeated; the rest waits."""
    mailbox.hang_up_after = 1
    add_people(app, "a@r.example", "b@r.example", "c@r.example")
    answer = manager.post(SEND, {"audience": "new", "sender": "platform"})
    assert [row.mail_state for row in people(app).values()] == ["sent", "unknown", "queued"]
    mailbox.hang_up_after = None
    manager.post(f"{answer.location}/continue", page=answer.location)
    assert mailbox.recipients == ["a@r.example", "c@r.example"]


def test_a_double_click_mails_once(app: Flask, manager: Visitor, mailbox: Mailbox) -> None:
    """The platform's own sending also respects the form's nonce."""
    add_people(app, "ada@r.example")
    data = {"audience": "new", "sender": "platform"} | hidden_fields(manager.get(SEND).text)
    for _ in range(2):
        manager.client.post(SEND, data=data)
    assert mailbox.recipients == ["ada@r.example"]
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(SendRun)) == 1


def test_platform_mail_for_plugins_leaves_by_flask_mail(app: Flask, mailbox: Mailbox) -> None:
    """A plugin's notice arrives with text and HTML."""
    notice = PlatformMail(recipient="admin@north.example", subject="Paused", text="It is paused.", html="<p>Paused")
    with app.app_context():
        assert app.extensions["survey_plugins"].manager.hook.own_smtp_send_platform_mail(mail=notice) == [True]
    assert mailbox.recipients == ["admin@north.example"]
    bodies = [mailbox.mails[0].get_body((kind,)) for kind in ("plain", "html")]
    assert [body.get_content().strip() for body in bodies if body is not None] == ["It is paused.", "<p>Paused"]
