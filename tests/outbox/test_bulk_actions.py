"""What a person does with chosen invitations of the log, on each database."""

from __future__ import annotations

from datetime import timedelta

import pytest

from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox import bulk_actions
from own_smtp.outbox.bulk_actions import Deed, Selection, count_selected, perform
from own_smtp.outbox.query import LogScope
from own_smtp.states import FINAL, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import AuditEntry, Batch, BatchTotals, Invitation
from tests.outbox_kit import REFUSED, TENANT, Outbox

ACME = LogScope(tenant_id=TENANT)


@pytest.fixture
def outbox(migrated, tmp_path):
    """Empty books, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(outbox):
    return outbox.relay()


def _refuse(outbox, relay, count=3, left=0, **values) -> list[int]:
    """Send a batch of which the first `count` are refused and `left` wait; return the ids of the refused ones."""
    outbox.send(relay, count + left, **values)
    taken = outbox.take(relay)
    ids = [claimed.id for claimed in outbox.claim(taken, count)]
    outbox.settle(taken, ids, REFUSED)
    outbox.end(taken)
    return ids


def _do(outbox, deed, wanted=StatusFilter(), scope=ACME, ids=None):  # noqa: B008 -- it never changes
    return outbox(perform, deed, Selection(scope=scope, wanted=wanted, ids=ids), user_id="alice")


def _counted(outbox) -> dict[str, int]:
    """Return what there is, which must be what is counted."""
    states = outbox.states()
    for state in FINAL:
        assert sum(outbox.column(getattr(BatchTotals, state))) == states.get(state, 0), state
    return states


def test_chosen_ones_are_sent_again_and_counted(outbox, relay):
    """Only those that were chosen and are in a state for it; the batch is open again."""
    refused = _refuse(outbox, relay, 3)
    done = _do(outbox, Deed.RETRY, ids={refused[0], refused[2], 10**12})
    assert (done.changed, done.relay_ids, dict(done.problems)) == (2, {relay}, {})
    assert _counted(outbox) == {"queued": 2, "refused": 1}
    assert outbox.batch_states() == ["open"]


def test_all_that_a_filter_finds_are_changed_in_portions(outbox, relay, monkeypatch):
    """The walk is not led astray by what is changed behind it, however few are taken at a time."""
    monkeypatch.setattr(bulk_actions, "AT_A_TIME", 2)
    _refuse(outbox, relay, 5)
    _refuse(outbox, relay, 4, left=2)
    assert _do(outbox, Deed.RETRY, StatusFilter(recipient="USER")).changed == 9
    assert _counted(outbox) == {"queued": 11}
    assert _do(outbox, Deed.CANCEL, StatusFilter(recipient="user1@")).changed == 2
    assert _counted(outbox) == {"queued": 9, "cancelled": 2}


def test_cancelling_the_last_that_waits_closes_its_batch(outbox, relay):
    """There is nothing left for a drain."""
    outbox.send(relay, 2)
    ids = outbox.column(Invitation.id)
    assert _do(outbox, Deed.CANCEL, ids={ids[0]}).changed == 1
    assert outbox.batch_states() == ["open"]
    assert _do(outbox, Deed.CANCEL, ids={ids[1]}).changed == 1
    assert outbox.batch_states() == ["done"]


def test_what_a_drain_has_in_hand_is_left_alone(outbox, relay):
    """Neither cancelled nor sent again."""
    outbox.send(relay, 3)
    taken = outbox.take(relay)
    claimed = [item.id for item in outbox.claim(taken, 2)]
    assert _do(outbox, Deed.CANCEL, ids=frozenset(claimed)).changed == 0
    assert _do(outbox, Deed.CANCEL).changed == 1
    outbox.settle(taken, claimed)
    assert _counted(outbox) == {"accepted": 2, "cancelled": 1}


def test_accepted_ones_are_never_sent_again(outbox, relay):
    """By no deed, chosen one by one or by a filter that asks for them."""
    outbox.send(relay, 2)
    taken = outbox.take(relay)
    ids = [item.id for item in outbox.claim(taken)]
    outbox.settle(taken, ids)
    outbox.end(taken)
    for deed in Deed:
        assert _do(outbox, deed, ids=frozenset(ids)).changed == 0
        assert _do(outbox, deed, StatusFilter(states={State.ACCEPTED})).changed == 0
    assert outbox.states() == {"accepted": 2}


@pytest.mark.parametrize(
    "scope",
    [
        LogScope(tenant_id="evil"),
        LogScope(tenant_id=TENANT, project_ids=frozenset({"another"})),
        LogScope(tenant_id=TENANT, project_ids=frozenset()),
        LogScope(tenant_id=TENANT, relay_id=10**6),
    ],
    ids=["tenant", "project", "no project", "relay"],
)
def test_nothing_outside_the_scope_is_touched(outbox, relay, scope):
    """Not by its ids either."""
    refused = frozenset(_refuse(outbox, relay, 2, left=1))
    for deed in (Deed.RETRY, Deed.CANCEL):
        assert _do(outbox, deed, scope=scope).changed == 0
        assert _do(outbox, deed, scope=scope, ids=refused).changed == 0
    chosen = Selection(scope=scope, wanted=StatusFilter(), ids=refused)
    assert outbox(count_selected, chosen) == {}
    assert _counted(outbox) == {"queued": 1, "refused": 2}


def test_a_batch_that_is_over_is_named_and_the_others_go_on(outbox, relay):
    """How many were left alone, and why; each changed batch is in the audit log."""
    _refuse(outbox, relay, 2)
    _refuse(outbox, relay, 3)
    with outbox.engine.connect() as connection:
        past = read_clock(connection) - timedelta(hours=1)
    outbox.change(Batch, 1, expires_at=past)
    done = _do(outbox, Deed.RETRY)
    assert (done.changed, dict(done.problems)) == (3, {"The time for sending this batch is over.": 2})
    (details,) = outbox.column(AuditEntry.details)
    assert details["batch"] == [None, 2]
    assert details["invitations"] == [None, 3]


def test_a_selection_does_not_begin_in_the_middle(outbox, relay):
    """Whatever page a person looked at, all that the filter finds is meant."""
    _refuse(outbox, relay, 3)
    wanted = StatusFilter(after="1-1-1", limit=1)
    assert outbox(count_selected, Selection(scope=ACME, wanted=wanted)) == {State.REFUSED: 3}
    assert _do(outbox, Deed.RETRY, wanted).changed == 3
