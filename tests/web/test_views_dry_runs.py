"""The pages of a test, used without scripts."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from own_smtp.delivery.workers import dry_run_job
from own_smtp.hooks.events import Action, Tenant
from own_smtp.relays import store
from own_smtp.relays.dry_runs import LOST, PATIENCE
from own_smtp.states import RelayState, RelayTestState
from own_smtp.storage.models import AuditEntry, Confirmation, Relay, RelayTest
from own_smtp.web.dry_run_panel import LATE
from tests.scripted import ClosedPort, ScriptedServer
from tests.web.app import ALICE, MALLORY
from tests.web.drafts import PASSWORD, TYPED, add_relay

LOGINS = {"surveys": PASSWORD}


@pytest.fixture
def server(test_authority):
    """A server with a self-signed certificate."""
    with ScriptedServer(tls=test_authority.server_context("other_ca"), credentials=LOGINS) as server:
        yield server


@pytest.fixture
def typed(server, thin):
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    return {**TYPED, "host": server.host, "port": str(server.port)}


@pytest.fixture
def mine(server, test_authority, db_session, thin) -> Relay:
    """An active relay on that server, with its certificate trusted."""
    aimed = {"host": server.host, "port": server.port, "fingerprint": test_authority.fingerprint("other_ca")}
    return add_relay(db_session, thin, active=True, **aimed)


def newest(session) -> RelayTest:
    session.expire_all()
    return session.query(RelayTest).order_by(RelayTest.id.desc()).first()


def run(session, thin) -> RelayTest:
    """Run a worker for the job that the page enqueued last."""
    name, number = thin.jobs[-1]
    assert name == "run_test"
    dry_run_job.perform_dry_run(number, thin)
    return newest(session)


def press(web, test, button, **options):
    return web.post(f"/own-smtp/tests/{test.id}/{button}", **options)


def test_from_typed_values_to_a_saved_server(web, thin, db_session, typed, test_authority):
    """Test, see the certificate, trust it, test again, save: one click each, and no value is typed twice."""
    answer = web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    assert db_session.query(Relay).count() == 0
    page = web.get(answer.location).text
    assert "Testing …" in page
    test = run(db_session, thin)
    page = web.get(answer.location).text
    fingerprint = test_authority.fingerprint("other_ca").upper()
    for words in (
        "It does not work like this yet",
        "certificate cannot be trusted",
        f"{fingerprint[:2]}:<wbr>{fingerprint[2:4]}",
        "trustme",
    ):
        assert words in page
    press(web, test, "trust")
    test = run(db_session, thin)
    page = web.get(f"/own-smtp/tests/{test.id}").text
    assert "All well" in page
    assert PASSWORD not in page
    answer = press(web, test, "save", follow_redirects=True)
    relay = db_session.query(Relay).one()
    assert "Not active" in answer.text
    assert relay.fingerprint == test_authority.fingerprint("other_ca")
    assert thin.jobs[-1] == ("send_confirmation", db_session.query(Confirmation).one().id)
    assert store.load_profile(db_session.connection(), relay.id, thin.vault).credentials.password == PASSWORD
    actions = [entry.action for entry in db_session.query(AuditEntry).order_by(AuditEntry.id)]
    assert actions == [
        "relay_tested", "certificate_trusted", "relay_tested", "relay_created", "confirmation_requested",
    ]  # fmt: skip


def test_trust_is_in_the_log_with_the_fingerprint(web, thin, db_session, typed, test_authority):
    """The person, the server, and the certificate before and after."""
    web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    press(web, run(db_session, thin), "trust")
    entry = db_session.query(AuditEntry).filter_by(action="certificate_trusted").one()
    assert entry.user_id == "alice"
    assert entry.details["fingerprint"] == [None, test_authority.fingerprint("other_ca")]
    assert "Certificate trusted by its fingerprint" in web.get("/own-smtp/audit").text


def test_nothing_can_be_trusted_that_is_not_in_doubt(web, thin, db_session, mine):
    """Only a certificate that was received and rejected can be trusted."""
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = run(db_session, thin)
    assert test.state == RelayTestState.PASSED
    assert press(web, test, "trust").status_code == 409


def test_what_was_typed_comes_back(web, thin, db_session, typed):
    """The form has the previous input, except the password, which need not be typed again."""
    typed |= {"sender_name": "Ünïque <b>", "per_hour": "120", "ehlo_name": "client.acme.example"}
    web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    test = run(db_session, thin)
    page = web.get(f"/own-smtp/servers/new?test={test.id}").text
    for value in ("Ünïque &lt;b&gt;", "120", "client.acme.example", typed["port"]):
        assert f'value="{value}"' in page
    assert "Leave empty to use the one that you typed for the test." in page
    assert PASSWORD not in page
    web.post(f"/own-smtp/servers/new?test={test.id}", data={**typed, "password": ""})
    relay = db_session.query(Relay).one()
    assert store.load_profile(db_session.connection(), relay.id, thin.vault).credentials.password == PASSWORD
    assert newest(db_session).settings is None


@pytest.mark.parametrize("changed", [{"host": "elsewhere.example"}, {"username": "other"}, {"security": "implicit"}])
def test_a_tested_password_does_not_reach_another_server(web, thin, db_session, typed, changed):
    """For another server or user it must be typed again."""
    web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    test = run(db_session, thin)
    answer = web.post(f"/own-smtp/servers/new?test={test.id}", data={**typed, "password": "", **changed})
    assert answer.status_code == 422
    assert "Type the password again" in answer.text


def test_a_failure_leads_to_its_field(web, thin, db_session, mine, server):
    """Cause, field, the server's reply, and the conversation without the password."""
    server.on("auth", "535 5.7.8 Authentication credentials invalid")
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = run(db_session, thin)
    page = web.get(f"/own-smtp/tests/{test.id}").text
    for words in (
        "refuses the user name or the password",
        f"/own-smtp/servers/{mine.id}/edit?test={test.id}#password",
        "535 5.7.8 Authentication credentials invalid",
        "AUTH PLAIN •••",
    ):
        assert words in page
    assert PASSWORD not in page


