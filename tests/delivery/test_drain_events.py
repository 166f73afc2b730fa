"""What a host is told of a drain's work: all of it, whatever dies or raises, and as little as possible twice."""

import multiprocessing
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from sqlalchemy import update

from own_smtp.delivery.bookkeeping import drain_events
from own_smtp.delivery.bookkeeping.status_events import OVERDUE, notify_overdue_changes
from own_smtp.delivery.workers.recovery import recover_all
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Lease
from tests.engine import Platform
from tests.hosts.test_host import hosted, let_it_be_overdue
from tests.scripted import PASS, Wait
from tests.servers.process import eventually


class MortalHost:
    """Writes down what it is told, and dies when told of one invitation: after its own commit, before its answer.

    By then so many are settled; on a busy machine that takes more than one turn of the books.
    """

    def __init__(self, platform, path, last, settled):
        self.platform = platform
        self.path = path
        self.last = last
        self.settled = settled

    def own_smtp_invitations_changed(self, changes):
        with self.path.open("a") as stream:
            stream.writelines(f"{change.reference}\n" for change in changes)
        if self.last in [change.reference for change in changes]:
            eventually(lambda: self.platform.states().get("accepted") == self.settled, "all that can be is settled")
            os.kill(os.getpid(), signal.SIGKILL)


def drain_and_die(url, journal, relay, path, last, settled):
    drain_events.AT_A_TIME = 3
    platform = Platform.at(url, journal, prepare=False)
    platform.with_parts(listener=hosted(platform.app, MortalHost(platform, path, last, settled)))
    platform.drain(relay)


@pytest.fixture
def dead(platform, tmp_path):
    """Drain in a process that dies while it tells the host; return what the host had heard by then."""

    def drain(relay, last, settled):
        path = tmp_path / "told"
        config = platform.app.config
        given = (config["SQLALCHEMY_DATABASE_URI"], config["OWN_SMTP_JOURNAL_DIR"], relay, path, last, settled)
        process = multiprocessing.get_context("spawn").Process(target=drain_and_die, args=given)
        process.start()
        process.join(60)
        assert process.exitcode == -signal.SIGKILL
        return path.read_text().split()

    return drain


def unnotified(platform):
    """What the database knows that the host must be told."""
    return [row.reference for row in platform.invitations if row.untold_since]


def overdue(platform):
    """What the dispatcher tells once the time for it has come."""
    platform.host.changes.clear()
    let_it_be_overdue(platform)
    notify_overdue_changes(platform.runtime)
    return [change.reference for change in platform.host.changes]


def test_who_dies_in_the_middle_of_a_drain_leaves_the_news_in_its_journal(platform, scripted, dead):
    """The outcomes are in the database and the journal vouches for their news: the recovery tells what was not told."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user8@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    told = dead(relay, "5", settled=7)
    gate.event.set()
    assert platform.states() == {"accepted": 7, "sending": 3}
    assert [row.untold_since for row in platform.invitations[:7]] == [None] * 7
    recover_all(platform.runtime)
    assert_all_were_told(told, overdue(platform), 8)


def test_who_dies_at_the_end_of_a_drain_leaves_the_news_in_the_database(platform, scripted, dead):
    """There the journal may be gone already; what is noted as told is not told again."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    told = dead(relay, "10", settled=10)
    recover_all(platform.runtime)
    assert platform.states() == {"accepted": 10}
    assert_all_were_told(told, overdue(platform), 10)


def assert_all_were_told(told, later, number):
    """All heard; of the first call, which ended well, nothing is told again; the second one's are, to be sure."""
    assert {*told, *later} == {str(reference) for reference in range(1, number + 1)}
    assert told[0] not in later
    assert told[-1] in later


def test_with_the_journal_lost_all_is_told_again(platform, scripted, dead):
    """Nothing else says what the host heard."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user8@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    dead(relay, "5", settled=7)
    gate.event.set()
    for path in platform.runtime.machine.folder.glob("*.journal"):
        path.unlink()
    let_the_lease_run_out(platform)
    recover_all(platform.runtime)
    assert overdue(platform) == [str(number) for number in range(1, 11)]


def let_the_lease_run_out(platform):
    with platform.engine.begin() as connection:
        connection.execute(update(Lease).values(expires_at=read_clock(connection) - OVERDUE))


def test_a_host_that_fails_once_hears_it_from_the_dispatcher(platform, scripted, monkeypatch):
    """The drain goes on, tells the rest, and leaves what the host could not take to the dispatcher."""
    monkeypatch.setattr(drain_events, "AT_A_TIME", 3)
    heard = []

    class Host:
        calls = 0

        def own_smtp_invitations_changed(self, changes):
            self.calls += 1
            if self.calls == 1:
                raise ValueError("the host's own trouble")
            heard.extend(change.reference for change in changes)

    listening = platform.runtime.listener
    platform.with_parts(listener=hosted(platform.app, Host()))
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    platform.drain(relay)
    assert heard == ["4", "5", "6", "7", "8", "9", "10"]
    platform.with_parts(listener=listening)
    assert overdue(platform) == ["1", "2", "3"]
    assert overdue(platform) == []


def test_too_much_news_for_a_slow_host_waits_in_the_database(platform, scripted, monkeypatch):
    """Memory stays small however slow the host is, and the drain does not wait for it."""
    monkeypatch.setattr(drain_events, "MOST", 0)
    monkeypatch.setattr(drain_events, "AT_A_TIME", 1)
    first, second, patience = Wait(), Wait(), Event()
    scripted.on("dot", (first, PASS), recipient="user4@example.org")
    scripted.on("dot", (second, PASS), recipient="user8@example.org")
    heard = []

    class Slow:
        def own_smtp_invitations_changed(self, changes):
            assert patience.wait(30)
            heard.extend(change.reference for change in changes)

    listening = platform.runtime.listener
    platform.with_parts(listener=hosted(platform.app, Slow()))
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    with ThreadPoolExecutor(1) as threads:
        drain = threads.submit(platform.drain_in_thread, relay)
        eventually(lambda: platform.states().get("accepted") == 3, "the first ones are settled")
        first.event.set()
        eventually(lambda: unnotified(platform) == ["4", "5", "6", "7"], "the next ones are left to the dispatcher")
        patience.set()
        second.event.set()
        drain.result()
    assert heard == ["1", "2", "3", "8", "9", "10"]
    platform.with_parts(listener=listening)
    assert overdue(platform) == ["4", "5", "6", "7"]
