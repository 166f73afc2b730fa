"""The figures of a batch agree with its invitations at any time, whichever way those went."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from own_smtp.outbox import closing, leases, settlements
from own_smtp.outbox.values import Taken
from own_smtp.smtp.values import Outcome
from own_smtp.states import FINAL, Route, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import BatchTotals, Invitation
from tests.outbox_kit import ACCEPTED, DEFERRED, REFUSED, Outbox, settlement

OUTCOMES = {"accepted": ACCEPTED, "refused": REFUSED, "queued": DEFERRED}


@pytest.fixture
def outbox(migrated: Engine, tmp_path: Path) -> Outbox:
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def drain(outbox: Outbox) -> tuple[Taken, list[int]]:
    """A drain that claimed six invitations of two batches."""
    relay = outbox.relay()
    outbox.send(relay, 4)
    outbox.send(relay, 2)
    taken = outbox.take(relay)
    assert taken is not None
    return taken, [item.id for item in outbox.claim(taken)]


def agree(outbox: Outbox) -> bool:
    """Whether each batch's figures are what counting its invitations gives."""
    with outbox.engine.connect() as connection:
        counted: dict[int, Counter[str]] = {}
        for row in connection.execute(select(Invitation.batch_id, Invitation.state)):
            counted.setdefault(row.batch_id, Counter())[row.state] += 1
        for kept in connection.execute(select(BatchTotals.__table__)):
            expected = {state.value: counted[kept.batch_id][state.value] for state in FINAL}
            assert {name: kept._mapping[name] for name in expected} == expected
    return True


def lose(outbox: Outbox, taken: Taken) -> None:
    with outbox.engine.connect() as connection:
        (journal,) = leases.open_journals(connection)
    assert journal.id == taken.token
    outbox(closing.recover, journal, None, [], tells_host=True)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_counts_once(outbox: Outbox, drain: tuple[Taken, list[int]], outcome: str) -> None:
    """However often it is written."""
    taken, ids = drain
    for _time in range(2):
        outbox.settle(taken, ids[2:5], OUTCOMES[outcome])
        assert agree(outbox)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_an_outcome_that_comes_late_takes_the_place_of_unknown(
    outbox: Outbox, drain: tuple[Taken, list[int]], outcome: str
) -> None:
    """A drain that was taken for dead brings it: the invitation is not counted as both."""
    taken, ids = drain
    outbox.settle(taken, ids[:1])
    lose(outbox, taken)
    assert agree(outbox)
    assert outbox.states() == {"accepted": 1, "unknown": 5}
    outbox.settle(taken, ids[2:5], OUTCOMES[outcome])
    assert agree(outbox)
    assert outbox.states()["unknown"] == 2
    outbox.settle(taken, ids[2:5], OUTCOMES[outcome])
    assert agree(outbox)


def test_what_was_never_begun_is_unknown_no_more(outbox: Outbox, drain: tuple[Taken, list[int]]) -> None:
    """Once the drain says so, and once only."""
    taken, ids = drain
    lose(outbox, taken)
    for _time in range(2):
        outbox(settlements.queue_unbegun, taken.token, ids[2:5], tells_host=False)
        assert agree(outbox)
    assert outbox.states() == {"unknown": 3, "queued": 3}
    assert outbox.column(Invitation.untold_since)[2:5].count(None) == 0  # that they were unknown is still to be told


@pytest.mark.parametrize("route", Route)
def test_what_the_platform_sent_is_counted_apart(outbox: Outbox, drain: tuple[Taken, list[int]], route: Route) -> None:
    """Only what it got accepted, and nothing that the relay sent."""
    taken, ids = drain
    with outbox.engine.begin() as connection:
        leases.lock_leases(connection, [taken.relay_id])
        now = read_clock(connection)
        outcomes: list[Outcome] = [ACCEPTED, ACCEPTED, REFUSED]
        items = [
            settlement(id_, outcome, now, timedelta(0), batch_id=1)._replace(route=route)
            for id_, outcome in zip(ids[:3], outcomes, strict=True)
        ]
        settlements.settle(connection, taken, items, tells_host=False)
    assert sum(outbox.column(BatchTotals.by_platform)) == (2 if route is Route.PLATFORM else 0)
    assert {State(state) for state in outbox.states()} == {State.ACCEPTED, State.REFUSED, State.SENDING}
    assert outbox.column(Invitation.untold_since) == [None] * 6
