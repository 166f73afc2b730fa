"""The confirmation mail: what it says, and how it leaves."""

from __future__ import annotations

import contextlib
import re
from email import message_from_bytes, policy
from email.header import decode_header, make_header

import flask
import pytest
from sqlalchemy.exc import OperationalError

from own_smtp.delivery.workers import confirmation_mails
from own_smtp.errors import ConfigurationError, HookError
from own_smtp.hooks.events import Tenant
from own_smtp.messages.headers import clean
from own_smtp.relays import confirmations
from own_smtp.relays.confirmations import LinkState, MailState
from own_smtp.storage.models import Confirmation
from tests.composing import assert_fit_for_the_wire, parse
from tests.scripted import EXTENSIONS, ScriptedServer
from tests.web.drafts import PASSWORD, add_relay


@pytest.fixture
def server(test_authority):
    with ScriptedServer(tls=test_authority.server_context(), credentials={"surveys": PASSWORD}) as server:
        yield server


def _ask(session, thin, server, test_authority, **changes):
    aimed = {"host": server.host, "port": server.port, "fingerprint": test_authority.fingerprint(), **changes}
    relay = add_relay(session, thin, **aimed)
    *_others, confirmation = confirmations.request_confirmation(session, thin.settings, relay, user_id="alice")
    session.commit()
    return relay, confirmation.id  # of the address that was chosen: it comes last


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
    (confirmation,) = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    number = confirmation.id
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


NASTY_NAMES = [
    "=?utf-8?q?=0ABcc:_x@evil.test?=",
    "=?utf-8?q?=0D=0ABcc:_x@evil.test?=",
    "=?utf-8?q?a=0A=0Ahello?=",
    "=?utf-8?q?=0A=2E=0AMAIL?=",
    "=?utf-8?q?a=00b?=",
    "=?utf-8?b?CkJjYzogeEBldmlsLnRlc3Q=?=",
    "a\nBcc: x@evil.test",
    "Ü" * 120,
]


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_a_name_that_is_written_as_an_encoded_word_stays_a_name(db_session, thin, server, test_authority, name):
    """Nobody decodes it on the way: no line end, no NUL and no field comes out of it."""
    _relay, number = _ask(db_session, thin, server, test_authority, sender_name=name)
    confirmation_mails.send_confirmation_mail(number, thin)
    [copy] = server.copies
    assert_fit_for_the_wire(copy.data)
    message = parse(copy.data)
    assert set(message) == {
        "From", "To", "Date", "Message-ID", "Subject", "Auto-Submitted", "MIME-Version", "Content-Type",
    }  # fmt: skip
    raw = re.search(rb"From: (.*?)\s*<", copy.data, re.DOTALL)[1].decode()
    found = str(make_header(decode_header(raw))) if raw.startswith("=?") else raw.strip(chr(34))
    assert found == clean(name)


def test_an_address_beyond_ascii_gets_its_mail(db_session, thin, server, test_authority):
    """A sender and a confirmation address that the form takes are written as RFC 6532 says, with SMTPUTF8."""
    changes = {"sender_address": "pelé@south.example", "confirmation_address": "zoë@south.example"}
    _relay, number = _ask(db_session, thin, server, test_authority, **changes)
    confirmation_mails.send_confirmation_mail(number, thin)
    [copy] = server.copies
    assert list(copy.recipients) == ["zoë@south.example"]
    assert "\r\nTo: zoë@south.example\r\n".encode() in copy.data
    assert "From: pelé@south.example\r\n".encode() in copy.data


def test_a_server_without_smtputf8_is_told_of_with_a_sentence(db_session, thin, test_authority):
    """The mail fails on our side, at once, and says why."""
    without = tuple(name for name in EXTENSIONS if name != "SMTPUTF8")
    login = {"surveys": PASSWORD}
    with ScriptedServer(tls=test_authority.server_context(), credentials=login, extensions=without) as server:
        _relay, number = _ask(db_session, thin, server, test_authority, confirmation_address="zoë@south.example")
        confirmation_mails.send_confirmation_mail(number, thin)
    confirmation = db_session.get_one(Confirmation, number)
    assert "SMTPUTF8" in confirmation.error
    assert confirmations.mail_state(confirmation, confirmation.created_at) is MailState.FAILED


def test_nothing_of_the_hosts_pages_runs_in_a_mail(db_session, thin, server, test_authority):
    """A context processor that needs a request, and a global that hides one of ours, are the pages' own."""
    app = flask.current_app._get_current_object()
    app.context_processor(lambda: {"path": flask.request.path})
    app.jinja_env.globals["tr"] = lambda *_args, **_values: "hidden"
    _relay, number = _ask(db_session, thin, server, test_authority)
    confirmation_mails.send_confirmation_mail(number, thin)
    assert "hidden" not in str(_received(server))


@pytest.mark.parametrize("error", [RuntimeError("Working outside of request context."), HookError("It gave a list.")])
def test_a_mail_that_cannot_be_made_is_not_tried_for_ever(db_session, thin, server, test_authority, monkeypatch, error):
    """What a host's hook raises fails the confirmation with a sentence; the page does not say "on its way"."""
    monkeypatch.setattr(thin.host, "tenant", lambda _tenant_id: raise_(error))
    _relay, number = _ask(db_session, thin, server, test_authority)
    confirmation_mails.send_confirmation_mail(number, thin)
    confirmation = db_session.get_one(Confirmation, number)
    assert confirmations.mail_state(confirmation, confirmation.created_at) is MailState.FAILED
    assert confirmation.error.startswith("The mail could not be made or sent: ")
    assert confirmations.unsent(db_session) == []


def test_what_the_database_raises_is_not_held_against_the_mail(db_session, thin, server, test_authority, monkeypatch):
    """That passes: the job fails, and the mail comes up again, but not more often than any other."""
    error = OperationalError("select", {}, Exception("gone"))
    monkeypatch.setattr(thin.host, "tenant", lambda _tenant_id: raise_(error))
    _relay, number = _ask(db_session, thin, server, test_authority)
    attempts = 0
    while db_session.get_one(Confirmation, number).next_attempt_at is not None:
        attempts += 1
        with contextlib.suppress(OperationalError):
            confirmation_mails.send_confirmation_mail(number, thin)
        db_session.rollback()
        row = db_session.get_one(Confirmation, number)
        if row.next_attempt_at is not None:
            row.next_attempt_at = row.created_at
            db_session.commit()
    assert attempts == confirmation_mails.MOST_ATTEMPTS + 1
    assert "tried too often" in db_session.get_one(Confirmation, number).error


def raise_(error):
    raise error


def test_links_need_the_platforms_address(thin):
    """Without a configured address no link is made: a request's Host header is never believed."""
    settings = type(thin.settings)()
    with pytest.raises(ConfigurationError, match="OWN_SMTP_PUBLIC_URL"):
        confirmation_mails.link_for("t", settings)
