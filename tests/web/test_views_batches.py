"""The page of one batch."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html import unescape

import pytest

from own_smtp.hooks.events import Action
from own_smtp.reporting import reports
from own_smtp.states import BatchState, Route, State
from own_smtp.storage.models import AuditEntry, Batch, Invitation, Relay
from tests.stored_totals import count_anew
from tests.web.drafts import add_relay
from tests.web.everything import fill_outbox


@pytest.fixture
def relay(db_session, thin) -> Relay:
    return add_relay(db_session, thin, active=True)


@pytest.fixture
def batch(db_session, relay) -> Batch:
    """One invitation in each state, and two refused ones; open, and without an end."""
    batch = fill_outbox(db_session, relay)
    batch.state, batch.expires_at = BatchState.OPEN, None
    db_session.commit()
    return batch


@pytest.fixture
def url(batch) -> str:
    return f"/own-smtp/projects/p1/batches/{batch.id}"


def _states(session, batch):
    session.expire_all()
    return sorted(item.state for item in session.query(Invitation).filter_by(batch_id=batch.id))


def test_a_sending_is_paused_and_goes_on(web, db_session, thin, batch, url):
    """The page says so, offers to resume, enqueues a drain and logs the person."""
    assert "This sending is paused" in web.post(f"{url}/pause", follow_redirects=True).text
    assert "Paused" in web.get("/own-smtp/projects/p1/report").text
    db_session.expire_all()
    assert batch.state == BatchState.PAUSED
    web.post(f"{url}/resume")
    db_session.expire_all()
    assert batch.state == BatchState.OPEN
    assert thin.woken == [batch.relay_id] * 2
    actions = [(entry.action, entry.user_id) for entry in db_session.query(AuditEntry).filter_by(project_id="p1")]
    assert actions == [("batch_paused", "alice"), ("batch_resumed", "alice")]


def test_what_waits_in_a_sending_is_cancelled(web, db_session, batch, url):
    """Messages on the wire are left alone, and the number is in the log."""
    assert "This sending was cancelled" in web.post(f"{url}/cancel", follow_redirects=True).text
    assert _states(db_session, batch).count(State.CANCELLED) == 2
    assert _states(db_session, batch).count(State.SENDING) == 1
    assert db_session.query(AuditEntry).filter_by(action="batch_cancelled").one().details["invitations"] == [None, 1]


def test_what_cannot_be_done_says_why(web, url):
    """A batch that is not paused cannot be resumed."""
    answer = web.post(f"{url}/resume")
    assert answer.status_code == 409
    assert "not paused" in answer.text


def test_what_was_refused_is_sent_again(web, db_session, batch, url):
    """Only the selected states are queued again."""
    page = web.post(f"{url}/retry", data={"states": ["refused"]}, follow_redirects=True).text
    assert "2 invitations are sent again." in page
    states = _states(db_session, batch)
    assert (states.count(State.QUEUED), states.count(State.REFUSED), states.count(State.FAILED)) == (3, 0, 1)


def test_unknown_ones_are_sent_again_only_by_who_knows_the_risk(web, db_session, batch, url):
    """The person must first accept that a copy may arrive."""
    assert "may have arrived already" in web.get(url).text
    answer = web.post(f"{url}/retry", data={"states": ["unknown"]})
    assert answer.status_code == 422
    assert "Please confirm this" in answer.text
    assert State.UNKNOWN in _states(db_session, batch)
    web.post(f"{url}/retry", data={"states": ["unknown"], "copies": "y"})
    assert State.UNKNOWN not in _states(db_session, batch)


@pytest.mark.parametrize("state", ["accepted", "queued", "anything", ""])
def test_what_was_accepted_is_never_sent_again(web, db_session, batch, url, state):
    """A forged selection has no effect."""
    assert web.post(f"{url}/retry", data={"states": [state]}).status_code == 422
    assert _states(db_session, batch).count(State.QUEUED) == 1


def test_a_sending_belongs_to_its_project(web, url):
    """Under another project of the same tenant it is not found."""
    assert web.get(url.replace("p1", "p2")).status_code == 404


def test_who_may_only_look_gets_no_buttons(web, thin, url):
    """Without the permission the page shows the numbers alone."""
    thin.host.allowed = {Action.VIEW}
    page = web.get(url).text
    assert "Refused by your server" in page
    assert "<button" not in page


def test_what_the_platform_took_over_is_counted_by_its_route(web, thin, db_session):
    """Headline, table, report, log and files: mails sent by the platform never count as the server's."""
    relay = add_relay(db_session, thin, active=True)
    batch = fill_outbox(db_session, relay)
    batch.fallback_at = datetime(2026, 1, 1, tzinfo=UTC)
    for number, (state, route) in enumerate(
        [(State.ACCEPTED, Route.PLATFORM), (State.ACCEPTED, Route.PLATFORM), (State.REFUSED, Route.PLATFORM)]
    ):
        item = Invitation(
            batch_id=batch.id, reference=f"p{number}", address="kim@example.org", state=state, route=route
        )
        db_session.add(item)
    db_session.commit()
    count_anew(db_session)
    db_session.commit()
    said = "1 accepted by your server, 2 accepted by the platform's mail, 1 refused by the platform's mail, 2 refused,"
    own, platform = "Accepted by your server</span>", "Accepted by the platform's mail</span>"
    for address in (f"/projects/p1/batches/{batch.id}", "/projects/p1/report"):
        page = unescape(web.get(f"/own-smtp{address}").text)
        assert said in page
        assert [_number_behind(page, label) for label in (own, platform)] == ["1", "2"]
    page = unescape(web.get("/own-smtp/projects/p1/log").text)
    assert (page.count(own), page.count(platform)) == (2, 2)  # one with its attempt
    table = web.get("/own-smtp/projects/p1/log/invitations.csv").text
    assert (table.count("Accepted by the platform's mail"), table.count("Refused by the platform's mail")) == (2, 1)
    columns = reports.report_columns()
    assert [column.label for column in columns if column.key in {"accepted", "refused"}] == [
        "Accepted by the server",
        "Refused by the server",
    ]


def _number_behind(page: str, label: str) -> str:
    return re.search(r'own-smtp-number">(\d+)<', page[page.index(label) :])[1]
