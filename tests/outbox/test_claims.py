"""What may be claimed, by a relay's own drain and by the platform's mail that takes over."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from own_smtp.outbox import leases, settlements
from own_smtp.outbox.values import Taken
from own_smtp.states import Route
from own_smtp.storage.models import Batch, Invitation, Lease, Relay
from tests.outbox_kit import LEASE, REFUSED, Outbox

HOUR = timedelta(hours=1)


@pytest.fixture
def outbox(migrated: Engine, tmp_path: Path) -> Outbox:
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture(params=Route)
def route(request: pytest.FixtureRequest) -> Route:
    """Either way that invitations go."""
    found: Route = request.param
    return found


def waiting(outbox: Outbox, count: int, **values: Any) -> tuple[int, list[int]]:
    """Add a relay with a batch whose time for it is over; return its id and the invitations'."""
    relay = outbox.relay()
    batch = outbox.send(relay, count, **values).batch_id
    outbox.change(Batch, batch, fallback_at=outbox.now() - HOUR)
    return relay, outbox.column(Invitation.id)


def claim(outbox: Outbox, taken: Taken, count: int, route: Route) -> list[int]:
    with outbox.engine.begin() as connection:
        leases.renew_lease(connection, taken, LEASE, None)
        found = settlements.claim(connection, taken, count, route=route)
    return [item.id for item in found.invitations]


def restart(outbox: Outbox, taken: Taken) -> Taken:
    outbox.end(taken)
    return outbox.taken(taken.relay_id)


def test_what_ended_stands_in_nobodys_way(outbox: Outbox, route: Route) -> None:
    """However many of a batch have ended or are being sent, what waits behind them is found."""
    relay, ids = waiting(outbox, 6)
    first = outbox.taken(relay)
    claim(outbox, first, 3, route)
    outbox.settle(first, ids[:2])
    outbox.settle(first, ids[2:3], REFUSED)
    second = restart(outbox, first)
    assert claim(outbox, second, 2, route) == ids[3:5]
    outbox.change(Lease, relay, expires_at=outbox.now() - HOUR)
    assert claim(outbox, outbox.taken(relay), 2, route) == ids[5:]


def test_a_drain_claims_each_invitation_once(outbox: Outbox, route: Route) -> None:
    """What a person queued again waits for the next drain: the journal's last word on it is the true one."""
    relay, ids = waiting(outbox, 2)
    taken = outbox.taken(relay)
    assert claim(outbox, taken, 1, route) == ids[:1]
    outbox.change(Invitation, ids[0], state="queued")
    assert claim(outbox, taken, 5, route) == ids[1:]
    assert claim(outbox, taken, 5, route) == []
    outbox.settle(taken, ids[1:])
    assert claim(outbox, restart(outbox, taken), 5, route) == ids[:1]


def test_the_platform_takes_over_what_waits_for_its_relays_next_attempt(outbox: Outbox) -> None:
    """The time for the relay is over, so a retry planned for later does not hold it up."""
    relay, ids = waiting(outbox, 2)
    outbox.change(Invitation, ids[0], next_attempt_at=outbox.now() + HOUR)
    assert sorted(claim(outbox, outbox.taken(relay), 5, Route.PLATFORM)) == ids


def test_what_the_platform_tried_waits_for_its_next_attempt(outbox: Outbox) -> None:
    """The platform's server is asked as slowly as it wants, too."""
    relay, ids = waiting(outbox, 2)
    outbox.change(Invitation, ids[0], route=Route.PLATFORM, next_attempt_at=outbox.now() + HOUR)
    taken = outbox.taken(relay)
    assert claim(outbox, taken, 5, Route.PLATFORM) == ids[1:]
    outbox.change(Invitation, ids[0], next_attempt_at=outbox.now() - HOUR)
    assert claim(outbox, taken, 5, Route.PLATFORM) == ids[:1]


@pytest.mark.parametrize("fallback_after", [None, HOUR])
def test_the_platform_takes_nothing_before_its_time(outbox: Outbox, fallback_after: timedelta | None) -> None:
    """Neither from a batch that never falls back nor from one whose time is still to come."""
    relay, _ids = waiting(outbox, 2)
    at = None if fallback_after is None else outbox.now() + fallback_after
    outbox(lambda connection: connection.execute(update(Batch).values(fallback_at=at)))
    assert claim(outbox, outbox.taken(relay), 5, Route.PLATFORM) == []


def test_a_pause_holds_the_relays_own_drain_and_not_the_platform(outbox: Outbox) -> None:
    """A fallback is for relays that are out of order; a deleted one sends neither way."""
    relay, ids = waiting(outbox, 2)
    outbox.change(Relay, relay, state="paused")
    taken = outbox.taken(relay)
    assert claim(outbox, taken, 1, Route.RELAY) == []
    assert claim(outbox, taken, 1, Route.PLATFORM) == ids[:1]
    outbox.change(Relay, relay, deleted_at=outbox.now())
    assert claim(outbox, taken, 5, Route.PLATFORM) == []


def test_an_urgent_batch_takes_all_that_a_claim_can_hold(outbox: Outbox) -> None:
    """It shares with nobody, however many batches wait."""
    relay, _ids = waiting(outbox, 5)
    outbox.send(relay, 5)
    urgent = outbox.send(relay, 5).batch_id
    outbox.change(Batch, urgent, is_urgent=True)
    claimed = outbox.claim(outbox.taken(relay), 5)
    assert {item.batch_id for item in claimed} == {urgent}


def test_what_is_due_longest_comes_first(outbox: Outbox) -> None:
    """A retry whose time came does not wait behind what was queued later."""
    relay, ids = waiting(outbox, 3)
    outbox.change(Invitation, ids[2], next_attempt_at=outbox.now() - HOUR)
    assert claim(outbox, outbox.taken(relay), 1, Route.RELAY) == ids[2:]
