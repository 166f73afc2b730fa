"""Tests of settings in Chromium: typed, watched step by step, trusted, saved, confirmed; and test mails."""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager

import pytest
from playwright.sync_api import expect

from own_smtp.delivery.workers import confirmation_mails, dry_run_job
from own_smtp.states import RelayState
from own_smtp.storage.models import Confirmation, Relay, RelayTest
from tests.scripted import ScriptedServer
from tests.web.drafts import PASSWORD, add_relay
from tests.web.trials import answer_test_mail

pytestmark = pytest.mark.browser


@pytest.fixture
def server(test_authority, thin):
    """A server with a self-signed certificate."""
    thin.change_settings(allowed_ports=frozenset(range(1, 65536)))
    with ScriptedServer(tls=test_authority.server_context("other_ca"), credentials={"surveys": PASSWORD}) as server:
        yield server


def fill(page, server, password=PASSWORD):
    page.get_by_label("Name of this server").fill("Company mail")
    page.get_by_label("Mail server", exact=True).fill(server.host)
    page.get_by_role("spinbutton", name="Port").fill(str(server.port))
    page.get_by_label("User name", exact=True).fill("surveys")
    page.get_by_label("Password", exact=True).fill(password)
    page.get_by_label("Sender address").fill("surveys@acme.example")


@contextmanager
def worker(web_app, thin):
    """Run the job that the page enqueued last, in a thread: Playwright has an event loop running in this one."""

    def work():
        with web_app.app_context():
            name, number = thin.jobs[-1]
            run = {
                "run_test": dry_run_job.perform_dry_run,
                "send_confirmation": confirmation_mails.send_confirmation_mail,
            }[name]
            run(number, thin)

    thread = threading.Thread(target=work)
    thread.start()
    yield thread
    thread.join()


def work(web_app, thin):
    with worker(web_app, thin):
        pass


def test_from_typed_settings_to_a_confirmed_server(person, web_app, thin, db_session, server):
    """A wrong password, corrected; a certificate, trusted; saved; the link clicked. No value is typed twice."""
    page = person.open("/servers/new")
    fill(page, server, "battery staple")
    page.get_by_role("button", name="Test without saving").click()
    expect(page.get_by_role("heading", name="Testing …")).to_be_visible()
    work(web_app, thin)
    expect(page.get_by_role("heading", name="The certificate that the server shows")).to_be_visible()
    page.get_by_role("button", name="trust this certificate").click()
    expect(page.get_by_role("heading", name="Testing …")).to_be_visible()
    work(web_app, thin)
    expect(page.get_by_text("refuses the user name or the password")).to_be_visible()
    page.get_by_role("link", name="Go to the field").click()
    assert page.url.endswith("#password")
    expect(page.get_by_label("Sender address")).to_have_value("surveys@acme.example")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_role("button", name="Test without saving").click()
    expect(page.get_by_role("heading", name="Testing …")).to_be_visible()
    work(web_app, thin)
    expect(page.get_by_role("heading", name="All well")).to_be_visible()
    page.get_by_role("button", name="Save and send the confirmation mail").click()
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()
    work(web_app, thin)
    token = re.search(rb"/own-smtp/confirm/(\S+)", server.copies[0].data.replace(b"=\r\n", b""))[1].decode()
    other = person.with_options()
    other.open(f"/confirm/{token}").get_by_role("button", name="Yes, this server may send").click()
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()
    db_session.expire_all()
    assert db_session.query(Relay).one().state == RelayState.ACTIVE
    assert db_session.query(Confirmation).one().used_at is not None


def test_steps_appear_as_they_happen(person, web_app, thin, server):
    """While the server delays its greeting, the page shows the previous steps and the current one."""
    may_go_on = threading.Event()

    def hesitate(_moment):
        assert may_go_on.wait(30)
        return "220 at last"

    server.on("banner", hesitate)
    page = person.open("/servers/new")
    fill(page, server)
    page.get_by_role("button", name="Test without saving").click()
    expect(page.get_by_role("heading", name="Testing …")).to_be_visible()
    with worker(web_app, thin):
        steps = page.get_by_role("list").filter(has_text="Greeting")
        expect(steps.get_by_role("listitem").filter(has_text="Connect")).to_contain_text("127.0.0.1")
        expect(steps.locator("[aria-current=step]")).to_contain_text("Greeting")
        may_go_on.set()
    expect(page.get_by_role("heading", name="The certificate that the server shows")).to_be_visible()


def test_it_works_without_scripts_in_german(person, web_app, thin, db_session, server):
    """By reloading; for use with Enter, the first button saves and the second tests."""
    plain = person.with_options(java_script_enabled=False, locale="de")
    page = plain.open("/servers/new")
    page.get_by_label("Mailserver", exact=True).fill(server.host)
    page.get_by_role("spinbutton", name="Port").fill(str(server.port))
    page.get_by_label("Benutzername", exact=True).fill("surveys")
    page.get_by_label("Passwort", exact=True).fill(PASSWORD)
    page.get_by_label("Absenderadresse").fill("surveys@acme.example")
    page.get_by_label("Bezeichnung des Servers").fill("Firma")
    page.get_by_role("button", name="Testen, ohne zu speichern").click()
    expect(page.get_by_role("heading", name="Test läuft …")).to_be_visible()
    work(web_app, thin)
    page.locator("noscript a").click()
    expect(page.get_by_role("heading", name="So funktioniert es noch nicht")).to_be_visible()
    page.get_by_role("button", name="Der Fingerabdruck stimmt").click()
    work(web_app, thin)
    page.locator("noscript a").click()
    expect(page.get_by_role("heading", name="Alles in Ordnung")).to_be_visible()
    assert db_session.query(RelayTest).count() == 2


def test_a_test_mail_is_watched(person, thin, db_session):
    """Sent by one button; the page shows the server's reply without a reload."""
    relay = add_relay(db_session, thin, active=True)
    page = person.open(f"/servers/{relay.id}")
    page.get_by_role("link", name="Send a test mail").click()
    page.get_by_role("button", name="Send the test mail").click()
    expect(page.get_by_role("heading", name="on its way")).to_be_visible()
    answer_test_mail(db_session, "accepted", "message", 250, "2.0.0", "Ok: queued as 4F2A1B3C5D")
    expect(page.get_by_role("heading", name="Your server has taken the test mail")).to_be_visible()
    expect(page.get_by_text("queued as 4F2A1B3C5D")).to_be_visible()
