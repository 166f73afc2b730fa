"""The pages of mail servers, used without scripts."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta

import pytest

from own_smtp.relays import confirmations, lifecycle, store
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason, RelayState, State
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import AuditEntry, Batch, Confirmation, Invitation, Lease, Relay
from tests.stored_totals import count_anew
from tests.web.drafts import ACCEPTED, TYPED, add_relay, send_mail
from tests.web.everything import pages_in_all_states


@pytest.fixture
def relay(db_session, thin) -> Relay:
    return add_relay(db_session, thin, active=True)


def _wait(session, relay, number=1):
    batch = Batch(
        tenant_id=relay.tenant_id,
        project_id="p1",
        relay_id=relay.id,
        kind="invitation",
        message_key="k",
        message_domain="acme.example",
        expires_at=relay.created_at,
    )
    session.add(batch)
    session.flush()
    session.add_all(Invitation(batch_id=batch.id, reference=str(n), address="x@y.example") for n in range(number))
    count_anew(session)
    session.commit()


def test_an_empty_page_says_what_this_is_for(web):
    """The first page explains the feature, its drawbacks and its requirements."""
    page = web.get("/own-smtp/").text
    for words in ("your own mail server", "are not known here", "You need the name of the server", "Add a mail server"):
        assert words in page


def test_saving_asks_for_a_confirmation_mail(web, thin, db_session):
    """A saved server is unconfirmed, and its mail is enqueued after the commit."""
    answer = web.post("/own-smtp/servers/new", data=TYPED, follow_redirects=True)
    assert "Not active" in answer.text
    assert "surveys@acme.example is on its way" in answer.text
    assert thin.jobs == [("send_confirmation", db_session.query(Confirmation).one().id)]
    assert db_session.query(Relay).one().state == RelayState.UNCONFIRMED


def test_without_a_queue_the_page_says_that_the_mail_waits(web, thin):
    """Without Redis the server is saved nevertheless, and the page says when the mail will be sent."""
    thin.queue_works = False
    answer = web.post("/own-smtp/servers/new", data=TYPED, follow_redirects=True)
    assert answer.status_code == 200
    assert "queue takes no work" in answer.text


def test_the_page_turns_green(web, thin, db_session):
    """The status for the page's script changes with each step, and the page shows the current state."""
    web.post("/own-smtp/servers/new", data=TYPED)
    relay, token, versions = db_session.query(Relay).one(), new_token(), []
    for step in (
        lambda: None,
        lambda: send_mail(db_session, relay, token),
        lambda: web.post(f"/own-smtp/confirm/{token}"),
    ):
        step()
        versions.append(web.get(f"/own-smtp/servers/{relay.id}/status").json["version"])
    assert len(set(versions)) == 3
    assert "alert-success" in web.get(f"/own-smtp/servers/{relay.id}").text


def test_a_click_on_the_link_notifies_the_host_and_enqueues_a_drain(web, thin, db_session):
    """After the commit the host is notified of the activation, and waiting invitations are sent."""
    web.post("/own-smtp/servers/new", data=TYPED)
    relay, token = db_session.query(Relay).one(), new_token()
    send_mail(db_session, relay, token)
    thin.host.present = None
    assert "Yes, this server may send" in web.get(f"/own-smtp/confirm/{token}").text
    assert thin.host.changes == []
    assert "Confirmed" in web.post(f"/own-smtp/confirm/{token}").text
    [change] = thin.host.changes
    assert (change.state, change.tenant_id, thin.woken) == ("active", "acme", [relay.id])
    assert web.post(f"/own-smtp/confirm/{token}").status_code == 410


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (
            Outcome(
                state=State.QUEUED,
                stage=Stage.AUTH,
                reply=Reply(code=535, text="5.7.8 no"),
                pause=PauseReason.CREDENTIALS,
            ),
            ["refuses the user name or the password", "535", "#password"],
        ),
        (
            Outcome(state=State.QUEUED, stage=Stage.TLS, text="bad name", pause=PauseReason.CERTIFICATE),
            ["certificate cannot be trusted", "bad name", "#host"],
        ),
        (
            Outcome(state=State.QUEUED, stage=Stage.CONNECT, text="x"),
            ["This server cannot be reached from here.", "#host", "tried again on"],
        ),
        (
            Outcome(state=State.QUEUED, stage=Stage.RCPT, reply=Reply(code=450, text="Greylisted")),
            ["Greylisted", "tried again on"],
        ),
        (Outcome(state=State.UNKNOWN, stage=Stage.MESSAGE, text="lost"), ["may have arrived"]),
    ],
    ids=lambda value: value.stage if isinstance(value, Outcome) else "",
)
def test_a_failed_mail_is_explained(web, thin, db_session, outcome, words):
    """The cause in plain words, the field to check, and the server's reply."""
    web.post("/own-smtp/servers/new", data=TYPED)
    relay = db_session.query(Relay).one()
    send_mail(db_session, relay, new_token(), outcome)
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    assert [word for word in words if word not in page] == []


