"""When an invitation is tried again, when it is given up, and when a paused relay is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from own_smtp.delivery.contract import AddressedInvitation
from own_smtp.delivery.retry_policy import PROBES, Backoff, RetryPolicy
from own_smtp.settings import Settings
from own_smtp.smtp.replies.outcomes import Stage, classify, interrupted
from own_smtp.smtp.values import Reply
from own_smtp.states import PauseReason, Route, State

NOW = 1_790_000_000.0
AT = datetime.fromtimestamp(NOW, UTC)
LATER = classify(Stage.RCPT, Reply(code=450, text="later", enhanced="4.2.1"))
MINUTE = timedelta(minutes=1)


def invitation(attempts: int = 0, first_failure_at: datetime | None = None) -> AddressedInvitation:
    return AddressedInvitation(1, 2, "a@b.example", attempts, first_failure_at, [])


def policy(random: float = 0.5, **settings: timedelta) -> RetryPolicy:
    return RetryPolicy.from_settings(Settings(**settings), lambda: random)


@pytest.mark.parametrize(
    ("failures", "minutes"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 120), (7, 120), (500, 120)]
)
def test_the_wait_doubles_up_to_two_hours(failures: int, minutes: int) -> None:
    """RFC 5321, 4.5.4.1 wants half an hour and more in the long run."""
    assert Backoff().delay(failures, lambda: 0.5) == minutes * MINUTE


@pytest.mark.parametrize(("random", "minutes"), [(0.0, 4), (0.25, 4.5), (1.0, 6)])
def test_the_wait_is_spread_by_a_fifth_to_both_sides(random: float, minutes: float) -> None:
    """Those who were refused together do not come back together."""
    assert Backoff().delay(1, lambda: random) == minutes * MINUTE


def test_without_a_first_wait_it_is_tried_at_once() -> None:
    """An administrator may want that; the doubling of nothing is nothing."""
    assert Backoff(first=timedelta(0)).delay(40, lambda: 1.0) == timedelta(0)


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 5), (1, 10), (3, 40), (9, 120)])
def test_each_attempt_counts(attempts: int, minutes: int) -> None:
    """The attempt that just failed is one more than those before."""
    settled = policy().decide(invitation(attempts, AT - MINUTE), LATER, NOW, None)
    assert (settled.state, settled.next_attempt_at) == (State.QUEUED, AT + minutes * MINUTE)


def test_the_platforms_settings_are_used() -> None:
    """The first wait, the longest, and the horizon, each for what it is."""
    chosen = policy(first_retry=MINUTE, longest_retry=3 * MINUTE, retry_horizon=10 * MINUTE)
    waits = [chosen.decide(invitation(attempts), LATER, NOW, None).next_attempt_at for attempts in range(4)]
    assert waits == [AT + minutes * MINUTE for minutes in (1, 2, 3, 3)]
    assert chosen.decide(invitation(0, AT - 9 * MINUTE), LATER, NOW, None).state is State.QUEUED
    assert chosen.decide(invitation(0, AT - 9.5 * MINUTE), LATER, NOW, None).state is State.FAILED


def test_the_horizon_counts_from_the_first_failure() -> None:
    """The first one sets the time, and no later one moves it."""
    first = policy().decide(invitation(), LATER, NOW, None)
    assert first.first_failure_at == AT
    long_ago = AT - timedelta(days=2)
    assert policy().decide(invitation(3, long_ago), LATER, NOW, None).first_failure_at == long_ago
    assert policy().decide(invitation(3, AT - timedelta(days=3)), LATER, NOW, None).state is State.FAILED


def test_what_expires_before_the_next_attempt_is_given_up() -> None:
    """By the host's end to the second; the horizon holds where that is earlier."""
    in_time, too_late = NOW + 300, NOW + 299
    assert policy().decide(invitation(), LATER, NOW, in_time).state is State.QUEUED
    assert policy().decide(invitation(), LATER, NOW, too_late).state is State.FAILED
    assert policy().decide(invitation(9, AT - timedelta(days=4)), LATER, NOW, NOW + 1e6).state is State.FAILED


def test_what_pauses_the_relay_is_not_held_against_the_invitation() -> None:
    """It is due as soon as the relay goes on, and neither a first failure nor given up, however long that takes."""
    outcome = classify(Stage.MAIL, Reply(code=553, text="not yours"))
    fresh = policy().decide(invitation(), outcome, NOW, None)
    assert (fresh.state, fresh.next_attempt_at, fresh.first_failure_at) == (State.QUEUED, AT, None)
    long_ago = AT - timedelta(days=30)
    old = policy().decide(invitation(9, long_ago), outcome, NOW, NOW - 1)
    assert (old.state, old.next_attempt_at, old.first_failure_at) == (State.QUEUED, AT, long_ago)


@pytest.mark.parametrize("state", [State.ACCEPTED, State.REFUSED, State.UNKNOWN])
def test_what_is_final_is_not_tried_again(state: State) -> None:
    """Whatever was before, and whichever way it went."""
    outcome = {
        State.ACCEPTED: classify(Stage.MESSAGE, Reply(code=250, text="taken")),
        State.REFUSED: classify(Stage.RCPT, Reply(code=550, text="nobody", enhanced="5.1.1")),
        State.UNKNOWN: interrupted(Stage.MESSAGE, "gone"),
    }[state]
    chosen = RetryPolicy.from_settings(Settings(), lambda: 0.5, Route.PLATFORM)
    settled = chosen.decide(invitation(3, AT), outcome, NOW, None)
    assert (settled.state, settled.next_attempt_at, settled.route) == (state, None, Route.PLATFORM)


HOURS = {"quota": 1, "blocked": 1, "unreachable": 4}


@pytest.mark.parametrize("reason", PauseReason)
def test_only_what_passes_by_itself_is_tried_again(reason: PauseReason) -> None:
    """A refused password, sender or certificate waits for a person: one more try could lock the account."""
    hours = HOURS.get(reason)
    assert PROBES.get(reason) == (None if hours is None else timedelta(hours=hours))


@pytest.mark.parametrize(
    ("phase", "reply", "hours"),
    [("mail", "550 5.4.5 Daily quota exceeded", 1), ("banner", "554 5.7.1 no", 1), ("mail", "553 not yours", None)],
)
def test_a_pause_has_the_time_of_its_next_try(platform, scripted, phase, reply, hours):
    """A used-up quota and a block are tried again after an hour, a refused sender by nobody."""
    scripted.on(phase, reply)
    relay = platform.add_relay(scripted)
    platform.send(relay, 2)
    platform.drain(relay)
    row = platform.relay(relay)
    assert row.state == "paused"
    if hours is None:
        assert row.probe_at is None
    else:
        assert abs(row.probe_at - row.paused_at - timedelta(hours=hours)) < MINUTE
