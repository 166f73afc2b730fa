"""The fault table for whole drains: what the database says, and how many copies the server holds after recovery.

Killed processes, Redis and databases that go away have tests of their own.
"""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, select, update

from own_smtp.errors import NoSuchHostError, ResolverError, TargetRefusedError
from own_smtp.hooks.events import Attachment
from own_smtp.storage.clock import read_clock
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import Invitation, Journal
from tests.engine import CONTENT, PROJECT, SHORT, TENANT, recipients_of
from tests.fault_table import FAULTS, PASSWORD, SETUP_PHASES
from tests.scripted import CLOSE, EXTENSIONS, KEEP, BlackHole, ClosedPort, ScriptedServer, Wait
from tests.smtp.test_transfer import SwallowAndClose

pytestmark = pytest.mark.exhaustive

LARGE = replace(
    CONTENT, attachments=[Attachment(filename="a.bin", content_type="application/octet-stream", data=bytes(6_000_000))]
)
TWO = ["user1@example.org", "user2@example.org"]


def states(platform):
    """Return the states of the invitations, in order."""
    return [row.state for row in platform.invitations]


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(make_platform, trusted, name):
    """The first invitation meets the fault; then the server is well, all waits pass, and it is delivered if it may be.

    The second one only stands behind it: it arrives once, now or later, unless the relay pauses.
    """
    fault = FAULTS[name]
    platform = make_platform(deadlines=fault.limits)
    count = 1 if fault.large else 2
    with fault.server(trusted) as server:
        login = {"password": PASSWORD, "security": fault.security} if fault.certificate else {}
        relay = platform.add_relay(server, **login)
        platform.send(relay, count, content=LARGE if fault.large else CONTENT)
        platform.drain(relay)
        assert states(platform)[0] == fault.state
        assert platform.relay(relay).state == ("paused" if fault.pause else "active")
        assert platform.relay(relay).pause_reason == fault.pause
        assert len(platform.host.relay_changes) == bool(fault.pause)
        if fault.pause:
            assert set(states(platform)) == {"queued"}
        assert len(server.attempts) <= len(server.connections)

        for _ in range(3):
            platform.drain_again(relay)
        assert recipients_of(server.copies) == expected(fault, count)
        if fault.phase != "tls":
            assert server.violations == []
        if fault.phase == "auth" and fault.pause:
            assert len(server.connections) == 1, "one more try could lock the account"
    assert PASSWORD not in repr((platform.attempts, platform.lease(relay), platform.relay(relay).pause_text))
    assert all(batch.state == ("open" if fault.pause else "done") for batch in platform.batches)
    assert settled_once(platform)


def expected(fault, count):
    if fault.pause:
        return []
    return TWO[1 - fault.copies : count]


def settled_once(platform):
    """Whether every invitation has exactly one attempt on record that ended it, and counts all of them."""
    attempts = [row.invitation_id for row in platform.attempts]
    return all(row.attempts == attempts.count(row.id) for row in platform.invitations)


# Before any connection


@pytest.mark.parametrize(
    "error", [ResolverError("No answer."), NoSuchHostError("There is no host."), TargetRefusedError("no")]
)
def test_a_name_without_a_usable_address(platform, scripted, error):
    """It may work later, whatever the cause: nothing pauses, the relay rests, and then everything is delivered."""
    relay, resolve = platform.add_relay(scripted), platform.runtime.resolver(platform.runtime.settings)

    async def failing(_profile):
        raise error

    platform.with_parts(resolver=lambda _settings: failing)
    platform.send(relay, 2)
    platform.drain(relay)
    assert platform.states() == {"queued": 2}
    assert platform.relay(relay).state == "active"
    assert platform.lease(relay).wake_at is not None
    platform.with_parts(resolver=lambda _settings: resolve)
    platform.drain_again(relay)
    assert recipients_of(scripted.copies) == TWO