def test_sending_again_has_a_cooldown(web, thin, db_session):
    """A second click within a minute sends nothing more."""
    web.post("/own-smtp/servers/new", data=TYPED)
    relay = db_session.query(Relay).one()
    answer = web.post(f"/own-smtp/servers/{relay.id}/confirmation", follow_redirects=True)
    assert "Please wait a moment" in answer.text
    assert len(thin.jobs) == 1


def test_a_confirmed_server_gets_no_further_mail(web, relay, thin):
    """A click on "send again" on an old page says that it is confirmed."""
    assert web.post(f"/own-smtp/servers/{relay.id}/confirmation").status_code == 409
    assert thin.jobs == []


def test_changing_the_server_locks_it_and_needs_the_password(web, relay, thin, db_session):
    """Without the password the form returns; with it the server is unconfirmed again, and a mail is requested."""
    moved = {**TYPED, "host": "other.example"}
    without = web.post(f"/own-smtp/servers/{relay.id}/edit", data={**moved, "password": ""})
    assert without.status_code == 422
    assert "Type the password again" in without.text
    assert web.post(f"/own-smtp/servers/{relay.id}/edit", data=moved).status_code == 302
    db_session.expire_all()
    assert (relay.state, relay.host) == (RelayState.UNCONFIRMED, "other.example")
    assert [job for job, _number in thin.jobs] == ["send_confirmation"]
    assert [change.state for change in thin.host.changes] == ["unconfirmed"]


def test_changing_the_label_keeps_it_active(web, relay, thin, db_session):
    """An empty password field keeps the stored one, and a new label needs no link."""
    web.post(
        f"/own-smtp/servers/{relay.id}/edit", data={**TYPED, "label": "New name", "password": "", "sender_name": ""}
    )
    db_session.expire_all()
    assert (relay.state, relay.label, thin.jobs) == (RelayState.ACTIVE, "New name", [])
    assert store.load_profile(db_session.connection(), relay.id, thin.vault).credentials is not None


def test_pausing_and_resuming(web, relay, thin, db_session):
    """A person pauses and resumes the server; the host is notified of both, once each."""
    for press in ("pause", "pause", "resume"):
        web.post(f"/own-smtp/servers/{relay.id}/{press}")
    db_session.expire_all()
    assert relay.state == RelayState.ACTIVE
    assert [change.state for change in thin.host.changes] == ["paused", "active"]


@pytest.mark.parametrize(("query", "accepted"), [("", None), ("?refusals=accept", "550 5.7.1 Not today")])
def test_a_server_that_refuses_everything_asks_what_it_is_about(web, relay, thin, db_session, query, accepted):
    """The page shows its reply and two choices: try again, or let the recipients be refused. The host is notified."""
    lifecycle.pause(db_session, relay.id, PauseReason.REFUSES_ALL, "550 5.7.1 Not today", None)
    db_session.commit()
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    for words in ("550 5.7.1 Not today", "try again", "let them be refused", "refusals=accept"):
        assert words in page
    web.post(f"/own-smtp/servers/{relay.id}/resume{query}")
    db_session.expire_all()
    assert relay.state == RelayState.ACTIVE
    assert lifecycle.accepted_refusal(db_session.connection(), relay.id) == accepted
    assert [change.state for change in thin.host.changes] == ["active"]


