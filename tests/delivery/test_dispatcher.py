"""What a dispatcher finds that nobody was woken for."""

from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import OperationalError, ProgrammingError

from own_smtp.delivery.bookkeeping import status_events
from own_smtp.delivery.workers.dispatcher import Dispatcher
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Invitation, Lease, Relay
from tests.engine import recipients_of


@pytest.fixture
def dispatcher(platform, monkeypatch):
    """A dispatcher whose jobs are run at once."""
    found = platform.own_smtp.dispatcher
    found.woken = []
    monkeypatch.setattr(
        platform.own_smtp.wakeup, "enqueue_drain", lambda relay_id: found.woken.append(relay_id) is None
    )
    return found


def ago(platform, **time):
    with platform.engine.connect() as connection:
        return read_clock(connection) - timedelta(**time)


def change(platform, model, **values):
    with platform.engine.begin() as connection:
        connection.execute(model.__table__.update().values(**values))


def test_due_relays_are_woken(platform, scripted, dispatcher):
    """A relay with something due is found; one that is drained, paused, resting or done is not."""
    done, due, paused, resting = [platform.add_relay(scripted) for _relay in range(4)]
    platform.send(done, 1)
    platform.drain(done)
    for relay in (due, paused, resting):
        platform.send(relay, 1)
    platform.change(paused, state="paused")
    with platform.engine.begin() as connection:
        connection.execute(insert(Lease).values(relay_id=resting, wake_at=ago(platform, hours=-1)))
    dispatcher.woken.clear()
    dispatcher.look()
    assert dispatcher.woken == [due]


def test_what_waits_for_a_deleted_server_has_failed(platform, scripted, dispatcher):
    """A send that was committed after its server was deleted is ended, and the host is told."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 2)
    change(platform, Relay, deleted_at=ago(platform, seconds=1))
    dispatcher.look()
    assert platform.states() == {"failed": 2}
    change(platform, Invitation, untold_since=ago(platform, minutes=5))
    dispatcher.look()
    assert [told.state for told in platform.host.changes] == ["failed", "failed"]


def test_a_batch_whose_time_is_over_is_given_up(platform, scripted, dispatcher):
    """What could not be sent before the survey closed has failed, and nobody is woken for it."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 2, expires_at=ago(platform, seconds=1))
    dispatcher.woken.clear()
    dispatcher.look()
    assert platform.states() == {"failed": 2}
    assert dispatcher.woken == []


def test_a_relay_whose_pause_is_over_tries_again(platform, scripted, dispatcher):
    """Only where a time for it was set; without, the relay waits for a person."""
    probed, waiting = platform.add_relay(scripted), platform.add_relay(scripted)
    for relay in (probed, waiting):
        platform.send(relay, 1)
        platform.change(relay, state="paused", pause_reason="quota")
    platform.change(probed, probe_at=ago(platform, seconds=1))
    dispatcher.woken.clear()
    dispatcher.look()
    assert [row.state for row in platform.rows(Relay)] == ["active", "paused"]
    assert dispatcher.woken == [probed]


def test_one_failing_errand_does_not_stop_the_others(platform, scripted, dispatcher, monkeypatch, caplog):
    """Bad data in one place is logged; what waits elsewhere is found all the same."""
    platform.send(platform.add_relay(scripted), 1)

    def fail():
        raise ProgrammingError("SELECT", {}, Exception("bad data"))

    monkeypatch.setattr(dispatcher, "_recover", fail)
    dispatcher.woken.clear()
    dispatcher.look()
    assert dispatcher.woken == [1]
    assert "A duty failed" in caplog.text


def test_without_a_database_it_waits(dispatcher, monkeypatch, caplog):
    """A database that is away is one line in the log, not one for each errand."""

    def fail():
        raise OperationalError("SELECT", {}, Exception("gone"))

    monkeypatch.setattr(dispatcher, "_recover", fail)
    monkeypatch.setattr(dispatcher, "_expire", lambda: pytest.fail("asked again"))
    dispatcher.look()
    assert "cannot be reached" in caplog.text


