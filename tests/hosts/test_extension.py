"""`OwnSMTP`: its set-up, and its work inside the host's transaction and afterwards."""

from __future__ import annotations

import gc
import time
import traceback
import weakref
from datetime import datetime
from pathlib import Path
from typing import Any

import pluggy
import pytest
from flask import Flask, request
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import text

from own_smtp import OwnSMTP
from own_smtp.errors import ConfigurationError, ContentError, NotFoundError
from own_smtp.extension import plugin
from own_smtp.hooks import PROJECT as PROJECT_NAME
from own_smtp.hooks import Actor, Content, Invitation, InvitationBatch, Tenant, survey
from own_smtp.plugin_manager import HOST_PREFIX, add_specifications, manager_for
from own_smtp.storage import schema
from own_smtp.storage.models import Batch
from tests.engine import PROJECT, TENANT, Platform, make_app

CONTENT = Content(subject="x", text="y")
NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    return make_app(f"sqlite:///{tmp_path / 'host.sqlite3'}", tmp_path / "journal")


@pytest.fixture
def relay(platform: Platform) -> int:
    """A relay that its project uses; one invitation is in the outbox already."""
    relay_id = platform.add_relay(host="mail.acme.example", port=587)
    platform.send(relay_id)
    return relay_id


def batch(relay: int, *references: str, **values: Any) -> InvitationBatch:
    invitations = (Invitation(reference=reference, address=f"{reference}@example.org") for reference in references)
    project_id = f"{PROJECT}-{relay}"
    return InvitationBatch(
        **{"tenant_id": TENANT, "project_id": project_id, "content": CONTENT, "invitations": invitations} | values
    )


# Setting up


def test_it_is_set_up_later_as_well(app: Flask) -> None:
    """A host with an application factory creates the object first and the application later."""
    own_smtp = OwnSMTP()
    assert repr(own_smtp) == "<OwnSMTP without an application>"
    own_smtp.init_app(app, SQLAlchemy(app))
    assert app.extensions["own_smtp"] is own_smtp
    assert repr(own_smtp) == "<OwnSMTP for 'platform'>"


def test_it_is_set_up_once(app: Flask) -> None:
    """A second set-up of one application is an error, for example beside the entry point."""
    db = SQLAlchemy(app)
    OwnSMTP(app, db)
    with pytest.raises(ConfigurationError, match="set up for this application already"):
        OwnSMTP(app, db)


def test_two_applications_in_one_process_are_independent(tmp_path: Path) -> None:
    """Batches of one are not visible in the other."""
    with (
        Platform.at(f"sqlite:///{tmp_path / 'a.sqlite3'}", tmp_path / "a") as one,
        Platform.at(f"sqlite:///{tmp_path / 'b.sqlite3'}", tmp_path / "b") as other,
    ):
        one.send(one.add_relay(host="a.example", port=587))
        assert (one.states(), other.states()) == ({"queued": 1}, {})


def test_two_applications_with_one_database_use_their_own_queues(tmp_path: Path) -> None:
    """Both share one `db` object, as in factories: a commit enqueues the drain of the application that sent."""
    db = SQLAlchemy()
    woken: list[tuple[str, int]] = []
    apps: dict[str, OwnSMTP] = {}
    for name in ("first", "second"):
        app = make_app(f"sqlite:///{tmp_path / 'shared.sqlite3'}", tmp_path / name)
        db.init_app(app)
        apps[name] = OwnSMTP(app, db)
        apps[name].wakeup.enqueue_drain = lambda relay_id, name=name: woken.append((name, relay_id)) or True  # type: ignore[method-assign, misc]
    for number, (name, own_smtp) in enumerate(apps.items()):
        with own_smtp._app.app_context():
            session = db.session()
            own_smtp.enqueue_drain_after_commit(session, number)
            session.execute(text("SELECT 1"))
            session.commit()
        assert woken == [(name, number)]
        woken.clear()