def test_only_a_server_that_refuses_everything_offers_to_let_recipients_be_refused(web, relay, db_session):
    """Whatever a form sends: another reason for a pause does not offer it."""
    lifecycle.pause(db_session, relay.id, PauseReason.QUOTA, "550 enough", None)
    db_session.commit()
    assert "refusals=accept" not in web.get(f"/own-smtp/servers/{relay.id}").text
    web.post(f"/own-smtp/servers/{relay.id}/resume?refusals=accept")
    db_session.expire_all()
    assert relay.state == RelayState.PAUSED


def test_a_pause_by_the_server_is_explained(web, relay, db_session):
    """The page of a paused server says since when, why, and what to do."""
    lifecycle.pause(db_session, relay.id, PauseReason.CREDENTIALS, "535 5.7.8 Authentication failed", None)
    db_session.commit()
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    for words in (
        "Paused since",
        "refuses the user name or the password",
        "535 5.7.8 Authentication failed",
        "Nothing is lost",
    ):
        assert words in page


@pytest.mark.parametrize(
    ("reason", "text", "label"),
    [
        (PauseReason.CREDENTIALS, "535 5.7.8 Authentication failed", "The server's own words:"),
        (PauseReason.NO_AUTH, "550 5.7.1 Relay access denied", "The server's own words:"),
        (PauseReason.NO_AUTH, "The server offers neither PLAIN nor LOGIN.", "In technical words:"),
        (PauseReason.NO_TLS, "The server does not offer STARTTLS.", "In technical words:"),
        (PauseReason.CERTIFICATE, "self-signed certificate", "In technical words:"),
        (PauseReason.PERSON, "Maintenance until noon", None),
    ],
)
def test_words_are_a_servers_only_when_it_said_them(web, relay, db_session, reason, text, label):
    """The text of our own certificate check is labelled as ours, and a person's note stands alone."""
    lifecycle.pause(db_session, relay.id, reason, text, None)
    db_session.commit()
    page = html.unescape(web.get(f"/own-smtp/servers/{relay.id}").text)
    assert text in page
    labels = ("The server's own words:", "In technical words:")
    assert [words for words in labels if words in page] == ([label] if label else [])


def test_deleting_asks_first_and_says_what_follows(web, relay, db_session):
    """GET asks, POST deletes; the log keeps the person."""
    assert "Keep it" in web.get(f"/own-smtp/servers/{relay.id}/delete").text
    assert web.post(f"/own-smtp/servers/{relay.id}/delete").status_code == 302
    assert web.get(f"/own-smtp/servers/{relay.id}").status_code == 404
    assert db_session.query(AuditEntry).order_by(AuditEntry.id.desc()).first().action == "relay_deleted"


def test_a_server_that_may_not_send_says_so_where_invitations_could_move_to(web, thin, relay, db_session):
    """The page warns before the move that invitations would wait there."""
    _wait(db_session, relay, 1)
    for label, is_active in (("Ready", True), ("Stopped", True), ("Fresh", False)):
        other = add_relay(db_session, thin, label=label, active=is_active)
        if label == "Stopped":
            lifecycle.pause(db_session, other.id, PauseReason.PERSON, "", None)
    db_session.commit()
    page = web.get(f"/own-smtp/servers/{relay.id}/delete").text
    assert "“Ready”</bdi>" in page
    assert "“Stopped” (paused: they wait there)" in page
    assert "“Fresh” (not confirmed: they wait there)" in page


def test_a_server_is_not_deleted_before_a_person_said_what_becomes_of_what_waits(web, relay, db_session):
    """Without an answer nothing happens; the page shows the number of waiting invitations and the choices."""
    _wait(db_session, relay, 2)
    answer = web.post(f"/own-smtp/servers/{relay.id}/delete")
    assert answer.status_code == 422
    assert "2 invitations still wait for this server." in answer.text
    assert "Please choose one." in answer.text
    db_session.expire_all()
    assert relay.deleted_at is None


