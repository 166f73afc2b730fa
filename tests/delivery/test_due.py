"""Which relays a worker is woken for: those with something to send now, and nobody who sends it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from own_smtp.delivery.due import find_due, find_fallbacks
from own_smtp.runtime import Runtime
from own_smtp.states import Route
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Batch, Invitation, Lease, Relay
from tests.engine import Platform

PAST, FUTURE = timedelta(hours=-1), timedelta(hours=1)

Find = Callable[[Runtime, int], list[int]]


@pytest.fixture
def relay(platform: Platform) -> int:
    """A relay that is due either way, between two with nothing to send: all that they had was accepted."""
    idle, found, other = (platform.add_relay(host="mail.acme.example", port=587) for _relay in range(3))
    for served in (idle, other):
        platform.send(served, 1)
    change(platform, Invitation, state="accepted")
    platform.send(found, 2)
    platform.send(found, 1)
    change(platform, Batch, fallback_at=PAST)
    change(platform, Invitation, next_attempt_at=PAST)
    with platform.engine.begin() as connection:
        connection.execute(insert(Lease).values(relay_id=found))
    return found


def change(platform: Platform, model: Any, **values: Any) -> None:
    """Change columns of all rows; a time is given as its distance from now."""
    with platform.engine.begin() as connection:
        now = read_clock(connection)
        given = {name: now + value if isinstance(value, timedelta) else value for name, value in values.items()}
        connection.execute(update(model).values(**given))


BUSY: list[tuple[Any, dict[str, Any]]] = [
    (Lease, {"expires_at": FUTURE}),
    (Batch, {"state": "paused"}),
    (Batch, {"state": "done"}),
    (Batch, {"state": "cancelled"}),
    (Invitation, {"state": "sending"}),
    (Invitation, {"state": "accepted"}),
]
"""What keeps a relay from either."""


@pytest.mark.parametrize("find", [find_due, find_fallbacks])
@pytest.mark.parametrize(("model", "values"), BUSY)
def test_a_relay_that_is_served_or_has_nothing_to_send_is_left_alone(
    platform: Platform, relay: int, find: Find, model: Any, values: dict[str, Any]
) -> None:
    """Somebody drains it, its batches do not go on, or nothing of them waits."""
    assert find(platform.runtime, 10) == [relay]
    change(platform, model, **values)
    assert find(platform.runtime, 10) == []


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (Relay, {"state": "paused"}),
        (Relay, {"state": "unconfirmed"}),
        (Lease, {"wake_at": FUTURE}),
        (Invitation, {"next_attempt_at": FUTURE}),
    ],
)
def test_a_relay_waits_for_its_people_its_rest_and_its_retries(
    platform: Platform, relay: int, model: Any, values: dict[str, Any]
) -> None:
    """The platform's own mail waits for none of them: its time has come."""
    change(platform, model, **values)
    assert find_due(platform.runtime, 10) == []
    assert find_fallbacks(platform.runtime, 10) == [relay]


def test_a_deleted_relay_is_never_due(platform: Platform, relay: int) -> None:
    """What still waits for it is given up by somebody else."""
    change(platform, Relay, deleted_at=PAST)
    assert find_due(platform.runtime, 10) == []


@pytest.mark.parametrize("find", [find_due, find_fallbacks])
def test_a_lease_that_ran_out_and_a_rest_that_is_over_hold_nobody_up(
    platform: Platform, relay: int, find: Find
) -> None:
    """A dead drain's relay is found by itself."""
    change(platform, Lease, expires_at=PAST, wake_at=PAST)
    assert find(platform.runtime, 10) == [relay]


@pytest.mark.parametrize("fallback_at", [None, FUTURE])
def test_the_platform_takes_over_in_time_only(platform: Platform, relay: int, fallback_at: timedelta | None) -> None:
    """Never before the project's time is over, and never where it has none; the relay's own drain goes on."""
    change(platform, Batch, fallback_at=fallback_at)
    assert find_fallbacks(platform.runtime, 10) == []
    assert find_due(platform.runtime, 10) == [relay]


def test_what_the_platform_tried_waits_for_its_next_attempt(platform: Platform, relay: int) -> None:
    """Nobody is woken for it before."""
    change(platform, Invitation, route=Route.PLATFORM, next_attempt_at=FUTURE)
    assert find_fallbacks(platform.runtime, 10) == []
    change(platform, Invitation, next_attempt_at=PAST)
    assert find_fallbacks(platform.runtime, 10) == [relay]
