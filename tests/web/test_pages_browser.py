"""The pages in Chromium: displayed, used by keyboard, without scripts, on a telephone, in German, and by axe."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from own_smtp.hooks.events import Tenant
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Relay
from tests.web.drafts import PASSWORD, add_relay, send_mail
from tests.web.everything import fill_outbox, go_on, pages_in_all_states

pytestmark = pytest.mark.browser


@pytest.fixture
def everything(db_session, thin) -> dict[str, str]:
    """Each page in each state; returns their addresses by name."""
    return pages_in_all_states(db_session, thin)


def test_axe_finds_nothing(person, everything):
    """No page in any state has a violation that axe detects, in light and dark mode."""
    dark = person.with_options(color_scheme="dark")
    found = {}
    for someone in (person, dark):
        for name, address in everything.items():
            go_on(someone.open(address), name)
            if report := someone.violations():
                found[name] = report
    assert found == {}
    assert dark.complaints == []


def test_an_empty_account_and_a_form_with_errors_pass_axe(person):
    """The first page of a new account, and the form with all errors."""
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
    for name, address in everything.items():
        go_on(telephone.open(address), name)
        if overflow := telephone.overflow():
            wide[name] = overflow
    assert wide == {}
    assert telephone.complaints == []


def test_from_the_empty_page_to_a_green_server(person, thin, db_session):
    """A server is entered, its mail sent, its link clicked by another person: the page updates without a reload."""
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
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()
    assert other.complaints == []


def test_everything_works_without_scripts(person, db_session):
    """Without scripts a server is entered, a project switched and the pages reloaded by hand."""
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
    """Tab moves through the fields in order, space ticks, Enter submits; the error summary leads to the field."""
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
    """A screen reader reads help and error with the field."""
    page = person.open("/servers/new")
    page.get_by_role("button", name="Save and send").click()
    field = page.get_by_label("Sender address")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description(
        "What recipients see as From. The confirmation mail goes there, too. Please fill in this field."
    )


def test_german_pages_are_german(person, thin, everything):
    """None of our texts is English for a German browser, nor on the link's page for a German tenant."""
    thin.host.tenants["acme"] = Tenant(tenant_id="acme", name="Acme Forschung", locale="de")
    german = person.with_options(locale="de")
    for name, address in everything.items():
        page = german.open(address)
        go_on(page, name)
        assert page.locator("html").get_attribute("lang") == "de"
        text = page.locator("main").inner_text()
        for word in (" server", " the ", "invitation", "Settings", "Save", "project "):
            assert word not in text.replace("Authentication failed", ""), (name, word)


@pytest.mark.parametrize("scripts", [True, False])
def test_refused_invitations_are_found_and_sent_again(person, db_session, thin, scripts):
    """Filtered, opened, ticked, confirmed and announced, with scripts and without; each step passes axe."""
    batch = fill_outbox(db_session, add_relay(db_session, thin, active=True))
    batch.expires_at = None
    db_session.commit()
    someone = person.with_options(java_script_enabled=scripts)
    page = someone.open("/projects/p1/report")
    page.get_by_role("link", name="the delivery log").click()
    page.get_by_text("Filter and order").click()
    page.get_by_label("Refused by the server").check()
    page.get_by_label("Reply code").fill("5xx")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("row")).to_have_count(3)
    page.get_by_text("1 attempt").first.click()
    expect(page.get_by_text("recipient (RCPT)").first).to_be_visible()
    page.get_by_role("checkbox", name="Choose refused").first.check()
    assert not scripts or someone.violations() == ""
    page.get_by_role("button", name="Send refused").click()
    expect(page.get_by_text("These are sent again:")).to_be_visible()
    assert not scripts or someone.violations() == ""
    page.get_by_role("button", name="Yes, send them again").click()
    expect(page.get_by_text("1 invitation is sent again.")).to_be_visible()
    expect(page.get_by_role("row")).to_have_count(2)
    assert someone.complaints == []


def test_unknown_invitations_are_sent_again_only_with_a_tick(person, db_session, thin):
    """By keyboard alone: the warning page returns until the risk is accepted."""
    batch = fill_outbox(db_session, add_relay(db_session, thin, active=True))
    batch.expires_at = None
    db_session.commit()
    page = person.open(f"/projects/p1/log?state=unknown&batch={batch.id}")
    page.get_by_role("checkbox", name="Not only those").focus()
    page.keyboard.press("Space")
    page.get_by_role("button", name="Send unknown").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Yes").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Please confirm this")
    page.get_by_role("checkbox", name="I know").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_text("1 invitation is sent again.")).to_be_visible()


def test_the_report_follows_the_sending(person, db_session, thin):
    """The counts of an open report update automatically."""
    relay = add_relay(db_session, thin, active=True)
    page = person.open("/projects/p1/report")
    expect(page.get_by_text("Nothing was sent")).to_be_visible()
    fill_outbox(db_session, relay)
    expect(page.get_by_text("8 invitations: 1 accepted by your server, 2 refused")).to_be_visible()


@pytest.mark.parametrize("scripts", [True, False])
def test_one_tenant_of_thousands_is_allowed_by_keyboard(person, everything, thin, scripts):
    """Found, ticked, saved, applied and removed again, on a telephone, with scripts and without."""
    someone = person.with_options(java_script_enabled=scripts, viewport={"width": 360, "height": 740})
    page = someone.open("/platform/policy")
    page.get_by_label("Only chosen ones").check()
    page.get_by_role("link", name="Choose tenants").press("Enter")
    page.get_by_role("searchbox").fill("institute 4711")
    page.keyboard.press("Enter")
    page.get_by_role("checkbox", name="Institute 4711").press("Space")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_contain_text("It counts once")
    page.get_by_role("link", name="Policy of the platform").press("Enter")
    page.get_by_label("Only chosen ones").check()
    expect(page.get_by_text("5 tenants are chosen: Institute 3")).to_be_visible()
    page.get_by_role("button", name="Save").press("Enter")
    expect(page.get_by_role("status")).to_contain_text("It holds for pages at once")
    page = someone.open("/platform/tenants?show=chosen")
    expect(page.get_by_text("In force now: 5 tenants may")).to_be_visible()
    page.get_by_role("checkbox", name="Institute 4711").press("Space")
    page.get_by_role("button", name="Save").press("Enter")
    expect(page.get_by_text("In force now: 4 tenants may")).to_be_visible()
    assert "t4711" not in (thin.in_force().allowed_tenants or ())
    assert someone.complaints == []