def test_an_unused_application_is_garbage_collected(tmp_path: Path) -> None:
    """A host whose tests create many applications does not run out of memory."""
    with Platform.at(f"sqlite:///{tmp_path / 'a.sqlite3'}", tmp_path / "a") as platform:
        platform.send(platform.add_relay(host="a.example", port=587))
    kept = weakref.ref(platform.app)
    del platform
    gc.collect()
    assert kept() is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"SECRET_KEY": None}, "Set SECRET_KEY"),
        ({"TESTING": False}, "Set OWN_SMTP_ENCRYPTION_KEYS"),
        ({"OWN_SMTP_ENCRYPTION_KEYS": ["short:abc"]}, "32 bytes"),
        ({"OWN_SMTP_WINDOWS": 3}, "Unknown setting OWN_SMTP_WINDOWS"),
        ({"OWN_SMTP_WINDOWS": 3}, r"Did you mean OWN_SMTP_WINDOW\b"),
        ({"OWN_SMTP_XYZ": 3}, "Known ones are OWN_SMTP_ENCRYPTION_KEYS, "),
        ({"OWN_SMTP_WINDOW": "many"}, "OWN_SMTP_WINDOW cannot be 'many'"),
        ({"OWN_SMTP_SLICE": "1 minute"}, "a number of seconds or a datetime.timedelta"),
        ({"OWN_SMTP_LEASE": 0}, "OWN_SMTP_LEASE cannot be 0: it must be above 0"),
        ({"OWN_SMTP_ALLOW_PLAINTEXT": "True"}, "True or False, in environment variables `true`"),
        ({"OWN_SMTP_POLICY_PAGE": "all"}, "it must be one of show, edit, network"),
        ({"OWN_SMTP_PUBLIC_URL": "surveys.example.org"}, "it must begin with https://"),
        ({"OWN_SMTP_PUBLIC_URL": "https:///own"}, "it must begin with https://"),
        ({"OWN_SMTP_URL_PREFIX": "mail"}, "it must begin with a slash"),
        ({"OWN_SMTP_REDIS_URL": "localhost:6379"}, "OWN_SMTP_REDIS_URL cannot be read"),
        ({"OWN_SMTP_REDIS_URL": "redis://localhost/0?foo=bar"}, "OWN_SMTP_REDIS_URL cannot be read"),
        ({"OWN_SMTP_REDIS_URL": "redis://localhost/0?db=one"}, "OWN_SMTP_REDIS_URL cannot be read"),
        ({"OWN_SMTP_REDIS_URL": "redis://localhost/0?encoding=klingon"}, "OWN_SMTP_REDIS_URL cannot be read"),
        ({"OWN_SMTP_REDIS_URL": "redis://localhost/0?decode_responses=true"}, "OWN_SMTP_REDIS_URL cannot be read"),
        ({"OWN_SMTP_REDIS_URL": "rediss://localhost/0?ssl_cert_reqs=perhaps"}, "OWN_SMTP_REDIS_URL cannot be read"),
    ],
)
def test_a_setting_that_is_missing_or_wrong_stops_the_start(change: dict[str, Any], complaint: str, app: Flask) -> None:
    """Nothing starts half configured, and the message names the setting."""
    app.config.update(change)
    with pytest.raises(ConfigurationError, match=complaint):
        OwnSMTP(app, SQLAlchemy(app))


def test_an_invalid_redis_url_is_not_quoted(app: Flask) -> None:
    """It may contain a password, which a slash makes invalid."""
    app.config["OWN_SMTP_REDIS_URL"] = "redis://:top/secret@localhost:6379/0"
    with pytest.raises(ConfigurationError) as raised:
        OwnSMTP(app, SQLAlchemy(app))
    shown = "".join(traceback.format_exception(raised.value, chain=True))
    assert "percent-encoded" in shown
    assert "top" not in shown
    assert "secret@" not in shown


@pytest.mark.parametrize("prefix", ["/", "", "/mail/", "/mail"])
def test_a_prefix_may_end_with_a_slash(prefix: str, app: Flask) -> None:
    """Pages and links in mails have the same URL either way."""
    app.config["OWN_SMTP_URL_PREFIX"] = prefix
    own_smtp = OwnSMTP(app, SQLAlchemy(app))
    assert f"{own_smtp.settings.url_prefix}/health" in {rule.rule for rule in app.url_map.iter_rules()}


def test_incomplete_arguments_are_an_error(app: Flask) -> None:
    """Arguments without application and database would be ignored silently."""
    for arguments in ({"app": app}, {"db": SQLAlchemy()}, {"host": object()}, {"app": app, "host": object()}):
        with pytest.raises(ConfigurationError, match="the application and its database"):
            OwnSMTP(**arguments)
    with pytest.raises(ConfigurationError, match="either `host` or `plugins`"):
        OwnSMTP(app, SQLAlchemy(app), host=object(), plugins=pluggy.PluginManager(PROJECT_NAME))


class Signed:
    """A host with a signed-in person who may view."""

    def own_smtp_actor(self) -> Actor:
        return Actor(user_id="5", tenant_id=TENANT, name="Ann", email="ann@acme.example")