def test_what_waits_moves_before_its_server_is_deleted(web, relay, db_session, thin):
    """A drain is enqueued for the other server."""
    other = add_relay(db_session, thin, active=True, label="Other")
    _wait(db_session, relay, 2)
    web.post(f"/own-smtp/servers/{relay.id}/delete", data={"waiting": f"move:{other.id}"})
    db_session.expire_all()
    assert relay.deleted_at is not None
    assert db_session.query(Batch).one().relay_id == other.id
    assert other.id in thin.woken


def test_nothing_moves_to_another_tenants_server(web, relay, db_session, thin):
    """A forged selection has no effect."""
    foreign = add_relay(db_session, thin, tenant_id="evil", active=True)
    _wait(db_session, relay)
    assert web.post(f"/own-smtp/servers/{relay.id}/delete", data={"waiting": f"move:{foreign.id}"}).status_code == 422


def test_what_waits_is_cancelled_with_its_server(web, relay, db_session):
    """Cancelled invitations say so in the report."""
    _wait(db_session, relay, 2)
    page = web.post(f"/own-smtp/servers/{relay.id}/delete", data={"waiting": "cancel"}, follow_redirects=True).text
    assert "2 invitations were cancelled." in page
    assert {item.state for item in db_session.query(Invitation)} == {State.CANCELLED}


def test_an_expired_mail_can_be_asked_for_again(web, thin, db_session):
    """The page of a server whose link has expired says so and offers a new mail."""
    relay = add_relay(db_session, thin)
    [confirmation] = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    confirmation.created_at -= thin.settings.confirmation_lifetime
    confirmation.expires_at -= thin.settings.confirmation_lifetime
    db_session.commit()
    assert "no longer valid" in web.get(f"/own-smtp/servers/{relay.id}").text
    web.post(f"/own-smtp/servers/{relay.id}/confirmation")
    assert len(thin.jobs) == 1


def test_the_page_says_what_limits_mean_and_what_was_learned(web, relay, db_session):
    """Limits in words, the learned pace, since when it fails, and when the next message may be sent."""
    relay.min_interval, relay.jitter = 2.0, 0.5
    relay.sending_windows = [{"days": [0, 1], "start": "08:00", "end": "18:00"}]
    later, before = datetime(2999, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    pace = {"learned": 4.0, "seen": 0.5}
    lease = Lease(relay_id=relay.id, wake_at=later, failing_since=before, pace=pace, last_success_at=datetime.now(UTC))
    db_session.add(lease)
    db_session.commit()
    _wait(db_session, relay, 30)
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    for words in (
        "1 message every 2 s = 30 a minute, 1,800 an hour (up to 50 % more at random)",
        "one message every 4 s",
        "Lately about 30 a minute",
        "Mon, Tue 08:00",
        "Failing since Jan 1, 2026",
        "The next one may be sent on Jan 1, 2999",
    ):
        assert words in page
    assert "At this pace all are sent by" not in page, "nobody knows when it works again"
    lease.failing_since = None
    db_session.commit()
    assert "At this pace all are sent by" in web.get(f"/own-smtp/servers/{relay.id}").text


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        ({"learned": 4.0}, "one message every 4 s, because the server asked for it"),
        ({"learned": 4.0, "wait": 12.5}, "It is tried every 12.5 s with one message"),
        ({"wait": 0.5}, "The server takes nothing at the moment."),
        ({"per_connection": 5}, "5 messages on each connection: then the server ends it."),
        ({}, "the server does not ask for a slower one"),
    ],
)
def test_the_page_shows_the_servers_current_limits(web, relay, db_session, pace, words):
    """A server that accepts nothing is not shown as slow, and a limit per connection is not a rate."""
    db_session.add(Lease(relay_id=relay.id, pace=pace))
    db_session.commit()
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    assert words in page
    assert ("does not ask" in page) == (not pace.get("learned") and not pace.get("wait"))


