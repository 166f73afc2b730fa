"""The pages in Chromium: seen, used by keyboard, without scripts, on a telephone, in German, and by axe."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from playwright.sync_api import expect

from own_smtp import confirmations, projects, relays
from own_smtp.hooks.events import Tenant
from own_smtp.models import Attempt, Batch, Invitation, Relay
from own_smtp.outcomes import Stage
from own_smtp.profiles import Outcome, Reply
from own_smtp.secrets import new_token
from own_smtp.states import PauseReason, State
from tests.web.drafts import PASSWORD, add_relay, send_mail

pytestmark = pytest.mark.browser

REFUSED = Outcome(
    state=State.QUEUED,
    stage=Stage.AUTH,
    reply=Reply(code=535, text="Authentication failed", enhanced="5.7.8"),
    pause=PauseReason.CREDENTIALS,
)


def _waiting(session, thin, **changes) -> Relay:
    relay = add_relay(session, thin, **changes)
    confirmations.request(session, thin.settings, relay, user_id="alice")
    session.commit()
    return relay


def _sent(session, relay):
    batch = Batch(
        tenant_id="acme",
        project_id="p1",
        relay_id=relay.id,
        kind="invitation",
        message_key="k",
        message_domain="acme.example",
        expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    )
    session.add(batch)
    session.flush()
    for state in (*State, State.REFUSED):
        address = f"{state}.someone.with.a.long.name@department.of.statistics.example.org"
        invitation = Invitation(
            batch_id=batch.id, reference=str(session.query(Invitation).count()), address=address, state=state
        )
        session.add(invitation)
        session.flush()
        attempt = Attempt(
            invitation_id=invitation.id,
            relay_id=relay.id,
            at=datetime(2026, 1, 1, tzinfo=UTC),
            state=state,
            stage="rcpt",
            code=550,
            enhanced="5.1.1",
            text="<someone>: Recipient address rejected: User unknown in virtual mailbox table " + "x" * 200,
        )
        session.add(attempt)
    session.commit()


@pytest.fixture
def everything(db_session, thin) -> list[str]:
    """Each page in each state; returns their addresses."""
    addresses = ["/", "/servers/new"]
    active = add_relay(db_session, thin, active=True, label="Active", per_day=2000, min_interval=2)
    paused = add_relay(db_session, thin, active=True, label="Paused")
    relays.pause(db_session, paused.id, PauseReason.CREDENTIALS, "535 5.7.8 Authentication failed", None)
    waiting, failed, sent = (_waiting(db_session, thin, label=label) for label in ("Waiting", "Failed", "Sent"))
    send_mail(db_session, failed, new_token(), REFUSED)
    token = new_token()
    send_mail(db_session, sent, token)
    projects.choose(db_session, "acme", "p1", active, user_id="alice")
    _sent(db_session, active)
    addresses += [f"/servers/{relay.id}" for relay in (active, paused, waiting, failed, sent)]
    addresses += [f"/servers/{active.id}/edit", f"/servers/{active.id}/delete", f"/servers/{paused.id}/delete"]
    addresses += ["/projects/p1/settings", "/projects/p1/report", "/projects/p2/report"]
    return [*addresses, f"/confirm/{token}", "/confirm/unknown", "/servers/999"]


def test_axe_finds_nothing(person, everything):
    """No page in any state has a violation that axe knows, in light and in dark."""
    dark = person.with_options(color_scheme="dark")
    found = {}
    for someone in (person, dark):
        for address in everything:
            someone.open(address)
            if report := someone.violations():
                found[address] = report
    assert found == {}
    assert dark.complaints == []


def test_an_empty_account_and_a_form_with_errors_pass_axe(person):
    """The first page that anybody sees, and the form at its worst."""
    person.open("/")
    assert person.violations() == ""
    page = person.open("/servers/new")
    page.get_by_role("button", name="Save and send").click()
    expect(page.get_by_role("alert")).to_contain_text("Please look at these fields")
    for summary in page.locator("summary").all():
        summary.click()
    assert person.violations() == ""


@pytest.mark.parametrize("locale", ["en", "de"])
def test_pages_fit_a_telephone(person, everything, locale):
    """At 360 pixels no page scrolls sideways, in either language."""
    telephone = person.with_options(viewport={"width": 360, "height": 740}, locale=locale)
    wide = {}
    for address in everything:
        telephone.open(address)
        if overflow := telephone.overflow():
            wide[address] = overflow
    assert wide == {}
    assert telephone.complaints == []


def test_from_the_empty_page_to_a_green_server(person, thin, db_session):
    """A server entered, its mail sent, its link followed by somebody else: the page turns green by itself."""
    page = person.open("/")
    page.get_by_role("link", name="Add a mail server").click()
    page.get_by_label("Name of this server").fill("Company mail")
    page.get_by_label("Mail server", exact=True).fill("smtp://mail.acme.example/")
    page.get_by_label("Implicit TLS").check()
    expect(page.get_by_role("spinbutton", name="Port")).to_have_value("465")
    page.get_by_label("User name", exact=True).fill("surveys")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Sender address").fill("surveys@acme.example")
    page.get_by_role("button", name="Save and send").click()
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()

    relay, token = db_session.query(Relay).one(), new_token()
    send_mail(db_session, relay, token)
    expect(page.get_by_text("A mail went to surveys@acme.example")).to_be_visible()

    other = person.with_options()
    thin.host.present, alice = None, thin.host.present
    link = other.open(f"/confirm/{token}")
    link.get_by_role("button", name="Yes, this server may send for us").click()
    expect(link.get_by_role("heading", name="Confirmed")).to_be_visible()
    thin.host.present = alice
    expect(page.get_by_role("heading", name="Active")).to_be_visible()
    assert other.complaints == []


def test_everything_works_without_scripts(person, db_session):
    """With scripts off a server is entered, a project switched and the pages reloaded by hand."""
    plain = person.with_options(java_script_enabled=False)
    page = plain.open("/servers/new")
    page.get_by_label("Name of this server").fill("Company mail")
    page.get_by_label("Mail server", exact=True).fill("mail.acme.example")
    page.get_by_label("The server wants").uncheck()
    expect(page.get_by_label("User name", exact=True)).to_be_hidden()
    page.get_by_label("Sender address").fill("surveys@acme.example")
    page.get_by_role("button", name="Save and send").click()
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()
    page.get_by_role("link", name="Reload this page").click()
    page = plain.open("/projects/p1/settings")
    page.get_by_label("Company mail").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("In force now: invitations leave through “Company mail”.")).to_be_visible()


def test_the_form_is_filled_by_keyboard_alone(person):
    """Tab goes through the fields in their order, space ticks, Enter sends; the error summary leads to the field."""
    page = person.open("/servers/new")
    page.get_by_label("Name of this server").focus()
    page.keyboard.type("Company mail")
    page.keyboard.press("Tab")
    page.keyboard.type("mail.acme.example")
    page.keyboard.press("Enter")
    page.get_by_role("alert").get_by_role("link", name="Sender address").focus()
    page.keyboard.press("Enter")
    assert page.url.endswith("#sender_address")
    expect(page.get_by_label("Mail server", exact=True)).to_have_value("mail.acme.example")


def test_errors_are_tied_to_their_fields(person):
    """A screen reader hears help and error with the field."""
    page = person.open("/servers/new")
    page.get_by_role("button", name="Save and send").click()
    field = page.get_by_label("Sender address")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(
        "What recipients see as From. The confirmation mail goes there, too. Please fill in this field."
    )


def test_german_pages_are_german(person, thin, everything):
    """No text of ours stays English for a German browser, nor on the link's page for a German tenant."""
    thin.host.tenants["acme"] = Tenant(tenant_id="acme", name="Acme Forschung", locale="de")
    german = person.with_options(locale="de")
    for address in everything:
        page = german.open(address)
        assert page.locator("html").get_attribute("lang") == "de"
        text = page.locator("main").inner_text()
        for word in (" server", " the ", "invitation", "Settings", "Save", "project "):
            assert word not in text.replace("Authentication failed", ""), (address, word)


def test_the_report_follows_the_sending(person, db_session, thin):
    """The counts of an open report change by themselves."""
    relay = add_relay(db_session, thin, active=True)
    page = person.open("/projects/p1/report")
    expect(page.get_by_text("Nothing was sent")).to_be_visible()
    _sent(db_session, relay)
    expect(page.get_by_text("8 invitations: 1 accepted by your server, 2 refused")).to_be_visible()
