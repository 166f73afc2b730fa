"""Waiting invitations that take another way or none, on each database."""

from __future__ import annotations

import pytest

from own_smtp.errors import ConflictError, NotFoundError
from own_smtp.outbox import reroute
from own_smtp.outbox.reroute import Scope
from own_smtp.storage.models import AuditEntry, Batch, Relay
from tests.ledgers import TENANT, Books


@pytest.fixture
def books(migrated, tmp_path):
    """Empty books, on SQLite, PostgreSQL and MariaDB in turn."""
    return Books.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(books):
    return books.relay()


def at(relay):
    return Scope(tenant_id=TENANT, relay_id=relay)


def test_what_waits_leaves_through_the_other_relay(books, relay):
    """A moved batch is claimed by the other relay's drain, and the log says how many moved."""
    other = books.relay()
    books.send(relay, 3)
    assert books(reroute.move_waiting, at(relay), other, user_id="alice") == 3
    assert books.claim(books.take(relay)) == []
    assert len(books.claim(books.take(other))) == 3
    assert books.column(AuditEntry.details) == [{"invitations": [None, 3], "relay": [relay, other]}]


def test_nothing_moves_while_one_is_on_the_wire(books, relay):
    """Only the drain that claimed an invitation knows what becomes of it: its batch stays, and so do the others."""
    other = books.relay()
    books.send(relay, 2)
    books.send(relay, 2)
    books.claim(books.take(relay), 1)
    with pytest.raises(ConflictError, match="being sent at this moment"):
        books(reroute.move_waiting, at(relay), other, user_id="alice")
    assert books.column(Batch.relay_id) == [relay, relay]


@pytest.mark.parametrize("values", [{"tenant_id": "evil"}, {"deleted": True}], ids=["foreign", "deleted"])
def test_nothing_moves_to_where_it_must_not(books, relay, values):
    """Another tenant's relay and a deleted one are no targets."""
    other = books.relay(tenant_id=values.get("tenant_id", TENANT))
    if "deleted" in values:
        books.change(Relay, other, deleted_at=books.column(Relay.created_at)[0])
    books.send(relay)
    with pytest.raises(NotFoundError):
        books(reroute.move_waiting, at(relay), other, user_id="alice")
    assert books.column(Batch.relay_id) == [relay]


def test_what_is_over_stays_where_it_was(books, relay):
    """The report of what was sent keeps the relay that it was sent through."""
    other = books.relay()
    books.send(relay)
    taken = books.take(relay)
    books.settle(taken, [item.id for item in books.claim(taken)])
    books.end(taken)
    assert books(reroute.move_waiting, at(relay), other, user_id="alice") == 0
    assert books.column(Batch.relay_id) == [relay]


def test_what_waits_is_withdrawn(books, relay):
    """All unfinished batches of the scope are cancelled, and others are left alone."""
    other = books.relay()
    books.send(relay, 2)
    books.send(other, 1)
    assert books(reroute.cancel_waiting, at(relay), user_id="alice") == 2
    assert books.states() == {"cancelled": 2, "queued": 1}
    assert books.batch_states() == ["cancelled", "open"]