def test_two_dispatchers_deliver_once(platform, scripted, dispatcher):
    """Whatever both find, the lease lets happen once."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 3)
    other = Dispatcher(platform.runtime, platform.own_smtp.wakeup, dispatcher._session)
    dispatcher.woken.clear()
    dispatcher.look()
    other.look()
    for woken in dispatcher.woken:
        platform.drain(woken)
    assert dispatcher.woken == [relay, relay]
    assert recipients_of(scripted.copies) == [f"user{number}@example.org" for number in (1, 2, 3)]


# Telling the host


@pytest.fixture
def unnotified(platform, scripted):
    """A platform whose host has not heard of three changes for a long time."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 3)
    platform.drain(relay)
    platform.host.changes.clear()
    change(platform, Invitation, untold_since=ago(platform, minutes=5))
    return platform


def test_the_host_hears_what_it_missed_once(unnotified):
    """What a dead drain did not tell, the first dispatcher tells, and no other."""
    assert status_events.notify_overdue_changes(unnotified.runtime) == 3
    assert status_events.notify_overdue_changes(unnotified.runtime) == 0
    assert sorted((change.reference, change.state) for change in unnotified.host.changes) == [
        ("1", "accepted"),
        ("2", "accepted"),
        ("3", "accepted"),
    ]
    assert [row.untold_since for row in unnotified.invitations] == [None] * 3


def test_a_host_that_raises_hears_it_again_after_a_while(unnotified, monkeypatch):
    """Its failure puts the changes off, so that the log is not filled, and loses none of them."""

    def fail(_changes):
        raise ValueError("the host has a bug")

    monkeypatch.setattr(unnotified.host, "own_smtp_invitations_changed", fail)
    unnotified.with_parts(listener=_Raising())
    assert status_events.notify_overdue_changes(unnotified.runtime) == 0
    assert status_events.notify_overdue_changes(unnotified.runtime) == 0
    assert all(row.untold_since > ago(unnotified, seconds=20) for row in unnotified.invitations)


class _Raising:
    """A host that could not take it."""

    wants_changes = True

    def invitations_changed(self, _changes):
        return False


def test_a_host_that_hangs_keeps_nobody_else_waiting(unnotified, scripted, monkeypatch):
    """Its hook waits for something that never comes: relays are woken all the same, and it is not asked once more."""
    host = _Hanging()
    unnotified.with_parts(listener=host)
    dispatcher = Dispatcher(unnotified.runtime, unnotified.own_smtp.wakeup, unnotified.own_smtp.db.session)
    monkeypatch.setattr("own_smtp.delivery.workers.dispatcher.PATIENCE", 0.01)
    taken = []
    monkeypatch.setattr(dispatcher, "_watch", lambda: taken.append("watched"))
    try:
        dispatcher.look()
        change(unnotified, Invitation, untold_since=ago(unnotified, minutes=5))
        dispatcher.look()
        assert taken == ["watched"] * 2
        assert host.asked == 1
    finally:
        host.released.set()


class _Hanging:
    """A host that does not come back."""

    wants_changes = True

    def __init__(self):
        self.asked = 0
        self.released = Event()

    def invitations_changed(self, _changes):
        self.asked += 1
        return self.released.wait() and False


def test_a_host_that_does_not_listen_is_not_asked(unnotified):
    """Nothing is read for nobody."""

    class Deaf:
        wants_changes = False

    unnotified.with_parts(listener=Deaf())
    assert status_events.notify_overdue_changes(unnotified.runtime) == 0


def test_a_recent_change_is_left_to_its_drain(platform, scripted):
    """A drain tells its own changes; the dispatcher does not come in between."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    platform.drain(relay)
    platform.host.changes.clear()
    change(platform, Invitation, untold_since=ago(platform, seconds=5))
    assert status_events.notify_overdue_changes(platform.runtime) == 0
    assert platform.host.changes == []
