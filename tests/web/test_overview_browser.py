"""The first page and the administrators' pages in Chromium: with many servers, with few permissions, and checked by
axe.
"""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from own_smtp.hooks.events import Action, Person, Project, Tenant
from own_smtp.relays import project_routes
from own_smtp.storage.models import Relay
from tests.web.app import MALLORY
from tests.web.drafts import add_relay

pytestmark = pytest.mark.browser


@pytest.fixture
def many(db_session, thin) -> list[Relay]:
    """The maximum number of servers of a tenant, and many projects."""
    thin.host.surveys = [Project(project_id=str(n), tenant_id="acme", title=f"Wave {n:03}") for n in range(80)]
    return [add_relay(db_session, thin, label=f"Server {number:03}", active=number % 9 != 0) for number in range(200)]


def test_one_of_two_hundred_servers_is_found_by_keyboard(person, many):
    """By typing and Enter, and by pages, on a desktop and a telephone, without findings of axe."""
    page = person.open("/")
    page.get_by_role("searchbox", name="Find servers and projects").focus()
    page.keyboard.type("ver 123")
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Server 123")).to_be_visible()
    expect(page.get_by_role("link", name="Server 12")).to_have_count(1)
    page = person.open("/")
    page.get_by_role("navigation", name="Pages of servers").get_by_role("link", name="Next").click()
    expect(page.get_by_text("Page 2 of 8")).to_be_visible()
    page.get_by_role("link", name="Not confirmed (23)").click()
    expect(page.locator("#servers")).to_be_visible()
    assert "page=1" in page.url
    assert person.violations() == ""
    telephone = person.with_options(viewport={"width": 360, "height": 740}, locale="de")
    telephone.open("/?q=Server")
    assert telephone.overflow() == 0
    assert telephone.violations() == ""


def test_a_project_chooses_one_of_two_hundred(person, many, db_session):
    """Many servers are collapsed, expanded by keyboard, and the chosen one is first afterwards."""
    page = person.open("/projects/7/settings")
    page.get_by_text("Further servers (192)").focus()
    page.keyboard.press("Enter")
    page.get_by_label("Server 150").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("In force now: invitations leave through “Server 150”.")).to_be_visible()
    expect(page.locator(".own-smtp-choice").filter(has_text="Server 150")).to_be_visible()
    assert person.violations() == ""
    telephone = person.with_options(viewport={"width": 360, "height": 740})
    telephone.open("/projects/7/settings").locator("summary").filter(has_text="Further").click()
    assert telephone.overflow() == 0


def test_who_may_only_look(person, thin, db_session):
    """Forbidden acts are not offered; an attempt shows the reason; and the error page is a page."""
    relay = add_relay(db_session, thin, active=True)
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice")
    db_session.commit()
    thin.host.allowed = {Action.VIEW}
    for address in ("/", f"/servers/{relay.id}", "/projects/p1/settings", "/projects/p1/report"):
        page = person.open(address)
        expect(page.locator("main button:enabled")).to_have_count(0)
        assert person.violations() == "", address
    for address in ("/servers/new", f"/servers/{relay.id}/suggestions", "/audit", "/platform/policy"):
        page = person.open(address)
        expect(page.get_by_role("heading", name="Not for you")).to_be_visible()
    assert person.violations() == ""


def test_an_administrator_admits_one_tenant(person, thin, db_session):
    """Selected by name; the other tenant sees the exclusion at once, and so does the log."""
    thin.host.tenants = {
        "acme": Tenant(tenant_id="acme", name="Acme Research"),
        "evil": Tenant(tenant_id="evil", name="Evil Ltd"),
    }
    page = person.open("/")
    page.get_by_role("link", name="Policy: who may use").click()
    expect(page.get_by_label("Evil Ltd")).to_be_hidden()
    page.get_by_label("Only chosen ones").check()
    page.get_by_label("Evil Ltd").check()
    page.get_by_label("Mail servers per tenant").fill("0")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("A number from 1 to 10000")
    assert person.violations() == ""
    page.get_by_label("Mail servers per tenant").fill("5")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved. It holds for pages at once")).to_be_visible()
    expect(page.get_by_text("Tenants that may use own mail servers: all → Evil Ltd")).to_be_visible()
    assert person.violations() == ""
    expect(person.open("/").get_by_text("does not offer own mail servers to your account")).to_be_visible()
    assert person.violations() == ""
    thin.host.present = MALLORY
    expect(person.open("/").get_by_role("link", name="Add a mail server")).to_be_visible()


def test_a_server_is_suggested_and_then_used(person, thin, db_session):
    """For one person, by name; preselected on the project's page, and used only once it is saved."""
    thin.host.staff = [Person(user_id="alice", name="Alice"), Person(user_id="bob", name="Bob Builder")]
    relay = add_relay(db_session, thin, active=True)
    page = person.open(f"/servers/{relay.id}")
    page.get_by_role("link", name="Choose for whom it is suggested").click()
    page.get_by_label("Alice").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("definition").filter(has_text="Alice")).to_be_visible()
    page = person.open("/projects/p1/settings")
    expect(page.get_by_label("Company mail")).to_be_checked()
    expect(page.get_by_text("In force now: invitations leave by the platform's mail.")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("In force now: invitations leave through “Company mail”.")).to_be_visible()
