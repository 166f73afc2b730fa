"""What each death leaves in the database and at the mail server, with workers in processes of their own."""

import os
import secrets
import signal
import time
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from own_smtp.delivery.sending.drain import Drain
from own_smtp.delivery.workers.recovery import recover_all
from own_smtp.delivery.workers.wakeup import Wakeup, debounce_key
from own_smtp.errors import JournalError
from own_smtp.operations import erasure
from own_smtp.outbox import actions, leases, settlements
from own_smtp.outbox.journal import JournalWriter, Machine
from own_smtp.outbox.journal_lines import parse_journal
from own_smtp.settings import Settings
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import BatchTotals, Journal, Lease
from tests.counting import CountingServer
from tests.engine import Platform, recipients_of
from tests.scripted import PASS, Wait
from tests.servers.databases import PostgreSQL
from tests.servers.process import eventually
from tests.workers import settled, worker_for

pytestmark = pytest.mark.exhaustive

EVERYBODY = [f"user{number}@example.org" for number in range(1, 11)]


@pytest.fixture
def work(platform, redis_url):
    """Start workers on the platform."""
    return lambda **settings: worker_for(platform, redis_url, **settings)


@pytest.fixture
def counting():
    """A server with a little latency, that counts."""
    with CountingServer(delay=0.01) as server:
        yield server


def by_address(platform):
    return {row.address: row.state for row in platform.invitations}


def once(addresses):
    return sorted(addresses)


# The process that sends


