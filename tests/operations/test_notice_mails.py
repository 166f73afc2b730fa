"""Notices to a relay's owner: once, in plain words, in the tenant's language."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from own_smtp import OwnSMTP
from own_smtp.hooks.events import PlatformMail, RelayAlert, RelayChange, Tenant
from own_smtp.operations.notice_mails import alert_notice, notice_of
from own_smtp.states import AlertCause
from tests.engine import ListeningHost, Platform, make_app
from tests.scripted import ScriptedServer
from tests.servers.tables import make_tables

PAUSED = RelayChange(
    relay_id=1,
    tenant_id="acme",
    label="Acme",
    state="paused",
    reason="535 5.7.8 Username and Password not accepted",
    pause_reason="credentials",
    address="ann@acme.example",
    is_automatic=True,
)


class MailingHost:
    """A host that sends platform mail and speaks German, without hooks for events."""

    def __init__(self) -> None:
        self.sent: list[PlatformMail] = []

    def own_smtp_send_platform_mail(self, mail: PlatformMail) -> bool:
        self.sent.append(mail)
        return True

    def own_smtp_tenant(self, tenant_id: str) -> Tenant:
        return Tenant(tenant_id=tenant_id, name="Acme", locale="de")


@pytest.fixture
def host() -> MailingHost:
    return MailingHost()


@pytest.fixture
def app(tmp_path: Path, host: MailingHost) -> Iterator[Flask]:
    app = make_app(f"sqlite:///{tmp_path / 'notices.sqlite3'}", tmp_path, notices_per_tenant=3)
    OwnSMTP(app, SQLAlchemy(app), host=host)
    with app.app_context():
        make_tables(app.extensions["own_smtp"].db.engine)
        yield app


def test_a_pause_is_explained_with_the_server_s_own_words(app: Flask) -> None:
    """Cause, the server's reply, advice, and that nothing is lost."""
    notice = notice_of(PAUSED)
    assert notice is not None
    assert notice.recipient == "ann@acme.example"
    assert notice.subject == "The mail server “Acme” is paused"
    assert "refuses the user name or the password" in notice.text
    assert "5.7.8 Username and Password not accepted" in notice.text
    assert "No invitation is lost" in notice.text


def test_an_all_clear_and_a_fallback_have_words_of_their_own(app: Flask) -> None:
    """The texts say that it works again, or that the platform took over."""
    clear = notice_of(replace(PAUSED, state="active", reason=None, pause_reason=None))
    fallback = notice_of(replace(PAUSED, is_falling_back=True))
    assert clear is not None
    assert clear.subject == "The mail server “Acme” works again"
    assert fallback is not None
    assert "platform's own mail" in fallback.text


def test_what_a_person_did_needs_no_notice(app: Flask) -> None:
    """A person who pauses a relay knows about it."""
    assert notice_of(replace(PAUSED, is_automatic=False)) is None


def test_the_notice_goes_out_in_the_tenant_s_language(app: Flask, host: MailingHost) -> None:
    """A German tenant gets German text."""
    app.extensions["own_smtp"].host.relay_changed(PAUSED)
    assert [mail.subject for mail in host.sent] == ["Der Mailserver „Acme“ ist angehalten"]


def test_a_mail_service_that_fails_stops_nothing(
    app: Flask, host: MailingHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The notice is lost, the log reports it, and sending continues."""

    def fail(_mail: PlatformMail) -> bool:
        raise OSError("no mail today")

    monkeypatch.setattr(app.extensions["own_smtp"].host, "send_platform_mail", fail)
    app.extensions["own_smtp"].host.relay_changed(PAUSED)
    assert "A notice could not be sent" in caplog.text


def test_the_platform_mails_no_stranger_whatever_a_tenant_enters(
    tmp_path: Path, host: MailingHost, scripted: ScriptedServer
) -> None:
    """A tenant chooses the sender and the confirmation address, and also the label and the server's reply."""
    app = make_app(f"sqlite:///{tmp_path / 'notices.sqlite3'}", tmp_path / "journal")
    platform = Platform(app, OwnSMTP(app, SQLAlchemy(app), host=host), ListeningHost())
    make_tables(platform.engine)
    scripted.on("mail", "550 5.7.1 Dear customer, pay at evil.example")
    known = {"saved_by": "mallory", "saved_by_address": "mallory@evil.example"}
    for saver in ({}, known):
        relay = platform.add_relay(
            scripted,
            sender_address="boss@victim.example",
            confirmation_address="it@victim.example",
            label="Your invoice",
            **saver,
        )
        platform.send(relay, 1)
        platform.drain(relay)
        assert platform.relay(relay).state == "paused"
    assert {mail.recipient for mail in host.sent} == {"mallory@evil.example"}


def test_notices_of_one_cause_have_a_limit_for_each_tenant(app: Flask, host: MailingHost) -> None:
    """Repeated pausing and resuming ends in silence; another cause and another tenant still get notices."""
    told = app.extensions["own_smtp"].host
    assert all(told.relay_changed(replace(PAUSED, relay_id=number)) for number in range(5))
    assert len(host.sent) == 3
    told.relay_changed(replace(PAUSED, pause_reason="sender"))
    told.relay_changed(replace(PAUSED, tenant_id="other"))
    assert len(host.sent) == 5


def test_a_notice_that_could_not_be_sent_uses_up_nothing(
    app: Flask, host: MailingHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mail server that is down for an hour must not use up the limit."""

    def fail(_mail: PlatformMail) -> bool:
        raise OSError("no mail today")

    told = app.extensions["own_smtp"].host
    with monkeypatch.context() as away:
        away.setattr(told, "send_platform_mail", fail)
        assert not any(told.relay_changed(PAUSED) for _try in range(9))
    assert told.relay_changed(PAUSED)
    assert len(host.sent) == 1


def test_the_host_says_who_is_mailed(app: Flask, host: MailingHost, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each once; and no one if it says so."""
    told = app.extensions["own_smtp"].host
    for answer in (["a@acme.example", "b@acme.example", "a@acme.example"], []):
        monkeypatch.setattr(told.hook, "own_smtp_notice_recipients", lambda answer=answer, **_asked: answer)
        told.relay_changed(PAUSED)
    assert [mail.recipient for mail in host.sent] == ["a@acme.example", "b@acme.example"]


@pytest.mark.parametrize("cause", AlertCause)
def test_an_alert_says_what_is_wrong_and_its_end_that_it_is_over(app: Flask, cause: AlertCause) -> None:
    """Each has its own text, goes to the relay's people, and shows the time in their zone."""
    at = datetime(2026, 7, 1, 22, 30, tzinfo=UTC)
    alert = RelayAlert(relay_id=1, tenant_id="acme", label="Acme", cause=cause, at=at, address="a@acme.example")
    new, over = alert_notice(alert, "Europe/Berlin"), alert_notice(replace(alert, is_over=True), "Europe/Berlin")
    assert new is not None
    assert over is not None
    assert "Jul 2, 2026" in new.subject + new.text
    assert "once more when it is over" in new.text
    assert "once more" not in over.text
    assert new.subject != over.subject
    assert "Acme" in over.subject
    assert alert_notice(replace(alert, address=None), "UTC") is None
