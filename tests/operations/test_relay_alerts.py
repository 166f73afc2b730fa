"""Alerts: one message for each cause and one for its end, however many machines check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from flask import Flask
from flask_mail import Mail
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import insert, update

from own_smtp import OwnSMTP
from own_smtp.delivery.workers import jobs
from own_smtp.delivery.workers.dispatcher import Dispatcher
from own_smtp.hooks.events import RelayAlert
from own_smtp.operations.relay_alerts import RelaySnapshot, Verdict, has_alerts, judge, overdue_waits, send_alerts
from own_smtp.settings import Settings
from own_smtp.states import AlertCause, Security
from own_smtp.storage import periodic, schema
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Alert, Batch, Invitation, Lease, Relay
from own_smtp.storage.periodic import PeriodicTasks
from tests.engine import Platform, make_app
from tests.outbox_kit import Outbox
from tests.plans import analyse, plan_of
from tests.scripted import Authority, ClosedPort, ScriptedServer
from tests.servers.process import eventually
from tests.workers import worker_for

NOW = datetime(2026, 7, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
WELL = RelaySnapshot(
    now=NOW,
    relay_id=1,
    tenant_id="acme",
    label="Acme",
    address="research@acme.example",
    state="active",
    is_pinned=False,
    failing_since=None,
    last_success_at=NOW - HOUR,
    last_error=None,
    wake_at=None,
    certificate_until=NOW + 300 * DAY,
    overdue_since=None,
)
UNREACHABLE, QUEUE, CERTIFICATE = AlertCause.UNREACHABLE, AlertCause.QUEUE, AlertCause.CERTIFICATE


@pytest.mark.parametrize(
    ("changes", "cause", "verdict"),
    [
        ({}, UNREACHABLE, Verdict.ABSENT),
        ({}, QUEUE, Verdict.ABSENT),
        ({}, CERTIFICATE, Verdict.ABSENT),
        ({"failing_since": NOW - HOUR}, UNREACHABLE, Verdict.PRESENT),
        ({"failing_since": NOW - timedelta(minutes=1)}, UNREACHABLE, Verdict.UNDECIDED),
        ({"failing_since": NOW - HOUR, "state": "paused"}, UNREACHABLE, Verdict.IRRELEVANT),
        ({"failing_since": NOW - HOUR, "state": "unconfirmed"}, UNREACHABLE, Verdict.IRRELEVANT),
        ({"overdue_since": NOW - 2 * DAY}, QUEUE, Verdict.ABSENT),  # slow, but it continues
        ({"overdue_since": NOW - 2 * DAY, "last_success_at": NOW - 2 * DAY}, QUEUE, Verdict.PRESENT),
        ({"overdue_since": NOW - 2 * DAY, "last_success_at": None}, QUEUE, Verdict.PRESENT),
        ({"overdue_since": NOW - 2 * DAY, "last_success_at": None, "state": "unconfirmed"}, QUEUE, Verdict.PRESENT),
        ({"overdue_since": NOW - 2 * DAY, "last_success_at": None, "state": "paused"}, QUEUE, Verdict.IRRELEVANT),
        ({"overdue_since": NOW - 2 * DAY, "last_success_at": None, "wake_at": NOW + HOUR}, QUEUE, Verdict.UNDECIDED),
        ({"overdue_since": NOW - 2 * DAY, "last_success_at": None, "failing_since": NOW}, QUEUE, Verdict.UNDECIDED),
        ({"certificate_until": NOW + 10 * DAY}, CERTIFICATE, Verdict.PRESENT),
        ({"certificate_until": NOW - DAY}, CERTIFICATE, Verdict.PRESENT),
        ({"certificate_until": NOW + 10 * DAY, "is_pinned": True}, CERTIFICATE, Verdict.IRRELEVANT),
        ({"certificate_until": None}, CERTIFICATE, Verdict.IRRELEVANT),
    ],
)
def test_each_cause_is_judged_by_itself(changes, cause, verdict):
    """Each is present, absent or undecided by itself."""
    assert judge(replace(WELL, **changes), Settings())[cause] is verdict


# Recorded


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


class ListeningHost:
    """A host that records alerts, and may fail for a while."""

    wants_changes = False

    def __init__(self):
        self.heard = []
        self.is_deaf = False

    def relay_alerted(self, alert: RelayAlert) -> bool:
        self.heard.append(alert)
        return not self.is_deaf

    def lately(self):
        """Return the alerts since the last call."""
        heard, self.heard = self.heard, []
        return [(alert.cause, alert.is_over) for alert in heard]


@pytest.fixture
def runtime(platform: Platform, outbox):
    platform.with_parts(engine=outbox.engine, listener=ListeningHost())
    return platform.runtime


def set_lease(outbox, relay, **values):
    with outbox.engine.connect() as connection:
        now = read_clock(connection)
    moments = {name: now + value if isinstance(value, timedelta) else value for name, value in values.items()}
    outbox(lambda connection: connection.execute(update(Lease).where(Lease.relay_id == relay).values(**moments)))


@pytest.fixture
def relay(outbox):
    relay = outbox.relay(saved_by_address="admin@acme.example")
    outbox(lambda connection: connection.execute(insert(Lease).values(relay_id=relay)))
    return relay


def test_a_problem_is_notified_once_and_its_end_once(outbox, relay, runtime):
    """Two machines that check repeatedly send one message for the problem and one for its end."""
    set_lease(outbox, relay, failing_since=-HOUR, last_error="connect: mail.acme.example cannot be reached.")
    assert has_alerts(runtime)
    assert [send_alerts(runtime) for _machine in range(3)] == [1, 0, 0]
    assert not has_alerts(runtime)
    alert = runtime.listener.heard[0]
    assert (alert.relay_id, alert.label, alert.address) == (relay, "Acme", "admin@acme.example")
    assert alert.reason == "connect: mail.acme.example cannot be reached."
    assert runtime.listener.lately() == [("unreachable", False)]
    set_lease(outbox, relay, failing_since=None)
    assert [send_alerts(runtime) for _machine in range(2)] == [1, 0]
    assert runtime.listener.lately() == [("unreachable", True)]
    assert outbox.column(Alert.id) == []


def test_each_cause_has_a_message_of_its_own(outbox, relay, runtime):
    """An expiring certificate and an unreachable server are two alerts."""
    set_lease(outbox, relay, failing_since=-HOUR, certificate_until=10 * DAY)
    send_alerts(runtime)
    assert sorted(runtime.listener.lately()) == [("certificate", False), ("unreachable", False)]
    set_lease(outbox, relay, certificate_until=100 * DAY)
    send_alerts(runtime)
    assert runtime.listener.lately() == [("certificate", True)]


def test_invitations_that_wait_too_long_raise_an_alert(outbox, relay, runtime):
    """Even without failures: perhaps no worker runs."""
    outbox.send(relay, 3)
    assert send_alerts(runtime) == 0
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    outbox(lambda connection: connection.execute(update(Invitation).values(next_attempt_at=long_ago)))
    assert send_alerts(runtime) == 1
    assert runtime.listener.heard[0].at == long_ago
    assert runtime.listener.lately() == [("queue", False)]
    outbox(lambda connection: connection.execute(update(Batch).values(state="paused")))
    send_alerts(runtime)
    assert runtime.listener.lately() == [("queue", True)]


def test_a_failed_alert_is_sent_again(outbox, relay, runtime):
    """A mail server that fails for a minute loses no alert, and an end is only sent after its alert."""
    set_lease(outbox, relay, failing_since=-HOUR)
    runtime.listener.is_deaf = True
    assert send_alerts(runtime) == 0
    runtime.listener.is_deaf = False
    assert send_alerts(runtime) == 1
    assert runtime.listener.lately() == [("unreachable", False)] * 2
    set_lease(outbox, relay, certificate_until=DAY)
    runtime.listener.is_deaf = True
    send_alerts(runtime)
    set_lease(outbox, relay, certificate_until=100 * DAY)
    runtime.listener.lately()
    assert send_alerts(runtime) == 0
    assert runtime.listener.lately() == []


@pytest.mark.parametrize("change", [{"state": "paused"}, {"deleted_at": NOW}])
def test_a_pause_or_a_deletion_ends_the_alert_in_silence(outbox, relay, runtime, change):
    """The alert ends without a message: the pause has one of its own."""
    set_lease(outbox, relay, failing_since=-HOUR)
    send_alerts(runtime)
    runtime.listener.lately()
    outbox.change(Relay, relay, **change)
    assert send_alerts(runtime) == 0
    assert runtime.listener.lately() == []
    assert outbox.column(Alert.id) == []


def test_what_is_overdue_is_found_by_the_index_that_drains_use(outbox, relay):
    """A million waiting invitations cost as much as one: the check runs every minute."""
    outbox.send(relay, 4000)
    analyse(outbox.engine, Batch, Invitation)
    scanned, indexes = plan_of(outbox.engine, overdue_waits(NOW))
    assert "ix_own_smtp_invitation_batch_id_state_next_attempt_at_id" in indexes
    assert "own_smtp_invitation" not in scanned


# With real servers


def test_a_certificate_that_expires_soon_raises_an_alert(platform: Platform, trusted: Authority) -> None:
    """A drain recorded its expiry; the alert is sent when it is near, and its end when there is a new certificate."""
    server_context = trusted.server_context()
    with ScriptedServer(tls=server_context) as server:
        relay = platform.add_relay(server, host="localhost", security=Security.STARTTLS)
        platform.send(relay, 1)
        platform.drain(relay)
    host = ListeningHost()
    platform.with_parts(listener=host)
    assert send_alerts(platform.runtime) == 0
    ends_at = platform.lease(relay).certificate_until
    left = ends_at - datetime.now(UTC)
    platform.with_parts(settings=replace(platform.runtime.settings, certificate_warning=left + DAY))
    assert send_alerts(platform.runtime) == 1
    assert (host.heard[0].cause, host.heard[0].at) == (CERTIFICATE, ends_at)
    platform.with_parts(settings=replace(platform.runtime.settings, certificate_warning=DAY))
    assert send_alerts(platform.runtime) == 1
    assert host.lately() == [("certificate", False), ("certificate", True)]


def test_a_server_that_goes_and_comes_back(
    tmp_path: Path, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The owner gets one mail by the platform's own server, and one when the relay works again."""
    app = make_app(f"sqlite:///{tmp_path}/a.sqlite3", tmp_path / "journal", failure_warning=0, reconnect=0)
    with ScriptedServer() as mail:
        app.config.update(
            MAIL_SERVER=mail.host,
            MAIL_PORT=mail.port,
            MAIL_DEFAULT_SENDER="platform@surveys.example",
            MAIL_SUPPRESS_SEND=False,
        )
        with _platform(app) as platform, ClosedPort() as closed:
            monkeypatch.setattr(platform.own_smtp.wakeup, "enqueue", _at_once(platform))
            relay = platform.add_relay(closed, label="Company mail", saved_by_address="ann@acme.example")
            platform.send(relay, 1)
            for _drain in range(3):
                platform.drain_again(relay)
                _new_dispatcher(platform).look()
            assert platform.lease(relay).error_count == 3
            platform.change(relay, host=scripted.host, port=scripted.port)
            platform.drain_again(relay)
            _new_dispatcher(platform).look()
    assert platform.states() == {"accepted": 1}
    assert [copy.recipients for copy in mail.copies] == [("ann@acme.example",)] * 2
    subjects = [message_from_bytes(copy.data, policy=policy.default)["Subject"] for copy in mail.copies]
    assert subjects == [
        "The mail server “Company mail” cannot be used",
        "The mail server “Company mail” can be used again",
    ]


