"""The confirmation mail: what it says, and how it leaves."""

from __future__ import annotations

import re
from email import message_from_bytes, policy

import pytest

from own_smtp.delivery.workers import confirmation_mails
from own_smtp.errors import ConfigurationError
from own_smtp.hooks.events import Tenant
from own_smtp.relays import confirmations
from own_smtp.relays.confirmations import LinkState
from own_smtp.storage.models import Confirmation
from tests.scripted import ScriptedServer
from tests.web.drafts import PASSWORD, add_relay


@pytest.fixture
def server(test_authority):
    with ScriptedServer(tls=test_authority.server_context(), credentials={"surveys": PASSWORD}) as server:
        yield server


def _ask(session, thin, server, test_authority, **changes):
    aimed = {"host": server.host, "port": server.port, "fingerprint": test_authority.fingerprint(), **changes}
    relay = add_relay(session, thin, **aimed)
    confirmation = confirmations.request_confirmation(session, thin.settings, relay, user_id="alice")
    session.commit()
    return relay, confirmation.id


def _received(server):
    [copy] = server.copies
    return message_from_bytes(copy.data, policy=policy.default)


def test_the_mail_leaves_through_the_relay_with_a_link_that_works(db_session, thin, server, test_authority):
    """The relay's own server carries the mail to the sender address, and its link confirms the relay."""
    _relay, number = _ask(db_session, thin, server, test_authority)
    confirmation_mails.send_confirmation_mail(number, thin)
    message = _received(server)
    text = message.get_body(("plain",)).get_content()
    token = re.search(r"https://surveys\.example/own-smtp/confirm/(\S+)", text)[1]
    assert message["To"] == "surveys@acme.example"
    assert message["Auto-Submitted"] == "auto-generated"
    assert token in message.get_body(("html",)).get_content()
    assert confirmations.confirm(db_session, token)[0] is LinkState.VALID
    assert db_session.get_one(Confirmation, number).sent_at is not None
    assert PASSWORD not in text


def test_a_mail_is_sent_once_however_often_it_is_asked_for(db_session, thin, server, test_authority):
    """The job may run twice; the mail does not leave twice."""
    _relay, number = _ask(db_session, thin, server, test_authority)
    confirmation_mails.send_confirmation_mail(number, thin)
    confirmation_mails.send_confirmation_mail(number, thin)
    assert len(server.copies) == 1


def test_the_mail_speaks_the_tenants_language(db_session, thin, server, test_authority):
    """A German tenant gets a German mail."""
    thin.host.tenants["acme"] = Tenant(tenant_id="acme", name="Acme Forschung", locale="de", timezone="Europe/Berlin")
    _relay, number = _ask(db_session, thin, server, test_authority)
    confirmation_mails.send_confirmation_mail(number, thin)
    message = _received(server)
    assert message["Subject"].startswith("Bitte bestätigen")
    assert "Acme Forschung" in message.get_body(("plain",)).get_content()


def test_a_wrong_password_is_kept_with_the_servers_words(db_session, thin, server, test_authority):
    """The page can say where it failed and what the server said; the password is in neither."""
    _relay, number = _ask(db_session, thin, server, test_authority, password="wr0ng-canary")
    confirmation_mails.send_confirmation_mail(number, thin)
    confirmation = db_session.get_one(Confirmation, number)
    assert (confirmation.stage, confirmation.code, confirmation.pause_reason) == ("auth", 535, "credentials")
    assert confirmation.error
    assert "wr0ng-canary" not in str(vars(confirmation))
    assert server.copies == []


def test_no_transaction_is_open_while_the_server_is_waited_for(db_session, thin, test_authority, monkeypatch):
    """The database is free while a mail server takes its time."""
    relay = add_relay(db_session, thin)
    number = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice").id
    db_session.commit()
    seen = []

    def watch(*_args, **_kwargs):
        seen.append(db_session.in_transaction())
        return confirmation_mails._local("seen", None)

    monkeypatch.setattr(confirmation_mails, "submit", watch)
    confirmation_mails.send_confirmation_mail(number, thin)
    assert seen == [False]


def test_a_name_from_a_form_adds_no_header(db_session, thin, server, test_authority):
    """A sender name with specials is encoded, never a header of its own."""
    _relay, number = _ask(db_session, thin, server, test_authority, sender_name='Ünïcode "quoted", <x@y>')
    confirmation_mails.send_confirmation_mail(number, thin)
    [sender] = _received(server)["From"].addresses
    assert (sender.display_name, sender.addr_spec) == ('Ünïcode "quoted", <x@y>', "surveys@acme.example")


def test_links_need_the_platforms_address(thin):
    """Without a configured address no link is made: a request's Host header is never believed."""
    settings = type(thin.settings)()
    with pytest.raises(ConfigurationError, match="OWN_SMTP_PUBLIC_URL"):
        confirmation_mails.link_for("t", settings)
