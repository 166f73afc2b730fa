"""Settings tested, trusted, saved and confirmed against real Postfix, by the pages and what workers run for them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from own_smtp.delivery.workers import confirmation_mails, dry_run_job
from own_smtp.settings import INTERACTIVE
from own_smtp.smtp.dry_run import run_dry_run
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.tls import verifying_context
from own_smtp.smtp.values import Credentials
from own_smtp.states import PauseReason, RelayState, RelayTestState, Security
from own_smtp.storage.models import Relay, RelayTest
from tests.servers.postfix import Postfix
from tests.servers.process import eventually
from tests.web.drafts import TYPED
from tests.wire_kit import profile_for, resolve

pytestmark = pytest.mark.servers

LOGIN = Credentials(username="survey", password="correct horse")


@pytest.fixture
def submission(postfix: Postfix, thin) -> Postfix:
    """The shared Postfix, whose authority this process trusts."""
    verifying_context().load_verify_locations(cadata=postfix.ca_file.read_text())
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    return postfix


@pytest.fixture
def strange(thin) -> Iterator[Postfix]:
    """A Postfix whose certificate nobody vouches for."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    with Postfix() as server:
        yield server


def typed(server: Postfix, port: int | None = None, **values: str) -> dict[str, str]:
    aimed = {"host": server.host, "port": str(port or server.submission_port)}
    return {**TYPED, **aimed, "username": LOGIN.username, "password": LOGIN.password, **values}


def try_out(web, thin, session, values) -> RelayTest:
    web.post("/own-smtp/servers/new", data={**values, "test": "1"})
    return run(thin, session)


def run(thin, session) -> RelayTest:
    dry_run_job.perform_dry_run(thin.jobs[-1][1], thin)
    session.expire_all()
    return session.query(RelayTest).order_by(RelayTest.id.desc()).first()


def stages(test: RelayTest) -> list[str]:
    return [step["stage"] for step in test.steps]


@pytest.mark.parametrize("security", ["starttls", "implicit"])
def test_all_well(web, thin, db_session, submission, security):
    """Each step passes, and Postfix gets no message."""
    port = submission.submission_port if security == "starttls" else submission.implicit_port
    test = try_out(web, thin, db_session, typed(submission, port, security=security))
    assert (test.state, test.error) == (RelayTestState.PASSED, None)
    assert {"tls", "auth", "mail", "rcpt"} <= set(stages(test))
    assert submission.copies() == []
    page = web.get(f"/own-smtp/tests/{test.id}").text
    for words in ("All well", "TLSv1.3", "PIPELINING", "It takes mail for surveys@acme.example."):
        assert words in page
    assert LOGIN.password not in page


def test_a_wrong_password(web, thin, db_session, submission):
    """Postfix's own words, and the field; it was tried once."""
    before = len(submission.failed_logins)
    test = try_out(web, thin, db_session, typed(submission, password="battery staple"))
    assert (test.stage, test.code, test.pause_reason) == (Stage.AUTH, 535, PauseReason.CREDENTIALS)
    page = web.get(f"/own-smtp/tests/{test.id}").text
    assert "authentication failed" in page
    assert "#password" in page
    assert "battery staple" not in page
    assert eventually(lambda: submission.failed_logins[before:], "Postfix logs it") == ["auth=0/1"]


def test_implicit_tls_on_the_port_of_starttls(web, thin, db_session, submission):
    """No encryption: the page leads to it."""
    test = try_out(web, thin, db_session, typed(submission, security="implicit"))
    assert (test.stage, stages(test)) == (Stage.TLS, ["connect"])
    assert "#security" in web.get(f"/own-smtp/tests/{test.id}").text


def test_starttls_on_the_port_of_implicit_tls(submission):
    """Postfix waits for TLS and says nothing: the deadline of the greeting ends it."""
    profile = profile_for(
        submission, host="localhost", port=submission.implicit_port, security=Security.STARTTLS, credentials=LOGIN
    )
    quick = replace(INTERACTIVE, banner=0.5)
    found = run_dry_run(profile, "a@acme.example", find=resolve, observe=lambda _seen: None, deadlines=quick)
    assert found.failure.stage == Stage.BANNER


def test_a_login_where_none_is_offered(web, thin, db_session, submission):
    """The plain port offers STARTTLS, but takes nobody's password."""
    test = try_out(web, thin, db_session, typed(submission, submission.plain_port))
    assert (test.stage, test.pause_reason) == (Stage.AUTH, PauseReason.NO_AUTH)


def test_a_recipient_that_is_refused(web, thin, db_session, submission):
    """The confirmation mail would not arrive: said before anything is saved."""
    submission.set_replies({"surveys@acme.example": "550 5.1.1 No such user here"})
    try:
        test = try_out(web, thin, db_session, typed(submission))
    finally:
        submission.set_replies({})
    assert (test.stage, test.code) == (Stage.RCPT, 550)
    assert "No such user here" in web.get(f"/own-smtp/tests/{test.id}").text


def test_an_unknown_certificate_is_trusted_and_the_server_confirmed(web, thin, db_session, strange):
    """Shown, trusted, tested, saved; the confirmation mail leaves under the trusted certificate, and its link works."""
    test = try_out(web, thin, db_session, typed(strange))
    assert (test.stage, test.pause_reason) == (Stage.TLS, PauseReason.CERTIFICATE)
    assert "trust this certificate" in web.get(f"/own-smtp/tests/{test.id}").text
    web.post(f"/own-smtp/tests/{test.id}/trust")
    test = run(thin, db_session)
    assert test.state == RelayTestState.PASSED
    web.post(f"/own-smtp/tests/{test.id}/save")
    relay = db_session.query(Relay).one()
    assert relay.state == RelayState.UNCONFIRMED
    name, number = thin.jobs[-1]
    assert name == "send_confirmation"
    confirmation_mails.send_confirmation_mail(number, thin)
    [copy] = strange.copies()
    token = re.search(rb"/own-smtp/confirm/([\w=\r\n-]+)", copy.data)[1].replace(b"=\n", b"").split()[0].decode()
    web.post(f"/own-smtp/confirm/{token}")
    db_session.refresh(relay)
    assert (relay.state, relay.fingerprint) == (RelayState.ACTIVE, test.certificate["fingerprint"])


def test_a_new_password_on_an_active_server(web, thin, db_session, submission):
    """A wrong one is not saved; the right one is, and the server stays active all the time."""
    values = typed(submission)
    web.post("/own-smtp/servers/new", data={**values, "password": "battery staple"})
    relay = db_session.query(Relay).one()
    relay.state = RelayState.ACTIVE
    db_session.commit()
    stored = relay.password
    for password, is_saved in (("wrong again", False), (LOGIN.password, True)):
        web.post(f"/own-smtp/servers/{relay.id}/edit", data={**values, "password": password})
        test = run(thin, db_session)
        db_session.refresh(relay)
        assert (test.saved_at is not None, relay.password != stored, relay.state) == (is_saved, is_saved, "active")
