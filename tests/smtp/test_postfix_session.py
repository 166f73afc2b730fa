"""Sessions with Postfix, and with aiosmtpd, which offers neither PIPELINING nor CHUNKING."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Message
from aiosmtpd.smtp import AuthResult

from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.tls import verifying_context
from own_smtp.smtp.values import Credentials
from own_smtp.states import PauseReason, Security
from tests.engine import recipients_of
from tests.scripted import authority
from tests.servers.postfix import Postfix
from tests.servers.process import eventually, free_port
from tests.wire_kit import TEXT, Listed, converse, envelope

GREETING = Credentials(username="survey", password="correct horse")
pytestmark = pytest.mark.servers


@pytest.fixture
def submission(postfix: Postfix) -> Iterator[Postfix]:
    """The shared Postfix, whose authority this process trusts."""
    verifying_context().load_verify_locations(cadata=postfix.ca_file.read_text())
    yield postfix
    postfix.set_replies({})


def at(server, port):
    return SimpleNamespace(host=server.host, port=port)


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.IMPLICIT])
def test_tls_and_sign_in(submission, security):
    """STARTTLS on the submission port, TLS from the first byte on the other; the second connection resumes it."""
    port = submission.submission_port if security is Security.STARTTLS else submission.implicit_port
    verifying_context()._sessions.clear()
    for is_resumed in (False, True):
        sent = converse(at(submission, port), 3, security=security, credentials=GREETING)
        assert sent.states == ["accepted"] * 3
        assert sent.session.connection.tls.session_reused is is_resumed
    assert len(submission.copies()) == 6


def test_a_wrong_password_is_tried_once(submission):
    """535: the relay pauses, and nothing was sent."""
    wrong = Credentials(username="survey", password="battery staple")
    before = len(submission.failed_logins)
    sent = converse(at(submission, submission.submission_port), security=Security.STARTTLS, credentials=wrong)
    assert (sent.refusal.reply.code, sent.refusal.pause) == (535, PauseReason.CREDENTIALS)
    assert eventually(lambda: submission.failed_logins[before:], "Postfix logs it") == ["auth=0/1"]


@pytest.mark.parametrize("window", [1, 4])
def test_replies_for_each_recipient(submission, window):
    """Refused and deferred ones are distinguished, and the others arrive over the same connection."""
    submission.set_replies(
        {"user2@example.org": "550 5.1.1 No such user", "user4@example.org": "450 4.2.0 Greylisted, try later"}
    )
    sent = converse(at(submission, submission.plain_port), 5, window=window)
    assert sent.states == ["accepted", "refused", "accepted", "queued", "accepted"]
    assert sent.outcome(2).reply.enhanced == "5.1.1"
    assert recipients_of(submission.copies()) == ["user1@example.org", "user3@example.org", "user5@example.org"]


def test_a_window_of_messages(submission):
    """CHUNKING: sixteen messages in flight, each of them byte for byte as it was composed."""
    data = b"Subject: dots\r\n\r\n.\r\n..\r\n" + b"x" * 990 + b"\r\n.\r\n"
    supply = Listed(*(envelope(number, data=data) for number in range(1, 101)))
    sent = converse(at(submission, submission.plain_port), supply, window=16)
    assert sent.session.capabilities.chunking
    assert sent.states == ["accepted"] * 100
    copies = submission.copies()
    assert len(set(recipients_of(copies))) == len(copies) == 100
    assert {copy.data for copy in copies} == {data.replace(b"\r\n", b"\n")}


def test_texts_arrive_unchanged(submission):
    """DATA: dots, long lines and a large message arrive byte for byte."""
    data = b"Subject: dots\r\n\r\n.\r\n..\r\n" + (b"." * 990 + b"\r\n") * 500 + b".\r\n"
    assert converse(at(submission, submission.plain_port), Listed(envelope(data=data))).states == ["accepted"]
    assert submission.copies()[0].data == data.replace(b"\r\n", b"\n")


def test_dsn_parameters(submission):
    """ENVID, RET, NOTIFY and ORCPT are accepted, also with characters that need xtext."""
    message = envelope(recipient="a+b=c@example.org", envelope_id="key.1=2+3")
    sent = converse(at(submission, submission.plain_port), Listed(message))
    assert sent.session.capabilities.dsn
    assert sent.states == ["accepted"]


def test_a_non_ascii_address(submission):
    """SMTPUTF8 is used if it is needed."""
    sent = converse(at(submission, submission.plain_port), Listed(envelope(recipient="jürgen@example.org")))
    assert sent.states == ["accepted"]
    assert recipients_of(submission.copies()) == ["jürgen@example.org"]


def test_a_message_that_is_too_large():
    """The size limit of the server is checked before anything is sent."""
    with Postfix(main={"message_size_limit": 2000}) as server:
        sent = converse(server, Listed(envelope(1, data=TEXT * 1000), envelope(2)))
        assert sent.states == ["failed", "accepted"]
        assert recipients_of(server.copies()) == ["user2@example.org"]


def test_a_sender_that_the_account_does_not_own():
    """Postfix refuses it at RCPT: the relay pauses, no recipient is refused."""
    with Postfix(main={"smtpd_sender_restrictions": "reject_authenticated_sender_login_mismatch, reject"}) as server:
        sent = converse(server, 2)
        assert (sent.outcome().state, sent.outcome().pause) == ("queued", PauseReason.SENDER)


LIMITED = {
    "smtpd_client_event_limit_exceptions": "",
    "anvil_rate_time_unit": "60s",
}


def test_a_rate_limit():
    """450 4.7.1 to MAIL: queued, and slower."""
    with Postfix(main={**LIMITED, "smtpd_client_message_rate_limit": 3}) as server:
        sent = converse(server, 5)
        assert sent.states[:3] == ["accepted"] * 3
        refused = sent.outcome(4)
        assert (refused.stage, refused.reply.code, refused.slows_down) == (Stage.MAIL, 450, True)
        assert len(server.copies()) == 3


def test_a_limit_of_connections():
    """421 instead of a banner: queued, and slower."""
    with Postfix(main={**LIMITED, "smtpd_client_connection_count_limit": 1}) as server:
        with socket.create_connection(("127.0.0.1", server.plain_port)) as other:
            assert other.recv(100).startswith(b"220")
            sent = converse(server, 1)
        assert (sent.refusal.stage, sent.refusal.reply.code, sent.refusal.slows_down) == (Stage.BANNER, 421, True)


def test_a_server_that_closes_after_many_errors(submission):
    """Postfix closes with 421: messages before it are accepted, the rest is given back."""
    with Postfix(
        main={"smtpd_hard_error_limit": 2, "smtpd_soft_error_limit": 1, "smtpd_error_sleep_time": "0"},
        replies={f"user{number}@example.org": "550 5.1.1 No such user" for number in (2, 3, 4, 5)},
    ) as server:
        sent = converse(server, 8)
        assert set(sent.states) <= {"accepted", "refused", "queued"}
        assert len(sent.states) + len(sent.supply.returned) + len(sent.supply.waiting) == 8
        assert len(server.copies()) == sent.states.count("accepted")


class Kept(Message):
    """Records the recipients that aiosmtpd accepted."""

    def __init__(self) -> None:
        super().__init__()
        self.recipients: list[str] = []

    def handle_message(self, message):
        self.recipients.append(message["X-RcptTo"])


@pytest.fixture
def aiosmtpd_server(trusted) -> Iterator[SimpleNamespace]:
    """aiosmtpd with STARTTLS and required sign-in."""
    handler = Kept()
    context: ssl.SSLContext = authority().server_context()

    def authenticate(_server, _session, _envelope, _mechanism, data):
        return AuthResult(success=data.password == b"correct horse", handled=False)

    controller = Controller(
        handler,
        hostname="127.0.0.1",
        port=free_port(),
        tls_context=context,
        require_starttls=True,
        auth_required=True,
        authenticator=authenticate,
    )
    controller.start()
    yield SimpleNamespace(host="127.0.0.1", port=controller.port, handler=handler)
    controller.stop()


def test_aiosmtpd(aiosmtpd_server):
    """Without PIPELINING, one command at a time."""
    sent = converse(aiosmtpd_server, 5, security=Security.STARTTLS, credentials=GREETING, window=4)
    assert not sent.session.capabilities.pipelining
    assert sent.states == ["accepted"] * 5
    assert aiosmtpd_server.handler.recipients == [f"user{number}@example.org" for number in range(1, 6)]


def test_aiosmtpd_refuses_a_password(aiosmtpd_server):
    """535, after one attempt."""
    wrong = Credentials(username="survey", password="battery staple")
    sent = converse(aiosmtpd_server, security=Security.STARTTLS, credentials=wrong)
    assert (sent.refusal.reply.code, sent.refusal.pause) == (535, PauseReason.CREDENTIALS)


def test_aiosmtpd_requires_sign_in(aiosmtpd_server):
    """530 to MAIL: the relay pauses, and no recipient is refused."""
    sent = converse(aiosmtpd_server, 2, security=Security.STARTTLS)
    assert (sent.outcome().reply.code, sent.outcome().state, sent.outcome().pause) == (
        530,
        "queued",
        PauseReason.NO_AUTH,
    )
