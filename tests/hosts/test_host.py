"""The adapter for the host: with pluggy or without, with mistakes, and with exceptions."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pluggy
import pytest
from flask import Flask
from flask_babel import Babel, force_locale, get_locale
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import update

from own_smtp import OwnSMTP
from own_smtp.delivery.bookkeeping.status_events import OVERDUE, notify_overdue_changes
from own_smtp.errors import ConfigurationError, HookError
from own_smtp.hooks import (
    PROJECT,
    Action,
    Actor,
    InvitationStatus,
    Person,
    PlatformMail,
    Project,
    RelayChange,
    Tenant,
    hookimpl,
)
from own_smtp.host import HookedHost
from own_smtp.plugin_manager import add_specifications, manager_for
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Invitation
from tests.composing import assert_fit_for_the_wire, parse
from tests.engine import make_app, recipients_of
from tests.scripted import ScriptedServer

ANN = Actor(user_id="1", tenant_id="acme", name="Ann", email="ann@acme.example")
MAIL = PlatformMail(recipient="ann@acme.example", subject="Paused", text="Your server is paused.")


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return make_app(f"sqlite:///{tmp_path / 'host.sqlite3'}", tmp_path / "journal")


def hosted(app: Flask, host: object | None) -> HookedHost:
    manager = manager_for(host)
    add_specifications(manager)
    return HookedHost(app, manager)


def test_a_host_needs_no_pluggy(app: Flask) -> None:
    """An object with methods of the hooks' names suffices; unneeded arguments may be omitted."""

    class Host:
        def own_smtp_actor(self) -> Actor:
            return ANN

        def own_smtp_may(self, action: Action) -> bool:
            return action is Action.EDIT

        def something_else(self) -> None:
            raise AssertionError("It is none of our hooks.")

    host = hosted(app, Host())
    assert host.actor() == ANN
    assert [action for action in Action if host.may(ANN, action)] == [Action.EDIT]


def test_a_host_without_an_answer_gets_the_defaults(app: Flask) -> None:
    """All hooks are optional."""
    host = hosted(app, None)
    assert (host.actor(), host.projects("acme"), host.layout(), host.wants_changes) == (None, [], None, False)
    assert [action for action in Action if host.may(ANN, action)] == [Action.VIEW]
    tenant = host.tenant("acme")
    assert (tenant.name, tenant.locale, tenant.timezone) == ("acme", "en", "UTC")
    assert host.invitations_changed([])


@pytest.mark.parametrize("zone", ["Europe", "Foo", "", "../etc", "/etc/passwd", "a" * 300])
def test_a_zone_that_does_not_exist_is_utc(zone: str, app: Flask) -> None:
    """Mails and pages name the zone that their times are in, whatever the host calls a zone."""

    class Zoned:
        def own_smtp_tenant(self, tenant_id: str) -> Tenant:
            return Tenant(tenant_id=tenant_id, name="Acme", timezone=zone)

    assert hosted(app, Zoned()).tenant("acme").timezone == "UTC"


@pytest.mark.parametrize(
    ("tag", "locale"),
    [
        ("de", "de"),
        ("de-CH", "de_CH"),
        ("de_AT.UTF-8", "de_AT"),
        ("DE-de", "de_DE"),
        ("de-DE-1996", "de_DE"),
        ("de-DE-u-co-phonebk", "de_DE"),
        ("de-XX", "de"),
        ("en-GB", "en_GB"),
        ("pt-BR", "en"),
        ("zh-Hant-TW", "en"),
        ("tlh", "en"),
        ("German", "en"),
        ("", "en"),
        ("--", "en"),
        ("../de", "en"),
    ],
)
def test_a_tenants_language_has_a_catalogue(tag: str, locale: str, app: Flask) -> None:
    """Whatever tag the host returns, all readers can use it: English if there is no better match."""

    class Host:
        def own_smtp_tenant(self, tenant_id: str) -> Tenant:
            return Tenant(tenant_id=tenant_id, name="Acme", locale=tag)

        def own_smtp_tenants(self) -> list[Tenant]:
            return [self.own_smtp_tenant("acme")]

    Babel(app)
    host = hosted(app, Host())
    with app.app_context(), force_locale(host.tenant("acme").locale):
        assert str(get_locale()) == locale
    assert [tenant.locale for tenant in host.all_tenants()] == [host.tenant("acme").locale]


@pytest.mark.parametrize("mistake", ["own_smtp_aktor", "own_smtp_invitation_changed", "own_smtp_"])
def test_a_misspelt_method_stops_the_start(mistake: str, app: Flask) -> None:
    """A hook that would never be called is reported at once, with its name."""
    host = type("Host", (), {mistake: lambda _self: None})()
    with pytest.raises(pluggy.PluginValidationError, match=mistake):
        OwnSMTP(app, SQLAlchemy(app), host=host)