def test_killed_before_the_mark_nothing_is_lost(platform, scripted, work):
    """A kill while the server still thinks about a recipient costs that invitation nothing: it is sent again, once."""
    gate = Wait()
    scripted.on("rcpt", (gate, PASS), recipient="user4@example.org", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with work() as worker:
        scripted.wait_for(lambda: any("user4@" in line for line in scripted.commands), 30)
        eventually(lambda: findings(platform).ended.keys() == {1, 2, 3}, "three were sent, and on record")
        worker.horse().kill()
        gate.event.set()
        assert settled(platform) == {"accepted": 10}
    assert recipients_of(scripted.copies) == once(EVERYBODY)


def test_killed_after_the_mark_one_is_unknown(platform, scripted, work):
    """A kill between the final dot and its reply leaves exactly that invitation unknown, and it is not sent again."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with work() as worker:
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        worker.horse().kill()
        gate.event.set()
        assert settled(platform) == {"accepted": 9, "unknown": 1}
    assert by_address(platform)["user4@example.org"] == "unknown"
    assert recipients_of(scripted.copies) in (once(EVERYBODY), once(set(EVERYBODY) - {"user4@example.org"}))


def findings(platform):
    """What stands in the journal of the present drain."""
    (path,) = platform.runtime.machine.folder.glob("*.journal")
    return parse_journal(path.read_bytes().splitlines(keepends=True), path.stem)


def begun_in(platform):
    """Return what is begun and not ended; `None` while there is no journal, or only half of its header."""
    paths = list(platform.runtime.machine.folder.glob("*.journal"))
    with suppress(JournalError):
        return findings(platform).begun if len(paths) == 1 else None


def sending(*workers):
    """Return the worker whose job has a journal open. The other one may have had a job, too, that found nothing."""

    def look():
        for worker in workers:
            horse = worker.find_horse()
            if horse is not None and any(file.path.endswith(".journal") for file in horse.open_files()):
                return worker
        return None

    return eventually(look, "somebody sends")


def test_killed_again_and_again_each_is_sent_at_most_once(platform, counting, work):
    """Whatever a series of kills in mid-drain hits: none is lost, none is sent twice, few are unknown."""
    relay = platform.add_relay(counting, max_connections=3)
    platform.send(relay, 300)
    kills = 5
    with work() as worker:
        for _kill in range(kills):
            sent = sum(counting.copies().values())
            eventually(lambda sent=sent: sum(counting.copies().values()) > sent + 5, "some more were sent")
            worker.horse().kill()
        states = settled(platform)
    copies = counting.copies()
    assert sum(states.values()) == 300
    assert set(copies.values()) == {1}
    assert states.get("unknown", 0) <= 3 * kills
    assert all(copies[address] == 1 for address, state in by_address(platform).items() if state == "accepted")


def test_a_frozen_drain_that_was_overtaken_sends_nothing_twice(platform, scripted, work):
    """A process that stalled beyond its lease wakes up to find that others do its work, and stops."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with work() as first, work() as second:
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        # Frozen inside a transaction it would keep SQLite's one lock from everybody.
        eventually(lambda: platform.states().get("accepted") == 3, "those before it are settled")
        horse = sending(first, second).horse()
        horse.suspend()
        platform.send(relay, ["late@example.org"])
        eventually(lambda: platform.lease(relay).token > 1, "another drain took over")
        eventually(lambda: by_address(platform)["late@example.org"] == "accepted", "the other drain sent")
        gate.event.set()
        horse.resume()
        assert settled(platform) == {"accepted": 11}
    assert recipients_of(scripted.copies) == once([*EVERYBODY, "late@example.org"])


# The worker


def test_asked_to_stop_it_finishes_the_message_and_leaves_the_rest(platform, scripted, work):
    """TERM: the message on the wire is finished and settled, all others wait, and the exit code is 0."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with work() as worker:
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        horse = worker.horse()
        worker.process.send_signal(signal.SIGTERM)
        eventually(lambda: "Stopping after" in worker.log, "it heard")
        gate.event.set()
        assert worker.process.wait(30) == 0
        assert not horse.is_running()
    states = by_address(platform)
    assert [address for address in EVERYBODY if states[address] == "accepted"][:4] == EVERYBODY[:4]
    assert set(states.values()) == {"accepted", "queued"}
    assert recipients_of(scripted.copies) == once(address for address in states if states[address] == "accepted")
    with work():
        assert settled(platform) == {"accepted": 10}
    assert recipients_of(scripted.copies) == once(EVERYBODY)


def test_a_killed_worker_leaves_the_sending_process_at_work(platform, scripted, work):
    """kill -9 of the worker: its child goes on and settles, its dispatcher ends, a second worker doubles nothing."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with work() as worker, work() as other:
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        parent = sending(worker, other)
        horse, dispatcher = parent.horse(), parent.dispatcher()
        parent.kill()
        eventually(lambda: not dispatcher.is_running(), "the dispatcher ended with its worker")
        assert horse.is_running()
        gate.event.set()
        assert settled(platform) == {"accepted": 10}
        horse.wait(30)
    assert recipients_of(scripted.copies) == once(EVERYBODY)


# Redis


def test_without_redis_a_send_is_quick_and_is_made_up_for(make_platform, redis_server, scripted):
    """Redis down: the send succeeds within a second, waits, and is delivered when Redis is back."""
    platform = make_platform(redis_url=redis_server.url)
    relay = platform.add_relay(scripted)
    redis_server.kill()
    began = time.monotonic()
    platform.send(relay, 3)
    assert time.monotonic() - began < 1
    with worker_for(platform, redis_server.url) as worker:
        worker.dispatcher()
        assert platform.states() == {"queued": 3}
        redis_server.start()
        assert settled(platform) == {"accepted": 3}
    assert len(scripted.copies) == 3


def test_a_hung_redis_does_not_hold_a_request(make_platform, redis_server, scripted):
    """A Redis that accepts connections and says nothing costs a send a moment, and not a client's usual minute."""
    platform = make_platform(redis_url=redis_server.url)
    relay = platform.add_relay(scripted)
    os.kill(redis_server.process.pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        platform.send(relay, 3)
        assert time.monotonic() - began < 10  # a client left to its defaults waits for a minute
    finally:
        os.kill(redis_server.process.pid, signal.SIGCONT)
    assert platform.states() == {"queued": 3}


def test_a_wiped_redis_loses_nothing(platform, scripted, redis_server):
    """All that Redis knew is gone in mid-drain: the worker lives on, and what is due is found again."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with worker_for(platform, redis_server.url) as worker:
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        redis_server.kill()
        redis_server.start()
        gate.event.set()
        eventually(lambda: platform.states() == {"accepted": 10}, "the drain finished without Redis")
        platform.send(relay, ["late@example.org"])
        assert settled(platform) == {"accepted": 11}
        assert worker.process.poll() is None
    assert recipients_of(scripted.copies) == once([*EVERYBODY, "late@example.org"])


def test_the_same_job_many_times_delivers_once(platform, scripted, redis_url, work):
    """Ten jobs for one relay, on two workers with two dispatchers, send each invitation once."""
    relay = platform.add_relay(scripted, max_connections=2)
    platform.send(relay, 50)
    wakeup = Wakeup(Settings(redis_url=redis_url))
    for _job in range(10):
        wakeup.redis.delete(debounce_key(wakeup.queue.name, "drain", relay))
        assert wakeup.enqueue_drain(relay)
    assert wakeup.depth() == 10
    with work(), work():
        assert settled(platform) == {"accepted": 50}
        eventually(lambda: wakeup.depth() == 0, "all jobs ran")
    assert recipients_of(scripted.copies) == once(f"user{number}@example.org" for number in range(1, 51))


# The database


@pytest.fixture
def on_postgresql(tmp_path):
    """A platform on a PostgreSQL of its own."""
    with PostgreSQL() as server, server.fresh() as url, Platform.at(url, tmp_path / "journal") as platform:
        yield server, platform


def revive(server, platform):
    server.start()
    platform.engine.dispose()  # the test's own connections died, too


@pytest.mark.servers
def test_a_database_that_dies_before_the_dot_delays_the_sending(on_postgresql, scripted, redis_url):
    """Without a database no new invitation is claimed; those that were are sent once, and settled when it is back."""
    server, platform = on_postgresql
    gate = Wait()
    scripted.on("rcpt", (gate, PASS), recipient="user4@example.org", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with worker_for(platform, redis_url, lease=10) as worker:
        scripted.wait_for(lambda: any("user4@" in line for line in scripted.commands), 30)
        server.kill()
        gate.event.set()
        revive(server, platform)
        assert settled(platform) == {"accepted": 10}
        assert worker.process.poll() is None
    assert recipients_of(scripted.copies) == once(EVERYBODY)


@pytest.mark.servers
def test_a_database_that_dies_after_the_250_is_told_when_it_is_back(on_postgresql, scripted, redis_url):
    """An outcome that could not be settled is written when the database answers again."""
    server, platform = on_postgresql
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 4)
    with worker_for(platform, redis_url, lease=10):
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        server.kill()
        gate.event.set()
        scripted.wait_for(lambda: len(scripted.copies) == 4)
        revive(server, platform)
        assert settled(platform) == {"accepted": 4}


@pytest.mark.servers
def test_a_drain_that_dies_while_the_database_is_away_is_read_from_its_journal(on_postgresql, scripted, redis_url):
    """What was accepted without a database is known although the process died, too: the journal has it."""
    server, platform = on_postgresql
    gate = Wait()
    scripted.on("rcpt", (gate, PASS), recipient="user4@example.org", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with worker_for(platform, redis_url, lease=10) as worker:
        scripted.wait_for(lambda: any("user4@" in line for line in scripted.commands), 30)
        server.kill()
        gate.event.set()
        scripted.wait_for(lambda: len(scripted.copies) == 10)
        worker.horse().kill()
        revive(server, platform)
        states = settled(platform)
    assert states["accepted"] >= 9
    assert recipients_of(scripted.copies) == once(EVERYBODY)


# Machines and journals


def claimed_by_a_dead_drain(platform, relay, machine):
    """A drain that claimed all, began the second and died; return what was claimed."""
    platform.send(relay, 3)
    with platform.engine.begin() as connection:
        taken = leases.take_lease(
            connection,
            relay,
            owner="gone",
            machine=machine,
            journal=secrets.token_hex(16),
            duration=platform.runtime.settings.lease,
        )
        claimed = [item.id for item in settlements.claim(connection, taken, 10).invitations]
    journal = JournalWriter(machine, taken.journal)
    journal.begin(claimed[1])
    journal.close(delete=False)
    return taken, claimed


def let_pass(platform, time_ago):
    """Make the open journals that old, and their leases over."""
    with platform.engine.begin() as connection:
        past = read_clock(connection) - time_ago
        connection.execute(update(Journal).values(opened_at=past))
        connection.execute(update(Lease).values(expires_at=past))


def test_a_lost_machine_leaves_its_claims_unknown_after_the_grace(platform, scripted, tmp_path):
    """What another machine had claimed stays its own for the time of grace; then each of it may have been sent."""
    other = Machine.at(tmp_path / "other")
    relay = platform.add_relay(scripted)
    claimed_by_a_dead_drain(platform, relay, other)
    settings = platform.runtime.settings
    let_pass(platform, settings.machine_grace)
    assert recover_all(platform.runtime) == []
    let_pass(platform, settings.machine_grace + settings.slice + timedelta(seconds=1))
    assert recover_all(platform.runtime) == [relay]
    assert platform.states() == {"unknown": 3}
    platform.drain(relay)
    assert scripted.copies == []


def test_a_drain_that_returns_after_the_grace_says_what_it_never_began(make_platform, scripted, monkeypatch):
    """Its claims became unknown, and its batch was closed; what it had not begun waits again, and is sent once."""
    platform = make_platform()
    relay = platform.add_relay(scripted)
    platform.send(relay, 40)
    other = replace(platform.runtime, machine=Machine.at(platform.runtime.machine.folder.parent / "other"))
    real, late = Drain._write_end, []

    async def write_end(self):
        if not late:
            late.append(1)
            let_pass(platform, timedelta(hours=2))
            assert recover_all(other) == [relay]
            assert platform.states()["unknown"] > 30
        return await real(self)

    monkeypatch.setattr(Drain, "_write_end", write_end)
    scripted.on("mail", "550 5.7.1 sender refused", message=5, times=1)
    platform.drain(relay)
    states = platform.states()
    assert states["accepted"] == len(scripted.copies)
    assert "unknown" not in states
    platform.change(relay, state="active")
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 40}
    assert len(set(recipients_of(scripted.copies))) == len(scripted.copies) == 40
    with platform.engine.connect() as connection:
        assert connection.execute(select(BatchTotals.accepted, BatchTotals.unknown)).one() == (40, 0)


def test_a_silent_machine_whose_lease_lives_is_not_lost(platform, scripted, tmp_path):
    """However old its journal is: a drain that renews its lease is alive."""
    relay = platform.add_relay(scripted)
    claimed_by_a_dead_drain(platform, relay, Machine.at(tmp_path / "other"))
    with platform.engine.begin() as connection:
        connection.execute(update(Journal).values(opened_at=read_clock(connection) - timedelta(days=3)))
    assert recover_all(platform.runtime) == []
    assert platform.states() == {"sending": 3}


def test_after_a_reboot_the_journal_is_not_trusted(platform, scripted):
    """A journal of an earlier boot may lack its last lines: all that was claimed may have been sent."""
    relay = platform.add_relay(scripted)
    machine = platform.runtime.machine
    claimed_by_a_dead_drain(platform, relay, Machine(machine.folder, machine.name, "an earlier boot"))
    assert recover_all(platform.runtime) == []  # two machines may share the folder: the lease is alive
    let_pass(platform, timedelta(seconds=1))
    assert recover_all(platform.runtime) == [relay]
    assert platform.states() == {"unknown": 3}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"nonsense\nB1\n"), lambda path: path.unlink()])
def test_a_damaged_or_missing_journal_makes_its_claims_unknown(platform, scripted, damage):
    """A journal that says nothing certain cannot rule out any of its claims."""
    relay = platform.add_relay(scripted)
    taken, _claimed = claimed_by_a_dead_drain(platform, relay, platform.runtime.machine)
    damage(platform.runtime.machine.path(taken.journal))
    let_pass(platform, timedelta(seconds=1))
    assert recover_all(platform.runtime) == [relay]
    assert platform.states() == {"unknown": 3}
    assert list(platform.runtime.machine.folder.glob("*.journal")) == []


def test_without_a_boot_id_the_journal_is_flushed_and_trusted(platform, scripted, monkeypatch):
    """Where the machine does not say when it booted, lines go to the disk at once, and the journal is believed."""
    machine = platform.runtime.machine
    blind = Machine(machine.folder, machine.name, "")
    platform.with_parts(machine=blind)
    relay = platform.add_relay(scripted)
    claimed_by_a_dead_drain(platform, relay, blind)
    assert recover_all(platform.runtime) == [relay]
    assert platform.states() == {"queued": 2, "unknown": 1}
    platform.drain(relay)
    assert recipients_of(scripted.copies) == ["user1@example.org", "user3@example.org"]


def test_a_recovered_relay_goes_on_at_once(platform, scripted):
    """The journal of a dead process is read within moments: nobody waits for the lease to run out."""
    relay = platform.add_relay(scripted)
    claimed_by_a_dead_drain(platform, relay, platform.runtime.machine)
    assert recover_all(platform.runtime) == [relay]
    platform.drain(relay)
    assert platform.states() == {"accepted": 2, "unknown": 1}
    assert platform.rows(Journal) == []


def test_a_file_that_nobody_needs_goes_in_the_end(platform):
    """A journal without a row in the database is kept for a month: it may be another platform's. Then it goes."""
    machine = platform.runtime.machine
    for name, days in (("new", 1), ("old", 31)):
        JournalWriter(machine, name).close(delete=False)
        at = time.time() - timedelta(days=days).total_seconds()
        os.utime(machine.path(name), (at, at))
    recover_all(platform.runtime)
    assert [path.stem for path in machine.folder.glob("*.journal")] == ["new"]


# People


def test_an_edited_relay_is_used_as_it_is_now(platform, scripted, counting, work):
    """A change in mid-drain sends the rest by the new configuration, each once."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with work():
        eventually(lambda: begun_in(platform) == {4}, "the fourth was marked")
        platform.change(relay, host=counting.host, port=counting.port)
        platform.send(relay, ["late@example.org"])
        gate.event.set()
        assert settled(platform) == {"accepted": 11}
    sent = recipients_of(scripted.copies) + list(counting.copies().elements())
    assert sorted(sent) == once([*EVERYBODY, "late@example.org"])
    assert counting.copies()["late@example.org"] == 1


def test_a_project_cancelled_in_mid_drain_sends_no_more_than_was_claimed(platform, counting, work):
    """What waits is cancelled, nothing is lost or doubled, and the drain ends in order."""
    relay = platform.add_relay(counting)
    platform.send(relay, 400)
    with work():
        eventually(lambda: sum(counting.copies().values()) > 10, "some were sent")
        with platform.engine.begin() as connection:
            cancelled = actions.cancel_project(connection, "acme", None)
        states = settled(platform)
    assert cancelled > 100
    assert states["cancelled"] >= cancelled
    assert states["cancelled"] + states["accepted"] == 400
    assert sum(counting.copies().values()) == states["accepted"]


def test_a_project_deleted_in_mid_drain_stops_nobody(platform, counting, work):
    """Its invitations are gone at once; the drain goes on with those of other projects."""
    relay = platform.add_relay(counting)
    gone = platform.send(relay, 300).batch_id
    with work():
        eventually(lambda: sum(counting.copies().values()) > 10, "some were sent")
        with platform.engine.begin() as connection:
            erasure.erase_records(
                connection, "acme", next(row.project_id for row in platform.batches if row.id == gone)
            )
        platform.send(relay, ["late@example.org"])
        assert settled(platform) == {"accepted": 1}
    assert set(counting.copies().values()) == {1}
