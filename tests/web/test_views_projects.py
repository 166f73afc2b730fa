"""The pages of a project: the route, and the report."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from own_smtp.hooks.events import Action, Project
from own_smtp.relays import lifecycle, project_routes
from own_smtp.states import PauseReason, Route, State
from own_smtp.storage.models import Attempt, AuditEntry, Batch, Invitation, Lease, PolicyValue, ProjectRoute, Relay
from tests.stored_totals import count_anew
from tests.web.drafts import add_relay

SETTINGS, REPORT = "/own-smtp/projects/p1/settings", "/own-smtp/projects/p1/report"


@pytest.fixture
def relay(db_session, thin) -> Relay:
    return add_relay(db_session, thin, active=True, sender_name="Acme Surveys")


def _send(session, relay, **states: int) -> Batch:
    """Add so many invitations in each state."""
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
    for state, number in states.items():
        for count in range(number):
            invitation = Invitation(
                batch_id=batch.id, reference=f"{state}{count}", address=f"{state}{count}@x.example", state=state
            )
            session.add(invitation)
            session.flush()
            if state == State.REFUSED:
                session.add(_refusal(invitation, relay))
    count_anew(session)
    session.commit()
    return batch


def _refusal(invitation, relay):
    return Attempt(
        invitation_id=invitation.id,
        relay_id=relay.id,
        at=datetime(2026, 1, 1, tzinfo=UTC),
        state=State.REFUSED,
        stage="rcpt",
        code=550,
        enhanced="5.1.1",
        text="User unknown",
    )


def test_switching_a_project_on_and_off(web, relay, db_session):
    """The choice takes effect, names the person, and is in the log."""
    page = web.post(SETTINGS, data={"route": str(relay.id)}, follow_redirects=True).text
    assert "In force now: invitations leave through “Company mail”." in page
    assert "Chosen by Alice" in page
    web.post(SETTINGS, data={"route": "platform"})
    assert db_session.query(ProjectRoute).one().relay_id is None
    assert [entry.details for entry in db_session.query(AuditEntry).filter_by(project_id="p1")] == [
        {"relay": [None, relay.id]},
        {"relay": [relay.id, None]},
    ]


def test_each_choice_shows_what_recipients_will_see(web, relay):
    """Each choice has From, Reply-To and server beside it."""
    page = web.get(SETTINGS).text
    for words in ("Acme Surveys &lt;surveys@acme.example&gt;", "mail.acme.example", "surveys@platform.example"):
        assert words in page


def test_who_may_not_choose_still_sees_what_is_in_force(web, relay, thin):
    """Without the permission the page shows the choice, and offers no button."""
    thin.host.allowed = {Action.VIEW}
    page = web.get(SETTINGS).text
    assert "does not allow changing this" in page
    assert "<button" not in page


def test_ids_of_projects_are_the_hosts(web, thin):
    """A project's id may contain any character that a host uses, including slashes."""
    thin.host.surveys.append(Project(project_id="2026/a b&c", tenant_id="acme", title="Odd"))
    assert 'href="/own-smtp/projects/2026/a%20b&amp;c/settings"' not in web.get("/own-smtp/").text
    assert "Odd" in web.get("/own-smtp/projects/2026/a%20b&c/settings").text


def test_an_empty_report_says_what_will_be_there(web):
    """Before the first send the report explains itself."""
    page = web.get(REPORT).text
    assert "Nothing was sent through your server yet." in page
    assert "whom it refused and why" in page


def test_the_report_counts_and_explains(web, relay, db_session):
    """Counts by state, refusals with the server's reply, and why delivered and bounced are not known."""
    _send(db_session, relay, accepted=5, refused=2, unknown=1)
    page = web.get(REPORT).text
    for words in (
        "8 invitations: 5 accepted by your server, 2 refused, 1 unknown.",
        "550 5.1.1 User unknown",
        "refused1@x.example",
        "not known",
        "does not report back to this platform whether it arrived",
    ):
        assert words in page
    assert "accepted0@x.example" not in page


