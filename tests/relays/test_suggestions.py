"""Suggested servers, and their preselection."""

from __future__ import annotations

import re

import pytest

from own_smtp.hooks.events import Person
from own_smtp.operations import erasure
from own_smtp.relays import edits, suggestions
from own_smtp.relays import project_routes as projects
from own_smtp.storage.models import AuditEntry, Relay, Suggestion
from tests.web.app import MALLORY
from tests.web.drafts import add_relay

SETTINGS = "/own-smtp/projects/p1/settings"


@pytest.fixture
def servers(db_session, thin) -> dict[str, Relay]:
    """One server suggested for a project, one for a person, one for the whole tenant."""
    thin.host.staff = [Person(user_id="alice", name="Alice"), Person(user_id="bob", name="Bob Builder")]
    made = {name: add_relay(db_session, thin, active=True, label=name) for name in ("project", "person", "tenant")}
    choose(db_session, made["project"], projects=["p1"])
    choose(db_session, made["person"], users=["alice"])
    choose(db_session, made["tenant"], everybody=True)
    return made


def choose(session, relay, *, everybody=False, users=(), projects=()):
    changed = suggestions.choose_suggestions(
        session, relay, everybody=everybody, users=users, projects=projects, user_id="alice"
    )
    session.commit()
    return changed


def suggested(session, user_id="alice", tenant_id="acme"):
    relay = suggestions.suggested(session, tenant_id, "p1", user_id)
    return relay.label if relay else None


def test_project_then_person_then_tenant(servers, db_session):
    """The most specific suggestion counts, and each falls back to the next."""
    assert suggested(db_session) == "project"
    choose(db_session, servers["project"])
    assert suggested(db_session) == "person"
    assert suggested(db_session, "bob") == "tenant"
    choose(db_session, servers["person"])
    choose(db_session, servers["tenant"])
    assert suggested(db_session) is None


def test_only_confirmed_servers_are_suggested(servers, db_session):
    """An unconfirmed one is skipped, because a preselected server must work."""
    servers["project"].state = "unconfirmed"
    db_session.commit()
    assert suggested(db_session) == "person"


def test_each_has_one_suggestion(servers, db_session):
    """A person, a project and the tenant move from their previous server."""
    choose(db_session, servers["tenant"], users=["alice"], projects=["p1"])
    assert suggested(db_session) == "tenant"
    assert {row.relay_id for row in db_session.query(Suggestion)} == {servers["tenant"].id}
    choose(db_session, servers["person"], everybody=True)
    db_session.expire_all()
    assert [relay.label for relay in db_session.query(Relay).filter_by(is_default=True)] == ["person"]


def test_the_project_page_preselects_only(web, servers, db_session):
    """The suggestion is preselected and labelled as such; the platform still sends."""
    page = web.get(SETTINGS).text
    assert "“project” is suggested here" in page
    assert "In force now: invitations leave by the platform" in page
    assert re.findall(r'checked [^>]*name="route"[^>]* value="(\w+)"', page) == [str(servers["project"].id)]
    assert projects.find_route(db_session, "acme", "p1") is None


def test_a_choice_that_was_made_is_not_overruled(web, servers, db_session):
    """A project that has chosen the platform gets no suggestion any more."""
    web.post(SETTINGS, data={"route": str(servers["tenant"].id)})
    web.post(SETTINGS, data={"route": "platform"})
    page = web.get(SETTINGS).text
    assert "is suggested here" not in page
    assert re.findall(r'checked [^>]*name="route"[^>]* value="(\w+)"', page) == ["platform"]


def test_the_form_offers_people_and_projects_by_name(web, servers, thin, db_session):
    """After saving, the server's page and the log show the names."""
    url = f"/own-smtp/servers/{servers['tenant'].id}/suggestions"
    page = web.get(url).text
    for words in ("Bob Builder", "Customer survey"):
        assert words in page
    assert "Not yours" not in page
    web.post(url, data={"users": ["bob"], "projects": ["p2"]})
    shown = web.get(f"/own-smtp/servers/{servers['tenant'].id}").text
    assert "Bob Builder, “Customer survey”" in shown
    log = web.get("/own-smtp/audit").text
    for words in (
        "Suggested for people: Bob Builder",
        "Suggested for projects: Customer survey",
        "all projects: yes → no",
    ):
        assert words in log


def test_other_ids_are_refused(web, servers, db_session):
    """Ids that were not offered are refused."""
    url = f"/own-smtp/servers/{servers['tenant'].id}/suggestions"
    for data in ({"users": ["mallory"]}, {"projects": ["q1"]}):
        assert web.post(url, data=data).status_code == 422


def test_former_people_stay_listed_until_deselected(web, servers, thin):
    """A person that the host no longer lists can still be removed."""
    thin.host.staff, thin.host.former = [], {"alice": "Alice", "bob": "Bob (left)"}
    url = f"/own-smtp/servers/{servers['tenant'].id}/suggestions"
    thin.host.staff = [Person(user_id="bob", name="Bob")]
    web.post(url, data={"users": ["bob"]})
    thin.host.staff = []
    assert "Bob (left)" in web.get(url).text


def test_no_change_writes_no_entry(servers, db_session):
    """Saving the same again adds no audit entry."""
    before = db_session.query(AuditEntry).count()
    assert not choose(db_session, servers["project"], projects=["p1"])
    assert db_session.query(AuditEntry).count() == before


def test_deletions_remove_suggestions(servers, db_session):
    """A deleted server, project or tenant leaves no suggestion behind."""
    edits.delete(db_session, servers["person"], user_id="alice")
    erasure.erase_records(db_session.connection(), "acme", "p1")
    db_session.commit()
    assert db_session.query(Suggestion).count() == 0
    choose(db_session, servers["tenant"], users=["bob"])
    erasure.erase_records(db_session.connection(), "acme", None)
    assert db_session.query(Suggestion).count() == 0


def test_other_tenants_are_not_affected(servers, db_session, thin):
    """The same ids in another tenant are other people and projects."""
    assert suggested(db_session, tenant_id=MALLORY.tenant_id) is None


def test_two_hundred_servers_fit_on_a_projects_page(web, servers, thin, db_session):
    """Chosen and suggested servers are cards at the top; the others are in a list that can be opened."""
    for number in range(197):
        add_relay(db_session, thin, label=f"Server {number:03}", active=True)
    page = web.get(SETTINGS).text
    front, _, rest = page.partition("<summary>Further servers (")
    assert 'value="1"' in front
    assert front.count('type="radio"') == 9
    assert rest.count('type="radio"') == 192
    web.post(SETTINGS, data={"route": "150"})
    assert re.search(r'checked [^>]*value="150"', web.get(SETTINGS).text.partition("<summary>Further servers (")[0])
