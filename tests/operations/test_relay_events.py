"""Relay events caused by a drain: delivered until the host accepts them, and only while they apply."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import event, update

from own_smtp.operations.relay_alerts import has_alerts, send_alerts
from own_smtp.operations.relay_events import NOTIFY_AGAIN_AFTER, RelayEventKind, notify_overdue_events, write_notice
from own_smtp.relays import lifecycle
from own_smtp.states import PauseReason
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Notice, Relay
from tests.engine import Platform
from tests.scripted import ScriptedServer


@pytest.fixture
def refusing(scripted: ScriptedServer) -> ScriptedServer:
    """A server that refuses everything from this sender."""
    scripted.on("mail", "550 5.7.1 not your sender")
    return scripted


def age(platform: Platform) -> None:
    """Make all notices overdue."""
    with platform.engine.begin() as connection:
        connection.execute(update(Notice).values(taken_at=read_clock(connection) - 2 * NOTIFY_AGAIN_AFTER))


def heard(platform: Platform) -> list[tuple[str, str | None]]:
    """Return the events since the last call."""
    changes = platform.host.relay_changes[:]
    platform.host.relay_changes.clear()
    return [(change.state, change.pause_reason) for change in changes if change.is_automatic]


def paused_in_silence(platform: Platform, server: ScriptedServer) -> int:
    """Let a drain pause a relay while the host fails."""
    relay = platform.add_relay(server)
    platform.send(relay, 2)
    platform.host.is_deaf = True
    platform.drain(relay)
    platform.host.is_deaf = False
    assert platform.relay(relay).state == "paused"
    assert heard(platform) == []
    return relay


def test_a_pause_is_notified_once(platform, refusing):
    """The drain delivers it, and nothing is left for a later round."""
    relay = platform.add_relay(refusing)
    platform.send(relay, 2)
    platform.drain(relay)
    assert heard(platform) == [("paused", "sender")]
    assert platform.rows(Notice) == []
    assert not has_alerts(platform.runtime)
    assert send_alerts(platform.runtime) == 0


def test_a_pause_that_the_host_could_not_accept_is_notified_again(platform, refusing):
    """Not at once, which would burden a failing host, but until it is accepted."""
    paused_in_silence(platform, refusing)
    assert send_alerts(platform.runtime) == 0
    age(platform)
    platform.host.is_deaf = True
    assert has_alerts(platform.runtime)
    assert send_alerts(platform.runtime) == 0
    platform.host.is_deaf = False
    assert send_alerts(platform.runtime) == 0
    age(platform)
    assert [send_alerts(platform.runtime) for _machine in range(2)] == [1, 0]
    assert heard(platform) == [("paused", "sender")]
    assert not has_alerts(platform.runtime)


def test_a_pause_whose_process_died_is_notified_later(platform, refusing):
    """The process died between the commit and the hook."""
    relay = platform.add_relay(refusing)
    with platform.engine.begin() as connection:
        lifecycle.pause(connection, relay, PauseReason.SENDER, "550 5.7.1 not your sender", None)
        write_notice(connection, relay, RelayEventKind.PAUSED)
    assert notify_overdue_events(platform.runtime) == 0
    age(platform)
    assert notify_overdue_events(platform.runtime) == 1
    assert heard(platform) == [("paused", "sender")]
    assert platform.rows(Notice) == []


@pytest.mark.parametrize("change", [{"state": "active", "pause_reason": None}, {"deleted_at": "now"}])
def test_an_outdated_event_is_not_notified(platform, refusing, change):
    """A person resumed or deleted the relay before the host could be notified."""
    relay = paused_in_silence(platform, refusing)
    with platform.engine.begin() as connection:
        values = {key: read_clock(connection) if value == "now" else value for key, value in change.items()}
        connection.execute(update(Relay).where(Relay.id == relay).values(**values))
    age(platform)
    assert has_alerts(platform.runtime)
    assert send_alerts(platform.runtime) == 0
    assert heard(platform) == []
    assert platform.rows(Notice) == []


def test_two_machines_notify_once(platform, refusing):
    """The second one finds it claimed: it had read the row before."""
    paused_in_silence(platform, refusing)
    age(platform)
    others = []

    def look_meanwhile(_connection, _cursor, statement, *_rest):
        if statement.startswith("UPDATE own_smtp_notice") and not others:
            others.append(None)
            others[0] = notify_overdue_events(platform.runtime)

    event.listen(platform.engine, "before_cursor_execute", look_meanwhile)
    assert notify_overdue_events(platform.runtime) + others[0] == 1
    assert heard(platform) == [("paused", "sender")]


def test_a_resumption_is_notified_until_it_is_accepted(platform, scripted):
    """The end of a pause is as reliable as its start."""
    scripted.on("mail", "452 4.5.3 quota exceeded", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    with platform.engine.begin() as connection:
        lifecycle.pause(connection, relay, PauseReason.QUOTA, "452 4.5.3 quota exceeded", None)
        lifecycle.probe(connection, relay)
    platform.host.is_deaf = True
    platform.drain_again(relay)
    platform.drain_again(relay)
    platform.host.is_deaf = False
    assert platform.states() == {"accepted": 1}
    age(platform)
    assert notify_overdue_events(platform.runtime) == 1
    assert heard(platform) == [("active", None)]


def test_a_notification_has_longer_than_a_round():
    """Otherwise each round would repeat a notification that is still in progress."""
    assert timedelta(minutes=2) < NOTIFY_AGAIN_AFTER
