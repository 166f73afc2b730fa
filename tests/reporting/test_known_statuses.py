"""What can be known: one table, and a page and hooks that claim no more than it."""

from __future__ import annotations

from html import unescape

import pytest

from own_smtp.hooks.events import Knowledge
from own_smtp.relays import project_routes
from own_smtp.reporting import reports
from own_smtp.reporting.known_statuses import (
    BOUNCED_HARD,
    KNOWLEDGE,
    OPENED,
    STATUSES,
    TABLE,
    WAYS,
    RouteKnowledge,
    known_statuses,
)
from own_smtp.states import Route, State
from own_smtp.storage.models import Invitation
from tests.stored_totals import count_anew
from tests.web.drafts import add_relay
from tests.web.everything import fill_outbox


@pytest.mark.parametrize("way", list(RouteKnowledge))
def test_every_status_has_a_reason_on_every_way(way):
    """No cell of the table is empty, each of our states is reported, and each status has a label."""
    assert set(TABLE[way]) == set(STATUSES)
    assert set(WAYS) == set(RouteKnowledge)
    assert set(KNOWLEDGE) == set(Knowledge)
    for status, cell in TABLE[way].items():
        assert str(cell.reason).endswith(".")
        assert (cell.knowledge is Knowledge.REPORTED) == (status in set(State))


def test_what_an_own_server_hides_no_host_can_count():
    """A host that counts opened mails and bounces is asked for opened ones only where the tenant's own server sends."""
    rows = {(row.route, row.status): row for row in known_statuses({RouteKnowledge.RELAY}, [OPENED, BOUNCED_HARD])}
    assert rows["relay", OPENED].knowledge is Knowledge.REPORTED
    assert rows["relay", BOUNCED_HARD].knowledge is Knowledge.ELSEWHERE
    assert rows["platform", BOUNCED_HARD].knowledge is Knowledge.REPORTED
    assert not rows["platform", OPENED].is_used
    assert Knowledge.COUNTED not in {row.knowledge for row in rows.values()}
    assert len(rows) == len(RouteKnowledge) * len(STATUSES)


def test_the_ways_are_those_that_the_project_takes(db_session, thin):
    """None before a server is chosen; then the server's; also the platform's if it may take over, or did."""
    relay = add_relay(db_session, thin, active=True)
    ways = lambda: reports.ways_of(db_session, "acme", "p1")  # noqa: E731 -- asked four times
    assert ways() == set()
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice")
    assert ways() == {RouteKnowledge.RELAY}
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice", fallback_after=3600)
    assert ways() == {RouteKnowledge.RELAY, RouteKnowledge.PLATFORM}
    project_routes.choose_route(db_session, "acme", "p1", None, user_id="alice")
    assert ways() == set()
    batch = fill_outbox(db_session, relay)
    assert ways() == {RouteKnowledge.RELAY}
    db_session.query(Invitation).filter_by(batch_id=batch.id, state=State.ACCEPTED).update({"route": Route.PLATFORM})
    count_anew(db_session)
    assert ways() == {RouteKnowledge.RELAY, RouteKnowledge.PLATFORM}


def test_the_page_shows_the_table(web, thin, db_session):
    """The report links to it; it has each reason, and marks the project's route."""
    fill_outbox(db_session, add_relay(db_session, thin, active=True))
    assert 'href="/own-smtp/projects/p1/known"' in web.get("/own-smtp/projects/p1/report").text
    page = unescape(web.get("/own-smtp/projects/p1/known").text)
    assert page.count("used by this project") == 1
    for cells in TABLE.values():
        for cell in cells.values():
            assert str(cell.reason) in page
    assert web.get("/own-smtp/projects/q1/known").status_code == 404
