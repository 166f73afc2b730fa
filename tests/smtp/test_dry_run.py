"""Connection tests up to RCPT: the trace, the finding, and that no message is sent."""

from __future__ import annotations

import base64
from dataclasses import replace
from urllib.parse import quote

import pytest

from own_smtp.errors import TargetRefusedError
from own_smtp.settings import INTERACTIVE
from own_smtp.smtp.dry_run import plan, run_dry_run
from own_smtp.smtp.redaction import REMOVED
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.trace import TraceLine, TraceStep
from own_smtp.smtp.values import Credentials
from own_smtp.states import PauseReason, Security
from tests.scripted import HANG, KEEP, BlackHole, ClosedPort, ScriptedServer, SilentPort
from tests.scripted.certificates import Authority, BrokenCertificate
from tests.wire_kit import LOGIN, PASSWORD, profile_for, resolve

RECIPIENT = "owner@acme.example"
QUICK = replace(INTERACTIVE, connect=0.3, banner=0.3, command=0.3, quit=0.1)


@pytest.fixture
def secured(trusted):
    with ScriptedServer(tls=trusted.server_context(), credentials={"user": PASSWORD}) as server:
        yield server


def tried(server, *, find=resolve, deadlines=INTERACTIVE, longest=30.0, **profile):
    """Test a server; return the finding and the trace."""
    seen = []
    profile = profile_for(server, **profile)
    found = run_dry_run(profile, RECIPIENT, find=find, observe=seen.append, deadlines=deadlines, longest=longest)
    return found, seen


def stages(seen):
    return list(dict.fromkeys(item.stage for item in seen if isinstance(item, TraceStep)))


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.IMPLICIT])
def test_a_passed_test(trusted, security):
    """Each planned step is traced in its order, and the server never gets a message."""
    implicit = security is Security.IMPLICIT
    with ScriptedServer(tls=trusted.server_context(), implicit_tls=implicit) as server:
        found, seen = tried(server, security=security, credentials=LOGIN)
        assert found.failure is None
        assert found.certificate.fingerprint == trusted.fingerprint()
        assert stages(seen) == plan(security, signs_in=True)
        assert [line.split(":")[0] for line in server.commands[-4:]] == ["MAIL FROM", "RCPT TO", "RSET", "QUIT"]
        assert RECIPIENT in server.commands[-3]
    assert server.copies == []


def test_neither_steps_nor_transcript_hold_the_password(secured):
    """Not even base64 of a very short one, which no redaction could find in a text."""
    for login, mechanisms in ((LOGIN, ["PLAIN"]), (Credentials(username="user", password="q7"), ["LOGIN"])):
        secured.mechanisms = mechanisms
        _found, seen = tried(secured, security=Security.STARTTLS, credentials=login)
        sent = [item.sent for item in seen if isinstance(item, TraceLine) and item.sent]
        assert PASSWORD not in repr(seen)
        assert any(REMOVED in line for line in sent)
        assert not {"dXNlcg==", "cTc=", "AHVzZXIAY29ycmVjdCBob3JzZQ=="} & {
            word for line in sent for word in line.split()
        }


@pytest.mark.parametrize(
    ("phase", "reply", "stage"),
    [
        ("banner", "554 5.7.1 go away", Stage.BANNER),
        ("ehlo", "550 5.7.1 who are you", Stage.EHLO),
        ("mail", "550 5.1.0 sender rejected", Stage.MAIL),
        ("rcpt", "550 5.1.1 no such user", Stage.RCPT),
    ],
)
def test_a_refusal_ends_it_with_the_servers_reply(scripted, phase, reply, stage):
    """The last entry of the trace is the reply that ended it."""
    scripted.on(phase, reply)
    found, seen = tried(scripted)
    assert (found.failure.stage, found.failure.reply.code) == (stage, int(reply[:3]))
    said = [item.reply.code for item in seen if isinstance(item, TraceLine) and item.sent != "RSET"]
    assert said[-1] == int(reply[:3])
    assert stage not in stages(seen)


def test_a_wrong_password_is_tried_once(secured):
    """A test must not lock the account."""
    wrong = Credentials(username="user", password="battery staple")
    found, _seen = tried(secured, security=Security.STARTTLS, credentials=wrong)
    assert (found.failure.stage, found.failure.pause) == (Stage.AUTH, PauseReason.CREDENTIALS)
    assert len(secured.attempts) == 1


def test_a_certificate_does_not_repeat_the_password():
    """A server that was told it once could write it into what it shows the next time."""
    login = Credentials(username="user", password="canary-horse")
    echo = Authority("127.0.0.1", "canary-horse.example", "x-ca.example")
    with ScriptedServer(tls=echo.server_context(), credentials={"user": "canary-horse"}) as server:
        found, _seen = tried(server, security=Security.STARTTLS, credentials=login)
    assert found.certificate.fingerprint == echo.fingerprint()
    assert set(found.certificate.names) == {"127.0.0.1", "•••.example", "x-ca.example"}


@pytest.mark.parametrize("kind", ["other_ca", "expired", "wrong_name"])
@pytest.mark.parametrize("security", [Security.STARTTLS, Security.IMPLICIT])
def test_an_untrusted_certificate_is_shown(trusted, kind, security):
    """It is fetched by a second connection, over which no password is sent."""
    implicit = security is Security.IMPLICIT
    with ScriptedServer(tls=trusted.server_context(kind), implicit_tls=implicit) as server:
        found, _seen = tried(server, security=security, credentials=LOGIN)
    assert found.failure.pause is PauseReason.CERTIFICATE
    assert found.certificate.fingerprint == trusted.fingerprint(kind)
    assert server.attempts == []


