"""Whatever is written for one relay leaves every other relay as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select

from own_smtp.outbox import closing, leases, settlements
from own_smtp.outbox.journal_lines import Findings, JournaledOutcome
from own_smtp.outbox.values import Taken
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, BatchTotals, Invitation, Journal, Lease, Relay
from tests.outbox_kit import ACCEPTED, DEFERRED, LEASE, REFUSED, Outbox, settlement


@pytest.fixture
def outbox(migrated: Engine, tmp_path: Path) -> Outbox:
    return Outbox.at(migrated, tmp_path / "journal")


@dataclass
class Neighbour:
    """A relay in the middle of a drain: some is settled, some is being sent, some waits, and it was paused since."""

    outbox: Outbox
    relay: int
    taken: Taken
    sending: list[int]

    @classmethod
    def of(cls, outbox: Outbox) -> Neighbour:
        relay = outbox.relay(label="Neighbour")
        outbox.send(relay, 3, project_id="done")
        outbox.send(relay, 7)
        taken = outbox.take(relay)
        assert taken is not None
        settled = [item.id for item in outbox.claim(taken, 3)]
        outbox.settle(taken, settled[:1])
        outbox.settle(taken, settled[1:2], REFUSED)
        outbox.settle(taken, settled[2:], DEFERRED)
        sending = [item.id for item in outbox.claim(taken, 3)]
        outbox(leases.renew_lease, taken, LEASE, {"learned": 1.5})
        outbox.change(Relay, relay, state="paused", revision=7)
        return cls(outbox, relay, taken, sending)

    def rows(self) -> dict[str, list[Any]]:
        """All that is on record of it."""
        batches = select(Batch.id).where(Batch.relay_id == self.relay).scalar_subquery()
        wheres: dict[Any, Any] = {
            Relay: Relay.id == self.relay,
            Lease: Lease.relay_id == self.relay,
            Journal: Journal.relay_id == self.relay,
            Batch: Batch.relay_id == self.relay,
            BatchTotals: BatchTotals.batch_id.in_(batches),
            Invitation: Invitation.batch_id.in_(batches),
            Attempt: Attempt.relay_id == self.relay,
        }
        with self.outbox.engine.connect() as connection:
            return {
                model.__name__: sorted(map(str, connection.execute(select(model.__table__).where(where))))
                for model, where in wheres.items()
            }


@pytest.fixture(params=["older", "newer"])
def pair(outbox: Outbox, request: pytest.FixtureRequest) -> tuple[int, Neighbour]:
    """A relay with ten invitations, and its neighbour, which is older in one run and newer in the other."""
    if request.param == "older":
        neighbour = Neighbour.of(outbox)
        relay = outbox.relay()
        outbox.send(relay, 10)
    else:
        relay = outbox.relay()
        outbox.send(relay, 10)
        neighbour = Neighbour.of(outbox)
    return relay, neighbour


def journal_of(outbox: Outbox, taken: Taken) -> Journal:
    with outbox.engine.connect() as connection:
        return next(journal for journal in leases.open_journals(connection) if journal.id == taken.token)


def states_of(outbox: Outbox, relay: int) -> list[str]:
    with outbox.engine.connect() as connection:
        query = select(Invitation.state).join(Batch, Batch.id == Invitation.batch_id).where(Batch.relay_id == relay)
        return sorted(connection.scalars(query))


def test_a_drain_sees_and_touches_its_own_relay_only(outbox: Outbox, pair: tuple[int, Neighbour]) -> None:
    """From the lease to the last settlement: the neighbour's drain, claims, pace and pause are what they were."""
    relay, neighbour = pair
    before = neighbour.rows()
    taken = outbox.taken(relay)
    with outbox.engine.begin() as connection:
        leases.renew_lease(connection, taken, LEASE, {"learned": 9.0})
        found = settlements.claim(connection, taken, 100)
    assert (found.is_active, found.revision, len(found.invitations)) == (True, 1, 10)
    ids = [item.id for item in found.invitations]
    outbox.settle(taken, ids[:4])
    outbox.settle(taken, ids[4:6], REFUSED)
    outbox.settle(taken, ids[6:8], DEFERRED)
    outbox(settlements.mark_unnotified, taken.token, ids)
    outbox.told({State.ACCEPTED: ids, State.REFUSED: ids})
    outbox(settlements.release, taken.token, ids)
    outbox(settlements.give_back_lease, taken, {"pace": {"learned": 3.0}, "failures": 2})
    outbox(closing.close_journal, taken.token, Findings, is_counted=True)
    outbox(settlements.finish_batches, relay)
    assert neighbour.rows() == before
    assert states_of(outbox, relay) == ["accepted"] * 4 + ["queued"] * 4 + ["refused"] * 2
    again = outbox.taken(relay)
    assert (again.pace, again.failures) == ({"learned": 3.0}, 2)


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_recovery_settles_its_own_journal_only(outbox: Outbox, pair: tuple[int, Neighbour], *, is_lost: bool) -> None:
    """With its journal or without: the neighbour's drain goes on with its lease, its journal and its claims."""
    relay, neighbour = pair
    taken = outbox.taken(relay)
    ids = [item.id for item in outbox.claim(taken, 8)]
    before = neighbour.rows()
    findings = None if is_lost else Findings({ids[0]}, {ids[1]: JournaledOutcome(ACCEPTED, 0.0)})
    known = [] if is_lost else [settlement(ids[1], ACCEPTED, taken.at)]
    outbox(closing.recover, journal_of(outbox, taken), findings, known, tells_host=True)
    outbox(settlements.finish_batches, relay)
    assert neighbour.rows() == before
    expected = ["queued"] * 2 + ["unknown"] * 8 if is_lost else ["accepted"] + ["queued"] * 8 + ["unknown"]
    assert states_of(outbox, relay) == expected
    with outbox.engine.connect() as connection:
        assert [journal.id for journal in leases.open_journals(connection)] == [neighbour.taken.token]
        assert leases.has_live_lease(connection, journal_of(outbox, neighbour.taken), read_clock(connection))


