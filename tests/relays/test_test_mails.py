"""Test mails: allowed recipients, delivery, and the page."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from email import message_from_bytes, policy

import pytest
from sqlalchemy import update

from own_smtp.errors import ConflictError
from own_smtp.hooks.events import Action, Content, Tenant
from own_smtp.relays import lifecycle, store, test_mails
from own_smtp.states import TEST_PROJECT, PauseReason, RelayState
from own_smtp.storage.models import AuditEntry, Batch, Invitation, Relay
from tests.web.app import ALICE
from tests.web.drafts import add_relay
from tests.web.trials import answer_test_mail

CONTENT = Content(subject="Test", text="A test.\n")


@pytest.fixture
def relay(db_session, thin) -> Relay:
    return add_relay(db_session, thin, active=True)


def send(session, thin, relay, recipient="alice@acme.example"):
    test_mails.send(session, thin.vault, thin.settings, relay, CONTENT, recipient=recipient, user_id="alice")
    session.commit()


@pytest.mark.parametrize(
    ("allowed", "address", "may"),
    [
        ((), "alice@acme.example", True),
        ((), "Alice@ACME.example", True),
        ((), "bob@acme.example", False),
        (("bob@acme.example",), "bob@acme.example", True),
        (("@acme.example",), "bob@acme.example", True),
        (("@acme.example",), "bob@evil-acme.example", False),
        (("@acme.example",), "bob@sub.acme.example", False),
        (("*",), "anybody@anywhere.example", True),
    ],
)
def test_allowed_recipients(thin, allowed, address, may):
    """To oneself always; to others only as the platform allows."""
    settings = replace(thin.settings, test_recipients=allowed)
    assert test_mails.may_go_to(settings, "alice@acme.example", address) is may


def test_it_is_sent_before_invitations_by_the_same_route(platform, scripted):
    """An urgent batch of the same relay: claimed first, composed and sent like invitations."""
    relay_id = platform.add_relay(scripted)
    platform.send(relay_id, 3)
    with platform.app.app_context():
        session = platform.own_smtp.db.session()
        relay = store.get_relay(session, "acme", relay_id)
        own = platform.own_smtp
        test_mails.send(
            session, own.vault, own.settings, relay, CONTENT, recipient="alice@acme.example", user_id="alice"
        )
        session.commit()
    platform.drain(relay_id)
    first = message_from_bytes(scripted.copies[0].data, policy=policy.default)
    assert (first["To"], first["Subject"]) == ("alice@acme.example", "Test")
    assert first["From"] == "Acme Research <research@acme.example>"
    assert platform.states() == {"accepted": 4}


def test_the_host_is_not_notified(platform, scripted):
    """It does not know such an invitation."""
    relay_id = platform.add_relay(scripted)
    with platform.app.app_context():
        session, own = platform.own_smtp.db.session(), platform.own_smtp
        relay = store.get_relay(session, "acme", relay_id)
        test_mails.send(session, own.vault, own.settings, relay, CONTENT, recipient="a@acme.example", user_id="alice")
        session.commit()
        mail = test_mails.newest(session, relay, "alice")
        assert mail.status.state == "queued"
    platform.send(relay_id, 1)
    platform.drain(relay_id)
    assert {change.project_id for change in platform.host.changes} == {f"survey-{relay_id}"}
    with platform.app.app_context():
        session = platform.own_smtp.db.session()
        mail = test_mails.newest(session, store.get_relay(session, "acme", relay_id), "alice")
        assert (mail.status.state, mail.status.reply_code) == ("accepted", 250)


@pytest.mark.parametrize("state", [RelayState.UNCONFIRMED, RelayState.PAUSED])
def test_only_an_active_server_sends_one(db_session, thin, relay, state):
    """An unconfirmed server sends nothing but its own confirmation mail."""
    relay.state = state
    with pytest.raises(ConflictError, match="active"):
        send(db_session, thin, relay)


def test_a_tenants_test_mails_are_limited(db_session, thin, relay):
    """They cannot be used to annoy people."""
    thin.change_settings(test_mails_per_tenant=2)
    send(db_session, thin, relay)
    send(db_session, thin, relay)
    with pytest.raises(ConflictError, match="Too many test mails"):
        send(db_session, thin, relay)
    oldest = db_session.query(Batch).order_by(Batch.id).first()
    older = oldest.created_at - timedelta(hours=1, seconds=1)
    db_session.execute(update(Batch).where(Batch.id == oldest.id).values(created_at=older))
    send(db_session, thin, relay)


def test_the_page_sends_to_the_acting_person(web, db_session, thin, relay):
    """One button; an audit entry; a drain is enqueued; the page then shows the status."""
    page = web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    assert "alice@acme.example" in page
    assert 'name="address"' not in page
    answer = web.post(f"/own-smtp/servers/{relay.id}/test-mail", follow_redirects=True)
    assert "on its way" in answer.text
    batch, mail = db_session.query(Batch).one(), db_session.query(Invitation).one()
    assert (batch.project_id, batch.kind, batch.is_urgent, batch.created_by) == (TEST_PROJECT, "test", True, "alice")
    assert mail.address == "alice@acme.example"
    assert thin.woken == [relay.id]
    entry = db_session.query(AuditEntry).order_by(AuditEntry.id.desc()).first()
    assert (entry.action, entry.user_id, entry.details) == (
        "test_mail_sent",
        "alice",
        {"address": [None, "alice@acme.example"]},
    )


def test_a_forged_recipient_is_ignored(web, db_session, thin, relay):
    """Without the setting the field does not exist; with it, it is checked."""
    web.post(f"/own-smtp/servers/{relay.id}/test-mail", data={"address": "victim@elsewhere.example"})
    assert db_session.query(Invitation).one().address == "alice@acme.example"
    thin.change_settings(test_recipients=("@acme.example",))
    assert 'name="address"' in web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    answer = web.post(f"/own-smtp/servers/{relay.id}/test-mail", data={"address": "victim@elsewhere.example"})
    assert answer.status_code == 422
    assert "does not allow test mails" in answer.text
    web.post(f"/own-smtp/servers/{relay.id}/test-mail", data={"address": "bob@acme.example"})
    assert {mail.address for mail in db_session.query(Invitation)} == {"alice@acme.example", "bob@acme.example"}


def test_the_text_is_in_the_tenants_language(web, db_session, thin, relay):
    """The person who sends it may use another one."""
    thin.host.tenants["acme"] = Tenant(tenant_id="acme", name="Acme & Söhne", locale="de")
    web.post(f"/own-smtp/servers/{relay.id}/test-mail", headers={"Accept-Language": "en"})
    content = db_session.query(Batch).one().content
    assert content["subject"] == "Testmail über mail.acme.example"
    assert "Acme & Söhne" in content["text"]
    assert "Acme &amp; Söhne" in content["html"]
    assert "surveys@acme.example" in content["text"]


def test_the_page_shows_the_servers_reply(web, db_session, thin, relay):
    """Its reply with the queue id, and the Message-ID; people see only their own test mails."""
    web.post(f"/own-smtp/servers/{relay.id}/test-mail")
    version = web.get(f"/own-smtp/servers/{relay.id}/test-mail/status").json["version"]
    answer_test_mail(db_session, "accepted", "message", 250, "2.0.0", "Ok: queued as 4F2A1B3C")
    page = web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    for words in (
        "Your server has taken the test mail",
        "250 2.0.0 Ok: queued as 4F2A1B3C",
        ">4F2A1B3C<",
        "@acme.example",
    ):
        assert words in page
    assert web.get(f"/own-smtp/servers/{relay.id}/test-mail/status").json["version"] != version
    thin.host.present = replace(ALICE, user_id="bob")
    assert "queued as" not in web.get(f"/own-smtp/servers/{relay.id}/test-mail").text


def test_a_refused_test_mail_is_explained(web, db_session, thin, relay):
    """Cause and the server's reply."""
    web.post(f"/own-smtp/servers/{relay.id}/test-mail")
    answer_test_mail(db_session, "refused", "rcpt", 550, "5.1.1", "no such user")
    page = web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    for words in ("The test mail did not leave", "Who can mend it", "no such user"):
        assert words in page