def test_a_misspelt_hook_of_a_plugin_stops_the_start(app: Flask) -> None:
    """The same applies to a host with a plugin manager of its own."""

    class Host:
        @hookimpl
        def own_smtp_may_not(self) -> None: ...

    plugins = pluggy.PluginManager(PROJECT)
    plugins.register(Host())
    with pytest.raises(pluggy.PluginValidationError, match="own_smtp_may_not"):
        OwnSMTP(app, SQLAlchemy(app), plugins=plugins)


def test_a_hook_without_its_marker_stops_the_start(app: Flask) -> None:
    """Pluggy ignores unmarked functions; the host would search in vain for the cause."""

    class Host:
        def own_smtp_actor(self) -> Actor:
            return ANN

        @hookimpl
        def own_smtp_may(self) -> bool:
            return True

    plugins = pluggy.PluginManager(PROJECT)
    plugins.register(Host())
    with pytest.raises(pluggy.PluginValidationError, match=r"'own_smtp_actor' .* put @hookimpl above it"):
        OwnSMTP(app, SQLAlchemy(app), plugins=plugins)


def test_a_class_is_no_host(app: Flask) -> None:
    """Its methods would lack their first argument at the first page."""

    class Host:
        def own_smtp_actor(self) -> Actor:
            return ANN

    with pytest.raises(ConfigurationError, match=r"write Host\(\)"):
        OwnSMTP(app, SQLAlchemy(app), host=Host)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Actor(user_id=1, tenant_id="a", name="Ann", email="a@b.example"), "user_id of Actor must be text"),
        (lambda: Actor(user_id="1", tenant_id=7, name="Ann", email="a@b.example"), "tenant_id of Actor must be text"),
        (lambda: Person(user_id=1, name="Ann"), "user_id of Person must be text (str), not int."),
        (
            lambda: Tenant(tenant_id="a", name="A", timezone=None),
            "timezone of Tenant must be text (str), not NoneType.",
        ),
        (lambda: Project(project_id=7, tenant_id="a", title="S"), "project_id of Project must be text (str), not int."),
        (
            lambda: Project(project_id="7", tenant_id="a", title="S", closes_at=datetime(2030, 1, 1)),  # noqa: DTZ001 -- what is refused
            "closes_at of Project '7' has no time zone",
        ),
    ],
)
def test_a_value_of_the_wrong_type_raises_in_the_hosts_code(make: Any, words: str) -> None:
    """A number as an id would match nothing: the error is raised in the host's own line."""
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        make()


@pytest.mark.parametrize(
    ("hook", "answer", "ask"),
    [
        ("own_smtp_actor", {"user_id": "1"}, lambda host: host.actor()),
        ("own_smtp_tenant", "Acme", lambda host: host.tenant("acme")),
        ("own_smtp_tenants", ["Acme"], lambda host: host.all_tenants()),
        ("own_smtp_people", ["Ann"], lambda host: host.people("acme")),
        ("own_smtp_projects", [{"id": 7}], lambda host: host.projects("acme")),
    ],
)
def test_an_answer_of_the_wrong_type_names_its_hook(hook: str, answer: object, ask: Any, app: Flask) -> None:
    """A developer reads the hook and the expected type, instead of an attribute error elsewhere."""
    host = hosted(app, type("Host", (), {hook: lambda _self: answer})())
    with pytest.raises(HookError, match=rf"{hook} must give [A-Z][a-z]+, and gave (dict|str)\."):
        ask(host)


def test_an_argument_that_a_hook_does_not_have_stops_the_start(app: Flask) -> None:
    """An implementation with an unknown argument would fail at its first call."""

    class Host:
        def own_smtp_tenant(self, tenant: str) -> None: ...

    with pytest.raises(pluggy.PluginValidationError, match="tenant"):
        OwnSMTP(app, SQLAlchemy(app), host=Host())


def test_existing_specifications_are_kept(app: Flask) -> None:
    """A host may add the specifications itself, to fire hooks before any plugin is loaded."""
    plugins = pluggy.PluginManager(PROJECT)
    add_specifications(plugins)
    add_specifications(plugins)
    OwnSMTP(app, SQLAlchemy(app), plugins=plugins)