def test_what_may_pass_is_not_said_to_be_tried_again(web, thin, db_session, mine, server):
    """Invitations are retried automatically; a test is not."""
    server.on("rcpt", "450 4.2.0 Greylisted")
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = run(db_session, thin)
    assert "Test again in a few minutes" in web.get(f"/own-smtp/tests/{test.id}").text


def test_a_new_password_is_tested_before_it_is_saved(web, thin, db_session, mine):
    """Saving tests first; the server stays active, and has the new password afterwards."""
    typed = {**TYPED, "host": mine.host, "port": str(mine.port), "label": mine.label, "sender_name": ""}
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    before = mine.password
    answer = web.post(f"/own-smtp/servers/{mine.id}/edit", data=typed)
    assert "until then the old one stays in force" in web.get(answer.location).text
    db_session.refresh(mine)
    assert mine.password == before
    run(db_session, thin)
    db_session.refresh(mine)
    assert (mine.state, mine.password == before) == (RelayState.ACTIVE, False)
    assert "Passed and saved" in web.get(answer.location).text


def test_a_refused_password_can_be_saved_all_the_same(web, thin, db_session, mine, server):
    """It may be right although the server is unreachable: the page warns, and the person decides."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    typed = {**TYPED, "host": mine.host, "port": str(mine.port), "password": "new"}
    answer = web.post(f"/own-smtp/servers/{mine.id}/edit", data=typed)
    test = run(db_session, thin)
    page = web.get(answer.location).text
    assert "Nothing was saved" in page
    assert "Save all the same" in page
    press(web, test, "save")
    db_session.refresh(mine)
    assert store.load_profile(db_session.connection(), mine.id, thin.vault).credentials.password == "new"
    assert mine.state == RelayState.ACTIVE


def test_a_password_that_passed_its_test_is_not_tested_twice(web, thin, db_session, mine, server):
    """Test, back to the form, save: the server is contacted once."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    typed = {**TYPED, "host": mine.host, "port": str(mine.port)}
    web.post(f"/own-smtp/servers/{mine.id}/edit", data={**typed, "test": "1"})
    test = run(db_session, thin)
    web.post(f"/own-smtp/servers/{mine.id}/edit?test={test.id}", data={**typed, "password": ""})
    assert newest(db_session).id == test.id
    assert newest(db_session).saved_at is not None