def test_what_was_typed_as_windows_comes_back(web, relay, db_session):
    """A saved window is in its own row of the form, with an empty row after it."""
    typed = {**TYPED, "password": "", "sending_windows-0-days": ["0", "4"], "sending_windows-0-start": "08:00"}
    typed |= {"sending_windows-0-end": "18:00", "timezone": "Europe/Berlin"}
    web.post(f"/own-smtp/servers/{relay.id}/edit", data=typed)
    db_session.expire_all()
    assert relay.sending_windows == [{"days": [0, 4], "start": "08:00", "end": "18:00"}]
    page = web.get(f"/own-smtp/servers/{relay.id}/edit").text
    assert 'value="08:00"' in page
    assert 'name="sending_windows-1-start"' in page
    assert page.count("checked") == 4  # STARTTLS, authentication and two days


def test_the_page_says_how_the_server_is(web, thin, db_session):
    """The accepted share, the limit's use, the last error with its count, and the facts of the last TLS session."""
    pages = pages_in_all_states(db_session, thin)
    page = web.get(f"/own-smtp{pages['relay-active']}").text
    for text in (
        "There has been no usable connection for a while.",
        "0 of 2,000 used in the last 24 hours",
        "one message every 3.5 s, because the server asked for it",
        "12 times in a row since",
        "mail.acme.example [192.0.2.25]",
        "TLSv1.3, TLS_AES_256_GCM_SHA384",
        "issued by CN=Acme Issuing CA 7",
        "AUTH LOGIN PLAIN, PIPELINING",
        "The time of the server&#39;s certificate is over.",
    ):
        assert text in page


def test_the_confirmation_mail_counts_as_accepted(web, thin, db_session):
    """Right after the confirmation the page shows the last accepted message: the confirmation mail itself."""
    web.post("/own-smtp/servers/new", data=TYPED)
    relay = db_session.query(Relay).one()
    send_mail(db_session, relay, new_token())
    lifecycle.activate(db_session, relay, user_id=None)
    db_session.commit()
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    assert not re.search(r"Last accepted message</dt><dd>\s*none yet", page)


@pytest.mark.parametrize(("ago", "is_said"), [(timedelta(seconds=20), True), (timedelta(minutes=10), False)])
def test_a_rate_is_said_while_it_is_the_present_one(web, thin, db_session, ago, is_said):
    """A message sent ten minutes ago does not count for the current rate."""
    relay = add_relay(db_session, thin, active=True)
    at = datetime.now(UTC) - ago
    db_session.add(Lease(relay_id=relay.id, pace={"seen": 29.455}, last_success_at=at))
    db_session.commit()
    assert ("Lately about 1,767.3 a minute" in web.get(f"/own-smtp/servers/{relay.id}").text) is is_said


def test_a_sender_of_somebody_else_s_has_to_follow_a_link_too(web, thin, db_session):
    """Both the server's page and the page behind the first link say whose confirmation is missing."""
    web.post("/own-smtp/servers/new", data={**TYPED, "confirmation_address": "alice@other.example"})
    tokens = {}
    for waiting in confirmations.unsent(db_session):
        token = new_token()
        confirmation = confirmations.claim_mail(db_session, waiting.id, token)
        confirmations.settle_mail(db_session, confirmation, ACCEPTED)
        tokens[confirmation.address] = token
    db_session.commit()
    assert set(tokens) == {"alice@other.example", "surveys@acme.example"}
    page = web.get("/own-smtp/servers/1").text
    assert "The link in the email to surveys@acme.example must be clicked as well." in page
    page = web.post(f"/own-smtp/confirm/{tokens['alice@other.example']}").text
    assert "the link in the email to surveys@acme.example" in page
    assert (thin.woken, thin.host.changes) == ([], [])
    assert "is active" in web.post(f"/own-smtp/confirm/{tokens['surveys@acme.example']}").text
    assert (thin.woken, [change.state for change in thin.host.changes]) == ([1], ["active"])


def test_notices_go_to_the_person_who_saved_the_server(web, db_session):
    """To the address that the host gives for that person, whatever addresses were typed."""
    web.post("/own-smtp/servers/new", data=TYPED)
    relay = db_session.get_one(Relay, 1)
    assert (relay.saved_by, relay.saved_by_address) == ("alice", "alice@acme.example")
