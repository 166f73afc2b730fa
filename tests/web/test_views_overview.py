"""The first page: current routes, possible routes, servers and projects, also when there are many."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from own_smtp.hooks.events import Action, Person, Project
from own_smtp.relays import lifecycle, project_routes, suggestions
from own_smtp.reporting.relay_lists import PAGE
from own_smtp.states import PauseReason
from own_smtp.storage.models import Lease
from tests.web.drafts import add_relay

URL = "/own-smtp/"
EARLY, LATE = datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2026, 1, 1, 9, tzinfo=UTC)


def _words(page: str) -> str:
    """Return the visible text of a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_the_page_says_what_is_in_force(web, db_session, thin):
    """One sentence, from the empty account to a project whose server may not send."""
    assert "In force now: all invitations leave by the platform" in web.get(URL).text
    relay = add_relay(db_session, thin, active=True)
    assert "A server is used only where a project chooses it." in web.get(URL).text
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice")
    db_session.commit()
    assert "In force now: 1 project sends through an own server" in web.get(URL).text
    assert "its server may not send" not in web.get(URL).text
    lifecycle.pause(db_session, relay.id, PauseReason.QUOTA, "550", None)
    db_session.commit()
    assert "Invitations of 1 project wait, because its server may not send." in web.get(URL).text


def test_each_way_shows_what_recipients_see(web, web_app, db_session, thin):
    """The cards have From, Reply-To and server of the platform's mail and of the default server."""
    web_app.config["MAIL_DEFAULT_SENDER"] = ("Survey House", "mail@surveys.example")
    add_relay(db_session, thin, label="Other", host="other.example", sender_address="other@acme.example")
    add_relay(db_session, thin, label="Main", sender_name="Acme", reply_to="office@acme.example", is_default=True)
    page = _words(web.get(URL).text)
    for words in (
        "From Survey House &lt;mail@surveys.example&gt;",
        "From Acme &lt;surveys@acme.example&gt; Replies to office@acme.example Server mail.acme.example",
        "As with “Main”, one of 2 servers.",
    ):
        assert words in page


@pytest.mark.parametrize("page", ["/own-smtp/", "/own-smtp/projects/p1/settings"])
def test_a_sender_beyond_ascii_is_shown_as_people_read_it(web, db_session, thin, page):
    """Neither an address that needs SMTPUTF8 nor a name with an umlaut is encoded on a page."""
    add_relay(db_session, thin, active=True, sender_name="Umfragen Süd", sender_address="pelé@south.example")
    assert "Umfragen Süd &lt;pelé@south.example&gt;" in web.get(page).text


def test_health_is_what_deliveries_say_and_state_what_people_say(web, db_session, thin):
    """An active server is healthy or failing; one that may not send is neither."""
    for label, success, error in (("Good", LATE, EARLY), ("Bad", EARLY, LATE), ("Stopped", EARLY, LATE)):
        relay = add_relay(db_session, thin, active=True, label=label)
        db_session.add(Lease(relay_id=relay.id, last_success_at=success, last_error_at=error, last_error="451 Later"))
        if label == "Stopped":
            lifecycle.pause(db_session, relay.id, PauseReason.PERSON, "", None, user_id="alice")
    add_relay(db_session, thin, active=True, label="Unused")
    db_session.commit()
    page = _words(web.get(URL).text)
    assert "Active Healthy" in page
    assert "Active Failing" not in page
    assert "Paused Paused since" in page
    assert "Somebody paused it." in page
    assert page.count("Healthy") == page.count("Failing") == 1
    assert "Last error: Jan 1, 2026, 9:00 AM 451 Later" in page.replace("\N{NARROW NO-BREAK SPACE}", " ")


def test_default_marks_have_names(web, db_session, thin):
    """Suggestions show the names of their people and projects."""
    thin.host.staff = [Person(user_id="bob", name="Bob Builder")]
    relay = add_relay(db_session, thin, is_default=True)
    choice = {"everybody": True, "users": ["bob"], "projects": ["p2"]}
    suggestions.choose_suggestions(db_session, relay, **choice, user_id="alice")
    db_session.commit()
    assert "Suggested for: all projects, Bob Builder, “Customer survey”" in _words(web.get(URL).text)


def test_two_hundred_servers_come_in_pages_and_are_found(web, thin, db_session):
    """A tenant at the platform's limit gets pages, finds a server by part of its name, and sees those that need
    attention.
    """
    for number in range(200):
        add_relay(db_session, thin, label=f"Server {number:03}", active=number != 7)
    lifecycle.pause(db_session, 50, PauseReason.QUOTA, "550", None)
    db_session.commit()
    first = web.get(URL).text
    assert first.count('class="card-title"><a') == PAGE
    assert "Page 1 of 8" in first
    assert "Needs attention (1)" in first
    assert "Not confirmed (1)" in first
    assert ">Server 199<" in web.get(f"{URL}?page=8").text
    found = web.get(f"{URL}?q=ver+04").text
    assert found.count('class="card-title"><a') == 10
    assert re.findall(r">(Server \d+)<", web.get(f"{URL}?show=attention").text) == ["Server 049"]
    assert re.findall(r">(Server \d+)<", web.get(f"{URL}?show=unconfirmed").text) == ["Server 007"]


def test_many_projects_come_in_pages(web, thin, db_session):
    """Projects are found by their titles, a page at a time."""
    add_relay(db_session, thin)
    thin.host.surveys = [Project(project_id=str(n), tenant_id="acme", title=f"Wave {n:02}") for n in range(60)]
    assert web.get(URL).text.count(">Wave ") == PAGE
    assert ">Wave 59<" in web.get(f"{URL}?projects=3").text
    assert web.get(f"{URL}?q=wave+5").text.count(">Wave 5") == 10


def test_an_address_means_what_it_can_mean(web, thin, db_session):
    """Nonsense in the address causes no error, and never becomes part of a link."""
    add_relay(db_session, thin)
    for nonsense in ("page=0", "page=-3", "page=x", "show=x", "projects=99999999", "q=%25&_external=1&endpoint=x"):
        page = web.get(f"{URL}?{nonsense}")
        assert page.status_code == 200
        assert "http" not in page.text


def test_who_may_only_look_is_offered_nothing_else(web, thin, db_session):
    """Without the permissions there is no button to add, no log and no policy."""
    add_relay(db_session, thin)
    thin.host.allowed = {Action.VIEW}
    page = web.get(URL).text
    for words in ("Add a mail server", "Who changed what", "Policy"):
        assert words not in page
