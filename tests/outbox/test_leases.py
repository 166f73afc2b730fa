"""One drain at a time for each relay: who has the lease, until when, and what it leaves to the next."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete

from own_smtp.outbox import closing, leases
from own_smtp.outbox.journal_lines import Findings
from own_smtp.outbox.values import Taken
from own_smtp.states import Route
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Journal, Lease
from tests.outbox_kit import LEASE, Outbox

HOUR = timedelta(hours=1)


@pytest.fixture
def outbox(migrated: Engine, tmp_path: Path) -> Outbox:
    return Outbox.at(migrated, tmp_path / "journal")


def fall_back(outbox: Outbox, relay: int) -> Taken | None:
    with outbox.engine.begin() as connection:
        return leases.take_lease(
            connection,
            relay,
            owner="test",
            machine=outbox.machine,
            journal=secrets.token_hex(16),
            duration=LEASE,
            route=Route.PLATFORM,
        )


def journal_of(outbox: Outbox, taken: Taken) -> Journal:
    with outbox.engine.connect() as connection:
        return next(journal for journal in leases.open_journals(connection) if journal.id == taken.token)


def is_live(outbox: Outbox, journal: Journal) -> bool:
    return bool(outbox(lambda connection: leases.has_live_lease(connection, journal, read_clock(connection))))


def between(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Let something happen when somebody who found the relay free is about to lock it."""
    real, acts = leases.lock_leases, [act]

    def lock(connection: Connection, relay_ids: Any) -> None:
        if acts:
            acts.pop()()
        real(connection, relay_ids)

    monkeypatch.setattr(leases, "lock_leases", lock)


# Who gets it


def test_who_comes_second_behind_the_lock_gets_nothing(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another drain took the lease between the look and the lock: it keeps it, and its journal is the only one."""
    relay = outbox.relay()
    outbox.end(outbox.taken(relay))
    first: list[Taken | None] = []
    between(monkeypatch, lambda: first.append(outbox.take(relay)))
    assert outbox.take(relay) is None
    assert first[0] is not None
    assert outbox.column(Lease.token) == outbox.column(Journal.id) == [first[0].token]


def test_a_relay_that_was_laid_to_rest_meanwhile_rests(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another drain found between the look and the lock that it must wait."""
    relay = outbox.relay()
    outbox.end(outbox.taken(relay))

    def rest() -> None:
        taken = outbox.taken(relay)
        outbox(leases.give_back_lease, taken, {"wake_at": taken.at + HOUR})
        outbox(closing.close_journal, taken.token, Findings, is_counted=True)

    between(monkeypatch, rest)
    assert outbox.take(relay) is None
    assert outbox.column(Journal.id) == []


def test_the_platforms_own_mail_does_not_wait_for_a_resting_relay(outbox: Outbox) -> None:
    """The rest is the relay's. A drain that runs is waited for whichever way it sends."""
    relay = outbox.relay()
    taken = outbox.taken(relay)
    outbox(leases.give_back_lease, taken, {"wake_at": taken.at + HOUR})
    outbox(closing.close_journal, taken.token, Findings, is_counted=True)
    assert outbox.take(relay) is None
    platform = fall_back(outbox, relay)
    assert platform is not None
    assert journal_of(outbox, platform).route == Route.PLATFORM
    assert fall_back(outbox, relay) is None


def test_a_lease_leaves_idle_relays_leases_alone(outbox: Outbox) -> None:
    """Each relay has its own, whatever order they were made in."""
    first, second, third = (outbox.relay() for _relay in range(3))
    for relay in (first, third):
        outbox.end(outbox.taken(relay))
    before = outbox.column(Lease.token)
    taken = outbox.taken(second)
    assert outbox.column(Lease.token) == [before[0], taken.token, before[1]]
    assert outbox.taken(first).token < outbox.taken(third).token


# How long


def test_a_renewal_prolongs_the_lease_and_keeps_the_pace(outbox: Outbox) -> None:
    """Nobody else gets it for as long again, and who comes after a death knows the pace that was written last."""
    relay = outbox.relay()
    taken = outbox.taken(relay)
    outbox.change(Lease, relay, expires_at=outbox.now() - timedelta(seconds=1))
    outbox(leases.renew_lease, taken, LEASE, {"claimed": 5})
    (expires_at,) = outbox.column(Lease.expires_at)
    assert LEASE - timedelta(seconds=10) < expires_at - outbox.now() <= LEASE
    assert outbox.take(relay) is None
    outbox.change(Lease, relay, expires_at=outbox.now() - timedelta(seconds=1))
    assert outbox.taken(relay).pace == {"claimed": 5}


def test_a_lease_says_who_has_it_and_when_its_last_drain_ended(outbox: Outbox) -> None:
    """An operator sees which worker drains the relay; who was served longest ago is served next."""
    relay = outbox.relay()
    taken = outbox.taken(relay)
    assert (outbox.column(Lease.owner), outbox.column(Lease.drained_at)) == (["test"], [None])
    outbox(leases.give_back_lease, taken, {})
    (drained_at,) = outbox.column(Lease.drained_at)
    assert outbox.column(Lease.owner) == [None]
    assert abs(drained_at - outbox.now()) < timedelta(minutes=1)


def test_a_journal_says_when_it_was_opened(outbox: Outbox) -> None:
    """A silent machine is given up after a grace from there."""
    journal = journal_of(outbox, outbox.taken(outbox.relay()))
    assert abs(journal.opened_at - outbox.now()) < timedelta(minutes=1)


@pytest.mark.parametrize("end", ["given back", "expired", "taken over", "deleted"])
def test_a_lease_is_live_only_while_its_drain_holds_it(outbox: Outbox, end: str) -> None:
    """A dead drain's journal is recovered even while another drain serves its relay."""
    relay = outbox.relay()
    taken = outbox.taken(relay)
    journal = journal_of(outbox, taken)
    assert is_live(outbox, journal)
    if end == "given back":
        outbox(leases.give_back_lease, taken, {})
    elif end == "deleted":
        outbox(lambda connection: connection.execute(delete(Lease)))
    else:
        outbox.change(Lease, relay, expires_at=outbox.now() - timedelta(seconds=1))
    if end == "taken over":
        outbox.taken(relay)
    assert not is_live(outbox, journal)


def test_a_settled_journal_is_not_taken_over(outbox: Outbox) -> None:
    """Whoever else has an open one."""
    gone, running = (outbox.taken(outbox.relay()) for _relay in range(2))
    journal = journal_of(outbox, gone)
    assert outbox(leases.take_over_journal, journal)
    outbox.end(gone)
    assert not outbox(leases.take_over_journal, journal)
    assert outbox(leases.take_over_journal, journal_of(outbox, running))


def test_the_start_of_a_fallback_is_news_once_for_each_relay(outbox: Outbox) -> None:
    """One relay's fallback hides no other's."""
    first, second = outbox.relay(), outbox.relay()
    for relay in (first, second):
        outbox.end(outbox.taken(relay))
    assert outbox(leases.note_fallback, first)
    assert not outbox(leases.note_fallback, first)
    assert outbox(leases.note_fallback, second)


def test_each_relay_keeps_its_own_pace(outbox: Outbox) -> None:
    """What is shown of one relay is not another's."""
    first, second, third = (outbox.relay() for _relay in range(3))
    for relay, pace in ((first, {"learned": 1.0}), (second, {"learned": 2.0})):
        outbox(leases.give_back_lease, outbox.taken(relay), {"pace": pace})
    kept = [outbox(leases.kept_pace, relay) for relay in (first, second, third)]
    assert kept == [{"learned": 1.0}, {"learned": 2.0}, None]