@pytest.mark.parametrize("hole", [ClosedPort, BlackHole])
def test_an_unreachable_server(make_platform, hole):
    """Refused or silent: one attempt, no invitation is affected, and the relay rests before the next."""
    platform = make_platform(deadlines=replace(SHORT, connect=0.2))
    dialled = []
    dial = platform.runtime.dialer

    async def counted(target, seconds):
        dialled.append(target)
        return await dial(target, seconds)

    platform.with_parts(dialer=counted)
    with hole() as nobody:
        relay = platform.add_relay(nobody, max_connections=4)
        platform.send(relay, 50)
        platform.drain(relay)
        assert platform.states() == {"queued": 50}
        assert len(dialled) == 1
        assert platform.attempts == []
        lease = platform.lease(relay)
        assert (lease.failures, lease.wake_at > lease.drained_at) == (1, True)
        platform.drain(relay)
        assert len(dialled) == 1, "a relay that rests is not probed"
    with ScriptedServer(port=nobody.port) as server:
        platform.drain_again(relay)
        assert len(recipients_of(server.copies)) == 50
    assert platform.lease(relay).failures == 0


# Between messages


def test_a_server_that_closes_after_each_message(platform, scripted):
    """Closed idle connections cost a new connection, no attempt and no copy."""
    scripted.on("dot", ("250 2.0.0 queued", CLOSE))
    relay = platform.add_relay(scripted)
    platform.send(relay, 5)
    platform.drain(relay)
    assert platform.states() == {"accepted": 5}
    assert len(scripted.copies) == len(platform.attempts) == len(scripted.connections) == 5


def test_a_server_that_always_closes_at_one_recipient(platform, scripted):
    """That invitation waits for its next attempt; the others arrive."""
    scripted.on("rcpt", CLOSE, recipient="user1@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 4)
    platform.drain(relay)
    platform.drain_again(relay)
    assert states(platform) == ["queued", "accepted", "accepted", "accepted"]
    assert len(scripted.copies) == 3


def test_a_server_that_closes_every_connection_at_mail(platform, scripted):
    """After a few connections the relay counts as unreachable, and rests."""
    scripted.on("mail", CLOSE)
    relay = platform.add_relay(scripted)
    platform.send(relay, 50)
    platform.drain(relay)
    assert platform.states() == {"queued": 50}
    assert len(scripted.connections) <= 5
    assert platform.lease(relay).wake_at is not None


# The pace


@pytest.mark.parametrize(("phase", "reply"), [("mail", "450 4.7.1 slow down"), ("rcpt", "452 4.5.3 too many")])
def test_a_rate_limit_slows_the_relay_down(platform, scripted, phase, reply):
    """The learned rate is kept for the next drain."""
    scripted.on(phase, reply, message=3, times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 4)
    platform.drain(relay)
    assert states(platform).count("queued") == 1
    assert platform.lease(relay).pace["learned"] > 0
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 4}
    assert len(scripted.copies) == 4


def test_connections_with_a_message_limit(platform, scripted):
    """Exim's 421 after so many messages costs a new connection: no retry, no time and no speed."""
    scripted.on("mail", ("421 too many messages in this connection", CLOSE), when=lambda moment: moment.turn > 60)
    relay = platform.add_relay(scripted, max_connections=2)
    platform.send(relay, 300)
    platform.drain(relay)
    assert platform.states() == {"accepted": 300}
    assert [row.code for row in platform.attempts] == [250] * 300
    assert "learned" not in platform.lease(relay).pace
    assert len(scripted.copies) == 300
    assert len(scripted.connections) >= 5


@pytest.mark.parametrize("words", ["421 too many messages", "421 4.7.0 too many messages in this connection"])
@pytest.mark.parametrize("window", [1, 4])
def test_a_server_that_accepts_five_messages_per_connection(make_platform, scripted, words, window):
    """New connections are used at full speed and without a retry; soon they are closed before the server's 421."""
    platform = make_platform(window=window)
    refusals = scripted.on("mail", (words, SwallowAndClose()), when=lambda moment: moment.turn > 5)
    relay = platform.add_relay(scripted, max_connections=4)
    platform.send(relay, 200)
    platform.drain(relay)
    assert platform.states() == {"accepted": 200}
    assert [row.code for row in platform.attempts] == [250] * 200
    assert platform.lease(relay).pace["per_connection"] == 5
    assert "learned" not in platform.lease(relay).pace
    assert recipients_of(scripted.copies) == sorted(f"user{number}@example.org" for number in range(1, 201))
    before = refusals.hits
    platform.send(relay, 50)
    platform.drain(relay)
    assert platform.states() == {"accepted": 250}
    assert refusals.hits <= before + 2  # one connection in fifty tries for more