def _platform(app: Flask) -> Platform:
    Mail(app)
    own_smtp = OwnSMTP(app, SQLAlchemy(app))
    platform = Platform(app, own_smtp, None)
    schema.upgrade(platform.engine)
    return platform


def _at_once(platform: Platform) -> Callable[..., bool]:
    """Return a function that runs a job instead of enqueuing it."""

    def run(job: str, *ids: int) -> bool:
        if job == "look_after_relays":
            with platform.app.app_context():
                jobs.look_after_relays(*ids)
        return True

    return run


def _new_dispatcher(platform: Platform) -> Dispatcher:
    """A dispatcher for which the periodic check is due."""
    PeriodicTasks(platform.engine, platform.runtime.clock).do_again(periodic.ALERTS)
    return Dispatcher(platform.runtime, platform.own_smtp.wakeup, platform.own_smtp.db.session)


def test_two_workers_send_it_once(platform: Platform, redis_url: str) -> None:
    """Their dispatchers agree by a row, and a job sends it; a platform without mail logs that, once."""
    relay = platform.add_relay(host="mail.acme.example", port=587, saved_by_address="ann@acme.example")
    with platform.engine.begin() as connection:
        connection.execute(insert(Lease).values(relay_id=relay, failing_since=read_clock(connection) - HOUR))
    with worker_for(platform, redis_url) as one, worker_for(platform, redis_url) as other:
        eventually(lambda: [row.told_at for row in platform.rows(Alert) if row.told_at], "it was told")
        assert eventually(lambda: (one.log + other.log).count("A notice was not sent"), "a worker said so") == 1