def test_a_trusted_fingerprint_lets_it_pass_and_another_one_does_not(trusted):
    """Only this one certificate is trusted: the system's authorities do not count."""
    with ScriptedServer(tls=trusted.server_context("other_ca")) as server:
        found, _seen = tried(server, security=Security.STARTTLS, fingerprint=trusted.fingerprint("other_ca"))
        assert found.failure is None
    with ScriptedServer(tls=trusted.server_context("good")) as server:
        found, _seen = tried(server, security=Security.STARTTLS, fingerprint=trusted.fingerprint("other_ca"))
        assert found.failure.pause is PauseReason.CERTIFICATE
        assert found.certificate.fingerprint == trusted.fingerprint("good")


@pytest.mark.parametrize("security", [Security.STARTTLS, Security.IMPLICIT])
def test_an_unreadable_certificate_is_shown_by_its_fingerprint(security):
    """It is refused like any other untrusted one, and can be trusted like any other."""
    broken = BrokenCertificate()
    with ScriptedServer(tls=broken.server_context(), implicit_tls=security is Security.IMPLICIT) as server:
        found, _seen = tried(server, security=security)
        assert found.failure.pause is PauseReason.CERTIFICATE
        assert found.certificate.fingerprint == broken.fingerprint
        found, _seen = tried(server, security=security, fingerprint=broken.fingerprint)
        assert (found.failure, found.certificate.fingerprint) == (None, broken.fingerprint)


def test_an_unexpected_error_ends_a_test(scripted, caplog):
    """The person gets a text and the log the traceback; the error's message, which may quote the server, is dropped."""

    async def find(_profile):
        raise ZeroDivisionError(PASSWORD)

    found, _seen = tried(scripted, find=find)
    assert (found.failure.stage, found.failure.state) == (Stage.CONNECT, "queued")
    assert "ZeroDivisionError" in caplog.text
    assert PASSWORD not in caplog.text + repr(found)


@pytest.mark.parametrize("written", ["{}", "{!r}"])
def test_the_transcript_shows_no_user_name(secured, written):
    """A server's echo of the username is removed, plain and in base64."""
    login = Credentials(username="ann.smith@acme.example", password=PASSWORD)
    token = base64.b64encode(login.username.encode()).decode()
    secured.on("auth", f"535 5.7.8 not {login.username}, {written.format(token)}, {quote(login.username)}")
    _found, seen = tried(secured, security=Security.STARTTLS, credentials=login)
    said = repr([item.reply for item in seen if isinstance(item, TraceLine)])
    assert REMOVED in said
    for secret in (login.username, "ann.smith", token, quote(login.username)):
        assert secret not in said


def test_implicit_tls_on_a_starttls_port(scripted):
    """The server sends its banner where TLS should begin: no encryption."""
    found, seen = tried(scripted, security=Security.IMPLICIT, deadlines=QUICK)
    assert found.failure.stage == Stage.TLS
    assert stages(seen) == [Stage.CONNECT]


def test_starttls_on_an_implicit_port(trusted):
    """Both wait for each other until the deadline."""
    with ScriptedServer(tls=trusted.server_context(), implicit_tls=True) as server:
        found, _seen = tried(server, security=Security.STARTTLS, deadlines=QUICK)
    assert found.failure.stage == Stage.BANNER


def test_refused_closed_and_silent_targets_look_the_same(scripted):
    """Neither steps nor texts reveal which of them it was."""

    async def refuse(_profile):
        raise TargetRefusedError("10.0.0.1 is private")

    with ClosedPort() as closed, BlackHole() as filtered:
        told = [
            tried(scripted, find=refuse, deadlines=QUICK),
            tried(closed, deadlines=QUICK),
            tried(filtered, deadlines=QUICK),
        ]
    assert {(found.failure.stage, found.failure.words) for found, _seen in told} == {
        (Stage.CONNECT, "127.0.0.1 cannot be reached from this platform.")
    }
    assert [seen for _found, seen in told] == [[], [], []]


def test_a_server_that_drags_on_is_left_after_the_total(scripted):
    """However patient each phase is, the whole has an end, and no farewell is waited for behind it.

    It fails where the next step should have come.
    """
    scripted.on("mail", KEEP)
    found, seen = tried(scripted, longest=0.5)
    assert scripted.commands[-1].startswith("MAIL FROM")
    assert found.failure.stage == Stage.MAIL
    assert "0.5 seconds" in found.failure.words
    assert Stage.EHLO in stages(seen)


def test_a_silent_server(trusted):
    """No banner: an open port alone is not a mail server."""
    with SilentPort() as server:
        found, _seen = tried(server, deadlines=QUICK)
    assert found.failure.stage == Stage.BANNER


def test_a_slow_quit_changes_nothing(scripted):
    """The finding stays, whatever the server replies to RSET and QUIT."""
    scripted.on("rset", "500 5.5.1 what?")
    scripted.on("quit", HANG)
    found, _seen = tried(scripted, deadlines=QUICK)
    assert found.failure is None