@pytest.mark.parametrize("phase", ["banner", "mail"])
def test_a_server_that_allows_two_connections(platform, scripted, phase):
    """421 to a third one costs that connection, and neither speed nor a retry."""
    bearable = {1, 2}
    scripted.on(phase, ("421 4.7.0 too many connections", CLOSE), when=lambda moment: moment.connection not in bearable)
    relay = platform.add_relay(scripted, max_connections=6)
    platform.send(relay, 300)
    platform.drain(relay)
    assert platform.states() == {"accepted": 300}
    assert [row.code for row in platform.attempts] == [250] * 300
    assert "learned" not in (platform.lease(relay).pace or {})
    assert len(scripted.connections) <= 6


def test_a_server_that_accepts_five_messages_and_then_no_connection(platform, scripted):
    """If new connections are refused as well, the rate is too high: the relay rests, and continues more slowly."""
    scripted.on("mail", ("421 4.7.0 too much", CLOSE), when=lambda moment: moment.message > 5)
    scripted.on("banner", ("421 4.7.0 too much", CLOSE), when=lambda moment: moment.connection > 1, times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 8)
    platform.drain(relay)
    lease = platform.lease(relay)
    assert platform.states() == {"accepted": 5, "queued": 3}
    assert [row.code for row in platform.attempts] == [250] * 5
    assert lease.pace["wait"] > 0
    assert lease.wake_at is not None


def test_full_speed_returns_after_temporary_requests_to_slow_down(platform, scripted):
    """After some requests to slow down everything is sent within one drain, at full speed in the end."""
    scripted.on("dot", "451 4.3.0 too busy", times=3)
    relay = platform.add_relay(scripted, max_connections=2)
    platform.send(relay, 60)
    platform.drain(relay)
    assert platform.states() == {"accepted": 57, "queued": 3}
    pace = platform.lease(relay).pace
    assert "learned" not in pace
    assert "wait" not in pace


# Retries


@pytest.mark.parametrize("reply", ["450 4.2.0 greylisted", "451 4.3.0 later", "452 4.5.3 too many"])
def test_a_temporary_refusal_expires(platform, scripted, reply):
    """It is retried until the retry horizon, and then fails with the server's reply."""
    scripted.on("rcpt", reply)
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    platform.drain(relay)
    assert states(platform) == ["queued"]
    with platform.engine.begin() as connection:
        long_ago = read_clock(connection) - timedelta(days=4)
        connection.execute(update(Invitation).values(first_failure_at=long_ago))
    platform.drain_again(relay)
    assert states(platform) == ["failed"]
    assert [row.code for row in platform.attempts] == [int(reply[:3])] * 2
    assert scripted.copies == []
    assert platform.batches[0].state == "done"


def test_an_expired_batch_is_not_retried(platform, scripted):
    """The survey's end comes before the retry horizon."""
    scripted.on("rcpt", "450 4.2.0 greylisted")
    relay = platform.add_relay(scripted)
    with platform.engine.connect() as connection:
        end = read_clock(connection) + timedelta(minutes=1)
    platform.send(relay, 1, expires_at=end)
    platform.drain(relay)
    assert states(platform) == ["failed"]


# Changes while a drain runs


@pytest.fixture
def stopped_midway():
    """A server that blocks at its second message until the test releases it."""
    with ScriptedServer() as server:
        gate = Wait()
        server.on("dot", (KEEP, gate, "250 2.0.0 queued"), message=2, times=1)
        yield server, gate


def meanwhile(server, gate, change):
    """Run `change` when the server is at its second message, then let it reply."""

    def work():
        server.wait_for(lambda: len(server.copies) == 2)
        change()
        gate.event.set()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_relay_that_is_edited_while_it_is_drained(platform, stopped_midway, scripted):
    """Messages in flight end over the old settings; the rest uses the new ones, each once."""
    server, gate = stopped_midway
    relay = platform.add_relay(server)
    platform.send(relay, 300)
    other = meanwhile(server, gate, lambda: platform.change(relay, port=scripted.port))
    due_again = platform.drain(relay)
    other.join()
    assert due_again == {relay}
    platform.drain(relay)
    assert platform.states() == {"accepted": 300}
    assert len(set(recipients_of(server.copies + scripted.copies))) == 300
    assert len(server.copies) + len(scripted.copies) == 301  # `KEEP` and the reply each keep the second message
    assert scripted.copies