def test_platform_mail_uses_flask_mail_by_default(app: Flask) -> None:
    """A host that uses Flask-Mail has nothing to implement."""
    app.config["MAIL_DEFAULT_SENDER"] = "surveys@platform.example"
    mail = Mail(app)
    with app.app_context(), mail.record_messages() as sent:
        assert hosted(app, None).send_platform_mail(MAIL)
    assert [(message.recipients, message.subject) for message in sent] == [(["ann@acme.example"], "Paused")]


def test_platform_mail_by_flask_mail_has_the_octets_of_our_composer(app: Flask) -> None:
    """Mails sent by Flask-Mail are no exception: names, long lines and scripts are encoded as everywhere."""
    said = PlatformMail(recipient="ann@acme.example", subject="Ünïcode " * 30, text="Ü" * 700, html="<p>" + "Ü" * 700)
    with ScriptedServer() as server:
        sender = ("Müller, Umfragen =?utf-8?q?=0ABcc:_x@evil.test?=", "surveys@platform.example")
        app.config.update(MAIL_SERVER=server.host, MAIL_PORT=server.port, MAIL_DEFAULT_SENDER=sender, TESTING=False)
        Mail(app)
        with app.app_context():
            assert hosted(app, None).send_platform_mail(said)
        [copy] = server.copies
    assert_fit_for_the_wire(copy.data)
    message = parse(copy.data)
    assert message["Subject"] == said.subject.strip()
    assert (message["To"], message["Bcc"]) == ("ann@acme.example", None)
    assert message.get_body(("plain",)).get_content() == f"{said.text}\r\n"
    assert max(map(len, copy.data.split(b"\r\n"))) <= 76


def test_a_notice_that_can_never_be_sent_is_not_retried(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """Flask-Mail cannot send to a non-ASCII address: that is logged once."""
    app.config["MAIL_DEFAULT_SENDER"] = "surveys@platform.example"
    Mail(app)
    Babel(app)
    change = RelayChange(
        relay_id=1, tenant_id="acme", label="Acme", state="paused", address="pelé@south.example", is_automatic=True
    )
    with app.app_context():
        assert hosted(app, None).relay_changed(change)
    assert "cannot be written, and is not retried" in caplog.text


def test_platform_mail_that_the_host_sends_is_not_sent_twice(app: Flask) -> None:
    """If the host sent the mail, Flask-Mail does not get it as well."""
    app.config["MAIL_DEFAULT_SENDER"] = "surveys@platform.example"
    mail = Mail(app)
    taken: list[PlatformMail] = []

    class Host:
        def own_smtp_send_platform_mail(self, mail: PlatformMail) -> bool:
            taken.append(mail)
            return True

    with app.app_context(), mail.record_messages() as sent:
        assert hosted(app, Host()).send_platform_mail(MAIL)
    assert (taken, sent) == ([MAIL], [])


def test_a_listener_that_raises_is_logged_and_named(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """An exception of a host's notification hook is logged with the hook's name."""

    class Host:
        def own_smtp_relay_changed(self, change: RelayChange) -> None:
            raise LookupError(change.label)

    hosted(app, Host()).relay_changed(RelayChange(relay_id=1, tenant_id="acme", label="Acme", state="paused"))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert "own_smtp_relay_changed raised" in record.getMessage()


def test_a_host_that_raises_never_stops_a_delivery_and_is_notified_again(platform: Any, scripted: Any) -> None:
    """All invitations arrive although the hook raised; later the host gets all notifications."""
    relay = platform.add_relay(scripted)
    told = platform.host.own_smtp_invitations_changed

    def refuse(changes: Sequence[InvitationStatus]) -> None:
        raise OSError("the host's own database is away")

    replace_listener(platform, refuse)
    platform.send(relay, 30)
    platform.drain(relay)
    assert platform.states() == {"accepted": 30}
    assert len(recipients_of(scripted.copies)) == 30
    replace_listener(platform, told)
    assert notify_overdue_changes(platform.runtime) == 0
    let_it_be_overdue(platform)
    assert notify_overdue_changes(platform.runtime) == 30
    assert {change.state for change in platform.host.changes} == {"accepted"}
    assert notify_overdue_changes(platform.runtime) == 0


def replace_listener(platform: Any, listener: Any) -> None:
    class Host:
        def own_smtp_invitations_changed(self, changes: Sequence[InvitationStatus]) -> None:
            listener(changes)

    platform.with_parts(listener=hosted(platform.app, Host()))


def let_it_be_overdue(platform: Any) -> None:
    """Let the time pass after which the dispatcher sends notifications that a drain did not."""
    with platform.engine.begin() as connection:
        long_ago = read_clock(connection) - 2 * OVERDUE
        unnotified = Invitation.untold_since.is_not(None)
        connection.execute(update(Invitation).where(unnotified).values(untold_since=long_ago))