def test_the_report_says_what_is_waited_for(web, relay, thin, db_session):
    """A missing queue and a paused server are both shown, with a link to the reason."""
    _send(db_session, relay, queued=3)
    thin.queue_works = False
    lifecycle.pause(db_session, relay.id, PauseReason.QUOTA, "452 enough", None)
    db_session.commit()
    page = web.get(REPORT).text
    assert "queue (Redis) takes no work" in page
    assert "“Company mail” is paused since" in page


def test_the_report_reckons_with_the_ceiling_in_force(web, relay, db_session):
    """The administrators' maximum affects the forecast at once."""
    _send(db_session, relay, queued=3)
    assert "done by about" not in web.get(REPORT).text
    value = PolicyValue(
        name="ceiling_per_second", value=0.5, changed_by="alice", changed_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    db_session.add(value)
    db_session.commit()
    assert "done by about" in web.get(REPORT).text


def test_a_queue_is_only_asked_when_something_waits(web, relay, thin, db_session):
    """A report of a finished batch needs no Redis."""
    thin.queue_works = False
    _send(db_session, relay, accepted=1)
    assert "does not answer" not in web.get(REPORT).text


def test_long_lists_come_in_pages(web, relay, db_session):
    """The refused are shown fifty at a time, each of them once."""
    _send(db_session, relay, refused=70)
    first = web.get(REPORT).text
    assert first.count("@x.example</th>") == 50
    more = first.partition("before=")[2].partition("#")[0]
    second = web.get(f"{REPORT}?before={more}").text
    assert second.count("@x.example</th>") == 20


def test_the_status_changes_with_the_counts(web, relay, db_session):
    """The page's script learns of the change."""
    before = web.get("/own-smtp/projects/p1/status").json
    _send(db_session, relay, queued=1)
    assert web.get("/own-smtp/projects/p1/status").json != before


def test_a_project_falls_back_only_if_it_was_set_to(web, relay, db_session):
    """The fallback is entered in hours, stored in seconds, shown in the page's first sentence, logged and removed
    again.
    """
    typed = {"route": str(relay.id), "falls_back": "y", "hours": "6"}
    page = web.post(SETTINGS, data=typed, follow_redirects=True).text
    assert "What it does not take within 6 hours is sent by the platform&#39;s mail." in page
    assert "replies still go to your own address" in page
    assert db_session.query(ProjectRoute).one().fallback_after == 6 * 3600
    web.post(SETTINGS, data={"route": str(relay.id), "hours": "6"})
    db_session.expire_all()
    assert db_session.query(ProjectRoute).one().fallback_after is None
    assert [entry.details for entry in db_session.query(AuditEntry).filter_by(project_id="p1")] == [
        {"relay": [None, relay.id], "fallback_after": [None, 21600]},
        {"fallback_after": [21600, None]},
    ]


def test_hours_out_of_range_are_refused_at_their_field(web, relay, db_session):
    """Zero hours or years are a typing error, and nothing is saved."""
    answer = web.post(SETTINGS, data={"route": str(relay.id), "falls_back": "y", "hours": "0"})
    assert answer.status_code == 422
    assert "A number from 1 to 720" in answer.text
    assert db_session.query(ProjectRoute).count() == 0


def test_the_report_says_what_the_platform_sent(web, relay, db_session):
    """Invitations sent by the platform are not counted as the server's."""
    batch = _send(db_session, relay, accepted=3)
    taken_over = db_session.query(Invitation).filter_by(batch_id=batch.id).limit(2).all()
    for invitation in taken_over:
        invitation.route = Route.PLATFORM
    count_anew(db_session)
    db_session.commit()
    assert "1 accepted by your server, 2 accepted by the platform&#39;s mail." in web.get(REPORT).text


@pytest.mark.parametrize(
    ("answer", "state", "moves"), [("keep", "queued", False), ("move", "queued", True), ("cancel", "cancelled", False)]
)
def test_switching_away_asks_what_becomes_of_what_waits(web, relay, db_session, thin, answer, state, moves):
    """Nothing changes before the answer; then waiting invitations stay, move, or are cancelled."""
    other = add_relay(db_session, thin, active=True, label="Other")
    web.post(SETTINGS, data={"route": str(relay.id)})
    batch = _send(db_session, relay, queued=2, accepted=1)
    typed = {"route": str(other.id), "falls_back": "y", "hours": "5"}
    page = web.post(SETTINGS, data=typed).text
    assert "2 invitations were sent before and still wait" in page
    assert 'name="hours" value="5"' in page
    db_session.expire_all()
    assert db_session.query(ProjectRoute).one().relay_id == relay.id

    web.post(SETTINGS, data={**typed, "waiting": f"move:{other.id}" if answer == "move" else answer})
    db_session.expire_all()
    assert db_session.query(ProjectRoute).one().relay_id == other.id
    assert {item.state for item in db_session.query(Invitation).where(Invitation.state != "accepted")} == {state}
    assert batch.relay_id == (other.id if moves else relay.id)


def test_changing_only_the_way_out_asks_nothing(web, relay, db_session):
    """The form asks nothing if the server stays the same."""
    web.post(SETTINGS, data={"route": str(relay.id)})
    _send(db_session, relay, queued=2)
    assert web.post(SETTINGS, data={"route": str(relay.id), "falls_back": "y", "hours": "5"}).status_code == 302


def test_the_question_complains_only_when_it_was_not_answered(web, relay, db_session):
    """There is no error at the first question; a click without a choice is one."""
    web.post(SETTINGS, data={"route": str(relay.id)})
    _send(db_session, relay, queued=2)
    asked = web.post(SETTINGS, data={"route": "platform"})
    assert (asked.status_code, "Please choose one." in asked.text) == (200, False)
    pressed = web.post(SETTINGS, data={"route": "platform", "is_answered": "y"})
    assert (pressed.status_code, "Please choose one." in pressed.text) == (422, True)


def test_no_way_out_is_offered_where_there_is_none(web_app, web, relay, db_session):
    """A platform without its own mail server offers no fallback, accepts none, and shows none that was set before."""
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice", fallback_after=3600)
    db_session.commit()
    assert "is sent by the platform&#39;s mail" in web.get(SETTINGS).text
    web_app.config["MAIL_SERVER"] = None
    page = web.get(SETTINGS).text
    assert "is sent by the platform&#39;s mail" not in page
    assert "no mail of its own that could take over" in page
    assert 'name="falls_back"' not in page
    web.post(SETTINGS, data={"route": str(relay.id), "falls_back": "y", "hours": "5"})
    db_session.expire_all()
    assert db_session.query(ProjectRoute).one().fallback_after is None


def test_nothing_is_green_that_the_policy_holds_back(web, thin, relay, db_session):
    """Neither the server's page, nor the overview, nor the project's says of an excluded tenant's server that it is
    active.
    """
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice")
    db_session.commit()
    assert "text-bg-success" in web.get(f"/own-smtp/servers/{relay.id}").text
    thin.policy.change(db_session, {"allowed_tenants": frozenset({"evil"})}, user_id="root")
    db_session.commit()
    for address in (f"/servers/{relay.id}", "/", "/projects/p1/settings"):
        page = web.get(f"/own-smtp{address}").text
        assert ">Active<" not in page
        assert "Not offered at present" in page
    assert "This server may not send at the moment" in web.get(SETTINGS).text
    assert "Invitations of 1 project wait" in web.get("/own-smtp/").text


def test_nothing_is_green_that_fails(web, relay, db_session):
    """A server without a usable connection is shown as failing on every page with its state."""
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice")
    db_session.add(Lease(relay_id=relay.id, failing_since=datetime(2026, 1, 1, tzinfo=UTC)))
    db_session.commit()
    for address in (f"/servers/{relay.id}", "/", "/projects/p1/settings", "/platform/servers"):
        page = web.get(f"/own-smtp{address}").text
        assert ">Active<" not in page
        assert ">Failing<" in page