@pytest.mark.parametrize("finish", ["settle", "release", "recover"])
def test_a_stranger_s_token_moves_nothing(outbox: Outbox, pair: tuple[int, Neighbour], finish: str) -> None:
    """Who names the neighbour's invitations under a token of its own changes none of them."""
    relay, neighbour = pair
    taken = outbox.taken(relay)
    before = neighbour.rows()
    ids = neighbour.sending
    steps: dict[str, Callable[[], Any]] = {
        "settle": lambda: [outbox.settle(taken, ids, outcome) for outcome in (ACCEPTED, DEFERRED)],
        "release": lambda: outbox(settlements.release, taken.token, ids),
        "recover": lambda: outbox(
            closing.recover,
            journal_of(outbox, taken),
            Findings(set(ids[:1]), {ids[1]: JournaledOutcome(ACCEPTED, 0.0)}),
            [settlement(ids[1], ACCEPTED, taken.at)],
            tells_host=True,
        ),
    }
    steps[finish]()
    outbox(settlements.mark_unnotified, taken.token, ids)
    outbox(settlements.queue_unbegun, taken.token, ids, tells_host=True)
    assert neighbour.rows() == before


def test_one_drain_s_end_leaves_what_its_relay_s_next_drain_claimed(outbox: Outbox) -> None:
    """A drain that comes back after another took over releases nothing: the other may be sending it right now."""
    relay = outbox.relay()
    outbox.send(relay, 2)
    first = outbox.taken(relay)
    ids = [item.id for item in outbox.claim(first)]
    with outbox.engine.connect() as connection:
        long_ago = read_clock(connection) - timedelta(seconds=1)
    outbox.change(Lease, relay, expires_at=long_ago)
    outbox(closing.recover, journal_of(outbox, first), Findings(), [], tells_host=True)
    second = outbox.taken(relay)
    assert [item.id for item in outbox.claim(second)] == ids
    outbox(settlements.release, first.token, ids)
    outbox(settlements.queue_unbegun, first.token, ids, tells_host=True)
    assert states_of(outbox, relay) == ["sending"] * 2
    outbox.settle(second, ids)
    assert states_of(outbox, relay) == ["accepted"] * 2


def test_only_what_is_being_sent_is_released(outbox: Outbox) -> None:
    """What was settled meanwhile stays as it ended, however late its drain gives it back."""
    relay = outbox.relay()
    outbox.send(relay, 4)
    taken = outbox.taken(relay)
    ids = [item.id for item in outbox.claim(taken)]
    outbox.settle(taken, ids[:1])
    outbox.settle(taken, ids[1:2], REFUSED)
    outbox(settlements.release, taken.token, ids)
    assert states_of(outbox, relay) == ["accepted", "queued", "queued", "refused"]
