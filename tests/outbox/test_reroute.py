"""Moving and cancelling waiting invitations, on each database."""

from __future__ import annotations

import pytest

from own_smtp.errors import ConflictError, NotFoundError
from own_smtp.outbox import reroute
from own_smtp.outbox.reroute import Scope
from own_smtp.storage.models import AuditEntry, Batch, Relay
from tests.outbox_kit import TENANT, Outbox


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(outbox):
    return outbox.relay()


def at(relay):
    return Scope(tenant_id=TENANT, relay_id=relay)


def test_waiting_invitations_move_to_the_other_relay(outbox, relay):
    """A moved batch is claimed by the other relay's drain, and the audit log has the number."""
    other = outbox.relay()
    outbox.send(relay, 3)
    assert outbox(reroute.move_waiting, at(relay), other, user_id="alice") == 3
    assert outbox.claim(outbox.take(relay)) == []
    assert len(outbox.claim(outbox.take(other))) == 3
    assert outbox.column(AuditEntry.details) == [{"invitations": [None, 3], "relay": [relay, other]}]


def test_nothing_moves_while_one_is_being_sent(outbox, relay):
    """Only the drain that claimed an invitation can settle it: its batch stays, and so do the others."""
    other = outbox.relay()
    outbox.send(relay, 2)
    outbox.send(relay, 2)
    outbox.claim(outbox.take(relay), 1)
    with pytest.raises(ConflictError, match="being sent at this moment"):
        outbox(reroute.move_waiting, at(relay), other, user_id="alice")
    assert outbox.column(Batch.relay_id) == [relay, relay]


@pytest.mark.parametrize("values", [{"tenant_id": "evil"}, {"deleted": True}], ids=["foreign", "deleted"])
def test_invalid_targets_are_refused(outbox, relay, values):
    """Another tenant's relay and a deleted one are no targets."""
    other = outbox.relay(tenant_id=values.get("tenant_id", TENANT))
    if "deleted" in values:
        outbox.change(Relay, other, deleted_at=outbox.column(Relay.created_at)[0])
    outbox.send(relay)
    with pytest.raises(NotFoundError):
        outbox(reroute.move_waiting, at(relay), other, user_id="alice")
    assert outbox.column(Batch.relay_id) == [relay]


def test_finished_batches_do_not_move(outbox, relay):
    """The report of a finished batch keeps the relay that it was sent through."""
    other = outbox.relay()
    outbox.send(relay)
    taken = outbox.take(relay)
    outbox.settle(taken, [item.id for item in outbox.claim(taken)])
    outbox.end(taken)
    assert outbox(reroute.move_waiting, at(relay), other, user_id="alice") == 0
    assert outbox.column(Batch.relay_id) == [relay]


def test_waiting_invitations_are_cancelled(outbox, relay):
    """All unfinished batches of the scope are cancelled, and others are not changed."""
    other = outbox.relay()
    outbox.send(relay, 2)
    outbox.send(other, 1)
    assert outbox(reroute.cancel_waiting, at(relay), user_id="alice") == 2
    assert outbox.states() == {"cancelled": 2, "queued": 1}
    assert outbox.batch_states() == ["cancelled", "open"]