def test_a_pause_meanwhile_is_shown(web, db_session, thin, relay):
    """The mail waits, and the page shows why."""
    web.post(f"/own-smtp/servers/{relay.id}/test-mail")
    lifecycle.pause(db_session, relay.id, PauseReason.CREDENTIALS, "535 no", None)
    db_session.commit()
    page = web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    assert "It waits, because the server is not active any more." in page
    assert "Send the test mail" not in page


def test_without_an_address_nothing_is_sent(web, db_session, thin, relay):
    """The host may not know the person's address."""
    thin.host.present = replace(ALICE, email="")
    assert "does not know your e-mail address" in web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    web.post(f"/own-smtp/servers/{relay.id}/test-mail")
    assert db_session.query(Batch).count() == 0


def test_permissions(web, thin, relay):
    """It counts as a test: without that permission there is no page and no link."""
    thin.host.allowed = {Action.VIEW, Action.EDIT}
    assert web.get(f"/own-smtp/servers/{relay.id}/test-mail").status_code == 403
    assert web.post(f"/own-smtp/servers/{relay.id}/test-mail").status_code == 403
    assert "test-mail" not in web.get(f"/own-smtp/servers/{relay.id}").text


def test_another_tenants_server_sends_none(web, db_session, thin):
    """It is answered like a missing server."""
    foreign = add_relay(db_session, thin, tenant_id="evil", active=True)
    assert web.post(f"/own-smtp/servers/{foreign.id}/test-mail").status_code == 404