def test_menus_work_before_the_tables_exist(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """A host that is updated before its tables keeps its own pages, and its transaction."""
    own_smtp = OwnSMTP(app, SQLAlchemy(app), host=Signed())
    with app.test_request_context():
        assert [link.key for link in own_smtp.settings_links(TENANT)] == ["own_smtp"]
        assert len(own_smtp.project_links(TENANT, PROJECT)) == 2
        assert not own_smtp.db.session().in_transaction()
    assert "OperationalError" in caplog.text


def test_a_tenant_without_use_for_it_has_no_menus(app: Flask) -> None:
    """If the policy does not allow a tenant's own servers, and it has none, there are no links."""
    app.config["OWN_SMTP_ALLOWED_TENANTS"] = "other"
    own_smtp = OwnSMTP(app, SQLAlchemy(app), host=Signed())
    with app.test_request_context():
        schema.upgrade(own_smtp.db.engine)
        assert own_smtp.settings_links(TENANT) == own_smtp.project_links(TENANT, PROJECT) == []
        own_smtp.db.engine.dispose()


def test_the_plugin_implements_every_hook_that_a_host_fires() -> None:
    """A hook without implementation would silently do nothing."""
    fired = {name for name in vars(survey) if name.startswith("survey_")}
    assert {name for name in dir(plugin) if name.startswith(("survey_", HOST_PREFIX))} == fired


# Inside the host's transaction


def test_a_rollback_discards_the_batch(platform: Platform, relay: int) -> None:
    """Until the host's commit nothing is in the outbox, and no drain is enqueued."""
    woken = watch(platform)
    with platform.app.app_context():
        platform.own_smtp.send_invitations(batch(relay, "a", "b"))
        platform.own_smtp.db.session.rollback()
        platform.own_smtp.db.session.commit()
    assert platform.states() == {"queued": 1}
    assert woken == []


@pytest.mark.parametrize("raises", ["finish_of_all", "batch_url", "waits_for"])
def test_an_exception_leaves_nothing(
    raises: str, platform: Platform, relay: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the batch was written: a host that continues and commits has sent nothing."""

    def broken(*_arguments: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr(f"own_smtp.extension.{raises}", broken)
    woken = watch(platform)
    with platform.app.app_context():
        with pytest.raises(ZeroDivisionError):
            platform.own_smtp.send_invitations(batch(relay, "a"))
        platform.own_smtp.db.session.commit()
    assert (platform.states(), len(platform.rows(Batch)), woken) == ({"queued": 1}, 1, [])


@pytest.fixture
def wants_a_request(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host's locale selector works only in a request, as most do; the tenant reads German."""
    monkeypatch.setattr(platform.app.extensions["babel"], "locale_selector", lambda: request.args.get("language"))
    german = Tenant(tenant_id=TENANT, name="Acme", locale="de-CH")
    monkeypatch.setattr(platform.host, "own_smtp_tenant", lambda tenant_id: german, raising=False)
    platform.own_smtp.host.hook = manager(platform).hook


def manager(platform: Platform) -> pluggy.PluginManager:
    plugins = manager_for(platform.host)
    add_specifications(plugins)
    return plugins


@pytest.mark.usefixtures("wants_a_request")
def test_everything_works_outside_a_request(platform: Platform, relay: int) -> None:
    """A host's background task that sends and reports has no request: texts are in the tenant's language."""
    own_smtp, project = platform.own_smtp, f"{PROJECT}-{relay}"
    platform.change(relay, state="paused")
    with platform.app.app_context():
        receipt = own_smtp.send_invitations(batch(relay, "a"))
        own_smtp.db.session.commit()
        (sender,) = own_smtp.senders(TENANT, project)
        estimate = own_smtp.estimate(TENANT, project, None, 5)
        statuses = own_smtp.known_statuses(TENANT, project)
        columns = own_smtp.report_columns(TENANT, project)
    assert receipt is not None
    assert estimate is not None
    assert platform.states() == {"queued": 2}
    assert receipt.waits_for == sender.reason == estimate.waits_for
    assert "angehalten" in (receipt.waits_for or "")
    assert {"zugestellt"} <= {status.label.lower() for status in statuses} & {item.label.lower() for item in columns}


def test_a_send_needs_no_key_of_the_passwords(platform: Platform) -> None:
    """A web process reads limits and a sender; an undecryptable password pauses the relay when it is used."""
    relay = platform.add_relay(host="mail.acme.example", port=587, username="user", password="not ours")
    platform.change(relay, password="v1:lost:AAAA")
    platform.send(relay, 1)
    assert platform.states() == {"queued": 1}


def test_a_commit_enqueues_one_drain_for_each_relay(platform: Platform, relay: int) -> None:
    """However many batches a transaction has, one drain delivers them."""
    woken = watch(platform)
    with platform.app.app_context():
        for reference in ("a", "b", "c"):
            platform.own_smtp.send_invitations(batch(relay, reference))
        assert woken == []
        platform.own_smtp.db.session.commit()
        platform.own_smtp.db.session.commit()
    assert woken == [relay]


def watch(platform: Platform) -> list[int]:
    """Return the list of relays whose drains are enqueued from now on."""
    woken: list[int] = []
    platform.own_smtp.wakeup.enqueue_drain = lambda relay_id: bool(woken.append(relay_id)) or True  # type: ignore[method-assign]
    return woken


def test_a_send_is_quick_without_redis(platform: Platform, relay: int) -> None:
    """Without Redis the send takes less than a second, and the invitations are waiting."""
    assert platform.own_smtp.settings.redis_url == NOBODY
    before = time.monotonic()
    with platform.app.app_context():
        receipt = platform.own_smtp.send_invitations(batch(relay, "a"))
        platform.own_smtp.db.session.commit()
    assert time.monotonic() - before < 1
    assert receipt is not None
    assert receipt.waits_for is None
    assert platform.states() == {"queued": 2}


def test_a_batch_that_is_not_ours_is_not_read(platform: Platform, relay: int) -> None:
    """The host sends batches that are not accepted, and a generator can be read only once."""
    others = batch(relay, "a", "b", project_id="another project")
    platforms_own = batch(relay, "a", "b", sender="platform")
    with platform.app.app_context():
        for item in (others, platforms_own):
            assert platform.own_smtp.send_invitations(item) is None
            assert [invitation.reference for invitation in item.invitations] == ["a", "b"]


@pytest.mark.parametrize("sender", ["relay:99", "relay:", "relay:x", "1", "relay:1; --", f"relay:{10**30}"])
def test_a_sender_that_does_not_exist_is_refused(sender: str, platform: Platform, relay: int) -> None:
    """Form input is not trusted: only the tenant's own servers can be chosen."""
    with platform.app.app_context(), pytest.raises(NotFoundError):
        platform.own_smtp.send_invitations(batch(relay, "a", sender=sender))


def test_an_estimate_needs_a_time_with_a_zone(platform: Platform, relay: int) -> None:
    """With limits it is compared with others; without them the error would appear much later."""
    with platform.app.app_context(), pytest.raises(ContentError, match="must have a time zone"):
        platform.own_smtp.estimate(TENANT, f"{PROJECT}-{relay}", None, 5, datetime(2030, 1, 1))  # noqa: DTZ001 -- what is refused


def test_another_tenants_server_cannot_be_chosen(platform: Platform, relay: int) -> None:
    """Another tenant's valid key is treated like an unknown one."""
    foreign = platform.add_relay(host="other.example", port=587, tenant_id="other")
    with platform.app.app_context(), pytest.raises(NotFoundError):
        platform.own_smtp.send_invitations(batch(relay, "a", sender=f"relay:{foreign}"))


def test_the_receipt_has_refusals_and_the_reason_for_waiting(platform: Platform) -> None:
    """Undeliverable addresses are reported at once; a paused server's invitations are added, and wait."""
    relay = platform.add_relay(host="mail.acme.example", port=587, state="paused")
    platform.send(relay)
    wrong = Invitation(reference="wrong", address="not an address")
    right = Invitation(reference="right", address="kim@example.org")
    with platform.app.app_context():
        receipt = platform.own_smtp.send_invitations(batch(relay, invitations=[wrong, right, right]))
    assert receipt is not None
    assert (receipt.taken, receipt.refused_count) == (1, 1)
    assert (receipt.refused[0].reference, receipt.refused[0].address) == ("wrong", "not an address")
    assert "paused" in (receipt.waits_for or "")


def test_the_same_send_twice_adds_nothing(platform: Platform, relay: int) -> None:
    """A double click or a repeated request gets the first receipt."""
    with platform.app.app_context():
        first = platform.own_smtp.send_invitations(batch(relay, "a", "b", idempotency_key="press"))
        second = platform.own_smtp.send_invitations(batch(relay, "a", "b", "c", idempotency_key="press"))
        platform.own_smtp.db.session.commit()
    assert first is not None
    assert second is not None
    assert (first.batch_id, first.taken, first.repeated) == (second.batch_id, second.taken, False)
    assert second.repeated
    assert platform.states() == {"queued": 3}
