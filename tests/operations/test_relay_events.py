"""News that a drain brings about: told until they were taken, and no longer than they are true."""

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
    """A server that wants nothing more of this sender."""
    scripted.on("mail", "550 5.7.1 not your sender")
    return scripted


def age(platform: Platform) -> None:
    """Let all notices have been begun long ago."""
    with platform.engine.begin() as connection:
        connection.execute(update(Notice).values(taken_at=read_clock(connection) - 2 * NOTIFY_AGAIN_AFTER))


def heard(platform: Platform) -> list[tuple[str, str | None]]:
    """Return what was heard since the last call."""
    changes = platform.host.relay_changes[:]
    platform.host.relay_changes.clear()
    return [(change.state, change.pause_reason) for change in changes if change.is_automatic]


def paused_in_silence(platform: Platform, server: ScriptedServer) -> int:
    """Let a drain pause a relay while the host hears nothing."""
    relay = platform.add_relay(server)
    platform.send(relay, 2)
    platform.host.is_deaf = True
    platform.drain(relay)
    platform.host.is_deaf = False
    assert platform.relay(relay).state == "paused"
    assert heard(platform) == []
    return relay


def test_a_pause_is_told_once(platform, refusing):
    """The drain tells it, and nothing is left for anybody else."""
    relay = platform.add_relay(refusing)
    platform.send(relay, 2)
    platform.drain(relay)
    assert heard(platform) == [("paused", "sender")]
    assert platform.rows(Notice) == []
    assert not has_alerts(platform.runtime)
    assert send_alerts(platform.runtime) == 0


def test_a_pause_that_the_host_could_not_take_is_told_again(platform, refusing):
    """Not at once, which would hurry a host that is in trouble, but until it is taken."""
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


def test_a_pause_that_nobody_lived_to_tell_is_told(platform, refusing):
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
def test_what_is_true_no_longer_is_not_told(platform, refusing, change):
    """Somebody resumed or deleted it before the host could listen."""
    relay = paused_in_silence(platform, refusing)
    with platform.engine.begin() as connection:
        values = {key: read_clock(connection) if value == "now" else value for key, value in change.items()}
        connection.execute(update(Relay).where(Relay.id == relay).values(**values))
    age(platform)
    assert has_alerts(platform.runtime)
    assert send_alerts(platform.runtime) == 0
    assert heard(platform) == []
    assert platform.rows(Notice) == []


def test_two_machines_that_look_at_once_tell_it_once(platform, refusing):
    """The second one finds it taken: it read the row before the first one took it."""
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


def test_that_a_relay_works_again_is_told_until_it_is_taken(platform, scripted):
    """The all-clear is as sure as the alarm."""
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


def test_the_time_to_tell_is_longer_than_a_look():
    """Else every look at all relays would tell what another one is just telling."""
    assert timedelta(minutes=2) < NOTIFY_AGAIN_AFTER
