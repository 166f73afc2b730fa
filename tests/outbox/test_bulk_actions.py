"""Bulk actions on selected invitations of the log, on each database."""

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
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(outbox):
    return outbox.relay()


def _refuse(outbox, relay, count=3, left=0, **values) -> list[int]:
    """Send a batch, the first `count` of which are refused and `left` are waiting; return the ids of the refused."""
    outbox.send(relay, count + left, **values)
    taken = outbox.take(relay)
    ids = [claimed.id for claimed in outbox.claim(taken, count)]
    outbox.settle(taken, ids, REFUSED)
    outbox.end(taken)
    return ids


def _do(outbox, deed, wanted=StatusFilter(), scope=ACME, ids=None):  # noqa: B008 -- it never changes
    return outbox(perform, deed, Selection(scope=scope, wanted=wanted, ids=ids), user_id="alice")


def _counted(outbox) -> dict[str, int]:
    """Return the number of selected invitations, which must equal the result of `count_selected`."""
    states = outbox.states()
    for state in FINAL:
        assert sum(outbox.column(getattr(BatchTotals, state))) == states.get(state, 0), state
    return states


def test_chosen_ones_are_sent_again_and_counted(outbox, relay):
    """Only selected ones in a suitable state; the batch is open again."""
    refused = _refuse(outbox, relay, 3)
    done = _do(outbox, Deed.RETRY, ids={refused[0], refused[2], 10**12})
    assert (done.changed, done.relay_ids, dict(done.problems)) == (2, {relay}, {})
    assert _counted(outbox) == {"queued": 2, "refused": 1}
    assert outbox.batch_states() == ["open"]


def test_all_that_a_filter_finds_are_changed_in_portions(outbox, relay, monkeypatch):
    """Changes behind the current position do not affect the iteration, whatever the chunk size."""
    monkeypatch.setattr(bulk_actions, "AT_A_TIME", 2)
    _refuse(outbox, relay, 5)
    _refuse(outbox, relay, 4, left=2)
    assert _do(outbox, Deed.RETRY, StatusFilter(recipient="USER")).changed == 9
    assert _counted(outbox) == {"queued": 11}
    assert _do(outbox, Deed.CANCEL, StatusFilter(recipient="user1@")).changed == 2
    assert _counted(outbox) == {"queued": 9, "cancelled": 2}


def test_cancelling_the_last_waiting_one_closes_its_batch(outbox, relay):
    """A drain has nothing left to do."""
    outbox.send(relay, 2)
    ids = outbox.column(Invitation.id)
    assert _do(outbox, Deed.CANCEL, ids={ids[0]}).changed == 1
    assert outbox.batch_states() == ["open"]
    assert _do(outbox, Deed.CANCEL, ids={ids[1]}).changed == 1
    assert outbox.batch_states() == ["done"]


def test_claimed_invitations_are_skipped(outbox, relay):
    """They are neither cancelled nor sent again."""
    outbox.send(relay, 3)
    taken = outbox.take(relay)
    claimed = [item.id for item in outbox.claim(taken, 2)]
    assert _do(outbox, Deed.CANCEL, ids=frozenset(claimed)).changed == 0
    assert _do(outbox, Deed.CANCEL).changed == 1
    outbox.settle(taken, claimed)
    assert _counted(outbox) == {"accepted": 2, "cancelled": 1}


def test_accepted_ones_are_never_sent_again(outbox, relay):
    """By no action, whether selected one by one or by a filter."""
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
def test_nothing_outside_the_scope_is_changed(outbox, relay, scope):
    """Not by its ids either."""
    refused = frozenset(_refuse(outbox, relay, 2, left=1))
    for deed in (Deed.RETRY, Deed.CANCEL):
        assert _do(outbox, deed, scope=scope).changed == 0
        assert _do(outbox, deed, scope=scope, ids=refused).changed == 0
    chosen = Selection(scope=scope, wanted=StatusFilter(), ids=refused)
    assert outbox(count_selected, chosen) == {}
    assert _counted(outbox) == {"queued": 1, "refused": 2}


def test_an_expired_batch_is_reported_and_the_others_are_changed(outbox, relay):
    """The result has the number of skipped ones and the reason; each changed batch has an audit entry."""
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


def test_a_selection_covers_all_pages(outbox, relay):
    """Whatever page a person looked at, the selection is everything that the filter finds."""
    _refuse(outbox, relay, 3)
    wanted = StatusFilter(after="1-1-1", limit=1)
    assert outbox(count_selected, Selection(scope=ACME, wanted=wanted)) == {State.REFUSED: 3}
    assert _do(outbox, Deed.RETRY, wanted).changed == 3