def test_another_certificate_locks_the_server_again(web, thin, db_session, mine, test_authority):
    """A confirmation includes the trusted fingerprint; removing it needs a new one as well."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    page = web.get(f"/own-smtp/servers/{mine.id}/edit").text
    assert "only the certificate with this fingerprint is accepted" in page
    typed = {**TYPED, "host": mine.host, "port": str(mine.port), "password": "", "usual_authorities": "y"}
    web.post(f"/own-smtp/servers/{mine.id}/edit", data=typed)
    db_session.refresh(mine)
    assert (mine.fingerprint, mine.state) == (None, RelayState.UNCONFIRMED)


def test_trust_does_not_move_to_another_host(web, thin, db_session, mine):
    """With another server's name the certificate authorities apply again."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    typed = {**TYPED, "host": "mail.other.example", "port": str(mine.port)}
    web.post(f"/own-smtp/servers/{mine.id}/edit", data=typed)
    db_session.refresh(mine)
    assert (mine.host, mine.fingerprint) == ("mail.other.example", None)


def test_nothing_is_saved_twice(web, thin, db_session, typed, server, test_authority):
    """Two clicks on "save" create one server."""
    web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    test = run(db_session, thin)
    press(web, test, "save")
    assert press(web, test, "save").status_code == 409
    assert db_session.query(Relay).count() == 1


def test_without_a_worker_the_page_says_so(web, thin, db_session, typed):
    """After some seconds, and after two minutes that the test is over; the input is kept."""
    answer = web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    versions = {web.get(f"{answer.location}/status").json["version"]}
    for ago, words in (
        (LATE, "No worker of the platform has taken the test up yet."),
        (PATIENCE, "The test was not carried out"),
    ):
        moment = datetime.now(UTC) - ago - timedelta(seconds=1)
        db_session.execute(update(RelayTest).values(created_at=moment))
        db_session.commit()
        page = web.get(answer.location).text
        assert words in page
        assert "/own-smtp/servers/new?test=" in page
        versions.add(web.get(f"{answer.location}/status").json["version"])
    assert len(versions) == 3


def test_without_a_queue_the_page_says_so(web, thin, db_session, typed):
    """An unavailable Redis has another text than busy workers."""
    thin.queue_works = False
    answer = web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    db_session.execute(update(RelayTest).values(created_at=datetime.now(UTC) - timedelta(minutes=1)))
    db_session.commit()
    assert "queue takes no work" in web.get(answer.location).text


def test_a_worker_that_died_leaves_no_page_that_waits_for_ever(web, thin, db_session, typed):
    """A test that runs far too long is cancelled."""
    answer = web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    long_ago = datetime.now(UTC) - PATIENCE - LOST - timedelta(seconds=1)
    db_session.execute(update(RelayTest).values(state=RelayTestState.RUNNING, created_at=long_ago))
    db_session.commit()
    assert "The test was not carried out" in web.get(answer.location).text


def test_too_many_tests_are_said_on_the_form(web, thin, db_session, typed):
    """The input is kept."""
    thin.change_settings(tests_per_tenant=1)
    web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    answer = web.post("/own-smtp/servers/new", data={**typed, "test": "1"})
    assert answer.status_code == 422
    assert "Too many tests within an hour" in answer.text
    assert f'value="{typed["port"]}"' in answer.text


def test_a_new_password_is_saved_even_where_it_cannot_be_tested(web, thin, db_session, mine):
    """Too many tests must not prevent a new password; the page says that it was not tested."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)), tests_per_tenant=1)
    web.post(f"/own-smtp/servers/{mine.id}/test")
    typed = {**TYPED, "host": mine.host, "port": str(mine.port), "password": "new"}
    answer = web.post(f"/own-smtp/servers/{mine.id}/edit", data=typed, follow_redirects=True)
    assert "The new password was not tested" in answer.text
    db_session.refresh(mine)
    assert store.load_profile(db_session.connection(), mine.id, thin.vault).credentials.password == "new"


def test_wrong_values_are_said_before_anything_is_tested(web, thin, db_session, typed):
    """The form's own checks come first."""
    answer = web.post("/own-smtp/servers/new", data={**typed, "host": "http://", "test": "1"})
    assert answer.status_code == 422
    assert (thin.jobs, db_session.query(RelayTest).count()) == ([], 0)