def test_a_project_that_is_deleted_while_it_is_drained(platform, stopped_midway):
    """Messages in flight end; nothing more is sent."""
    server, gate = stopped_midway
    relay = platform.add_relay(server)
    platform.send(relay, 300)

    def forget():
        with platform.app.app_context():
            platform.own_smtp.forget_project(TENANT, f"{PROJECT}-{relay}")
            platform.own_smtp.db.session.commit()

    other = meanwhile(server, gate, forget)
    platform.drain(relay)
    other.join()
    platform.drain_again(relay)
    assert len(server.copies) < 300
    assert platform.states().get("queued", 0) == 0


def test_a_worker_that_is_asked_to_stop(platform, scripted):
    """The message in flight ends, the rest stays queued for the next worker."""
    scripted.on("dot", lambda _moment: (os.kill(os.getpid(), signal.SIGTERM), "250 2.0.0 queued")[1], message=2)
    relay = platform.add_relay(scripted)
    platform.send(relay, 300)
    assert platform.drain(relay) == {relay}
    counted = platform.states()
    assert counted.keys() == {"accepted", "queued"}
    assert counted["accepted"] == len(scripted.copies)
    platform.drain(relay)
    assert platform.states() == {"accepted": 300}
    assert len(scripted.copies) == 300


# Windows of messages in flight


@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.phase not in SETUP_PHASES])
def test_a_fault_within_a_window(make_platform, trusted, name):
    """With CHUNKING nothing is lost, nothing arrives twice, and no more than the window is unknown."""
    fault = FAULTS[name]
    platform = make_platform(deadlines=fault.limits, window=4)
    with fault.server(trusted, extensions=EXTENSIONS) as server:
        relay = platform.add_relay(server)
        platform.send(relay, 1 if fault.large else 8, content=LARGE if fault.large else CONTENT)
        platform.drain(relay)
        for _ in range(3):
            platform.drain_again(relay)
        copies = recipients_of(server.copies)
        with platform.engine.connect() as connection:
            rows = connection.execute(select(Invitation.address, Invitation.state)).all()
    assert len(set(copies)) == len(copies)
    accepted = {row.address for row in rows if row.state == "accepted"}
    unknown = {row.address for row in rows if row.state == "unknown"}
    assert accepted <= set(copies) <= accepted | unknown
    assert len(unknown) <= 4


def test_an_unreadable_password_causes_one_notice(platform, scripted):
    """A key was removed too early: the relay pauses, keeps its invitations, and its owner is notified once."""
    relay = platform.add_relay(scripted, password="correct horse", saved_by_address="ann@acme.example")
    platform.send(relay, 2)
    platform.runtime = replace(platform.runtime, vault=Vault.from_keys([generate_key()]))
    for _time in range(2):
        platform.drain_again(relay)
    (change,) = platform.host.relay_changes
    assert (change.state, change.pause_reason, change.is_automatic) == ("paused", "secret_unreadable", True)
    assert change.address == "ann@acme.example"  # and never the sender, whose mailbox nobody proved
    assert (platform.states(), scripted.copies) == ({"queued": 2}, [])
    assert platform.rows(Journal) == []


def test_a_drain_that_gives_up_locks_the_lease_before_the_relay(platform, scripted):
    """People who move invitations or delete a relay use the same order: in the other one they would deadlock."""
    relay = platform.add_relay(scripted, password="correct horse")
    platform.send(relay, 1)
    platform.runtime = replace(platform.runtime, vault=Vault.from_keys([generate_key()]))
    written = []

    def note(_connection, _cursor, statement, *_rest):
        written.extend(name for name in ("lease", "relay") if statement.startswith(f"UPDATE own_smtp_{name} "))

    event.listen(platform.engine, "before_cursor_execute", note)
    platform.drain(relay)
    assert platform.relay(relay).state == "paused"
    assert written[-2:] == ["lease", "relay"]