def test_a_role_without_permission(web, thin, db_session, mine, typed):
    """Without permission to test there is no button and no test; without permission to edit, no trust or save."""
    thin.host.allowed = {Action.VIEW, Action.EDIT}
    assert 'name="test"' not in web.get("/own-smtp/servers/new").text
    assert web.post("/own-smtp/servers/new", data={**typed, "test": "1"}).status_code == 403
    assert "Test the connection" not in web.get(f"/own-smtp/servers/{mine.id}").text
    assert web.post(f"/own-smtp/servers/{mine.id}/test").status_code == 403
    thin.host.allowed = {Action.VIEW, Action.TEST}
    assert "Test the connection" in web.get(f"/own-smtp/servers/{mine.id}").text
    mine.fingerprint = None
    db_session.commit()
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = run(db_session, thin)
    assert "trust this certificate" not in web.get(f"/own-smtp/tests/{test.id}").text
    for button in ("trust", "save"):
        assert press(web, test, button).status_code == 403
    test.saves = True  # begun by somebody who was allowed to save then
    db_session.commit()
    press(web, test, "again")
    assert not run(db_session, thin).saves


def test_a_tenant_that_is_not_admitted_tests_nothing(web, thin, db_session, mine):
    """The policy excludes it: no worker connects for it, and no mail is sent."""
    thin.change_settings(allowed_tenants=frozenset({"other"}))
    for path in ("test", "test-mail"):
        assert web.post(f"/own-smtp/servers/{mine.id}/{path}").status_code == 409
    assert (db_session.query(RelayTest).count(), thin.jobs) == (0, [])


def test_nobody_elses_test_can_be_seen_or_used(web, thin, db_session, mine):
    """Another tenant's and a colleague's tests look as if they did not exist."""
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = newest(db_session)
    for somebody in (MALLORY, replace(ALICE, user_id="bob")):
        thin.host.present = somebody
        for path in ("", "/status"):
            assert web.get(f"/own-smtp/tests/{test.id}{path}").status_code == 404
        for button in ("again", "trust", "save"):
            assert press(web, test, button).status_code == 404
        assert "is not kept any more" in web.get(f"/own-smtp/servers/new?test={test.id}", follow_redirects=True).text


def test_an_unknown_test_is_said_on_an_empty_form(web):
    """A link to a deleted test still opens the form."""
    page = web.get("/own-smtp/servers/new?test=999").text
    assert "not kept any more" in page


@pytest.mark.usefixtures("brief_connect")
def test_refused_and_closed_targets_read_alike(web, thin, db_session):
    """Only the name differs, page by page; no step shows a duration, not even resolving the name."""
    pages = []
    with ClosedPort() as closed:
        thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
        for host in (closed.host, "10.1.2.3"):
            web.post("/own-smtp/servers/new", data={**TYPED, "host": host, "port": str(closed.port), "test": "1"})
            test = run(db_session, thin)
            text = web.get(f"/own-smtp/tests/{test.id}").text.replace(host, "HOST")
            text, times = re.subn(r">[\d.]+ s<", ">T s<", text)
            assert times == 0
            pages.append(re.sub(rf"(tests/|test=){test.id}", r"\1N", text))
    assert pages[0] == pages[1]
    assert "cannot be reached from here" in pages[0]


def test_the_end_of_a_certificate_is_warned_of(web, thin, db_session, mine):
    """Fourteen days ahead, and an expired trusted one says so."""
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = run(db_session, thin)
    for left, words in ((timedelta(days=5, hours=1), "for 5 more days"), (-timedelta(days=1), "is over")):
        ends = datetime.now(UTC) + left
        test.certificate = {**test.certificate, "ends_at": ends.isoformat()}
        db_session.commit()
        assert words in web.get(f"/own-smtp/tests/{test.id}").text


def test_in_german(web, thin, db_session, mine):
    """The page uses the reader's language and the tenant's time zone."""
    thin.host.tenants["acme"] = Tenant(tenant_id="acme", name="Acme", timezone="Europe/Berlin")
    web.post(f"/own-smtp/servers/{mine.id}/test")
    test = run(db_session, thin)
    page = web.get(f"/own-smtp/tests/{test.id}", headers={"Accept-Language": "de"}).text
    for words in ("Alles in Ordnung", "Schritt für Schritt", "Zertifikat"):
        assert words in page


def test_a_corrected_password_sends_the_confirmation_mail_again(web, thin, db_session):
    """An unconfirmed server whose mail failed because of its password gets a new mail with the new one."""
    relay = add_relay(db_session, thin)
    web.post(f"/own-smtp/servers/{relay.id}/edit", data={**TYPED, "sender_name": ""})
    assert thin.jobs == [("send_confirmation", db_session.query(Confirmation).one().id)]
