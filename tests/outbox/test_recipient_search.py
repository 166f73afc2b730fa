"""A search for a recipient in the delivery log, also by the keyed hash of a shortened address, on each database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from own_smtp.hooks.events import Invitation, StatusFilter
from own_smtp.operations.retention import Purge
from own_smtp.outbox import actions
from own_smtp.outbox.query import LogScope, count, walk
from own_smtp.outbox.recipient_search import WithDigests, with_shortened
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import Batch
from own_smtp.storage.models import Invitation as InvitationRow
from tests.outbox_kit import TENANT, Outbox

VAULT = Vault.from_keys([generate_key("tests")])
SCOPE = LogScope(tenant_id=TENANT)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def outbox(migrated, tmp_path):
    """Ann and Anna were invited long ago and are shortened; Ann was invited again today."""
    outbox = Outbox.at(migrated, tmp_path / "journal")
    relay = outbox.relay()
    people = [Invitation(reference=name, address=f"{name}@example.org") for name in ("ann", "anna")]
    outbox.send(relay, people)
    outbox(actions.cancel_batch, 1)
    outbox(lambda connection: connection.execute(update(Batch).values(created_at=LONG_AGO)))
    outbox(lambda connection: connection.execute(update(InvitationRow).values(changed_at=LONG_AGO)))
    Purge(outbox.engine, VAULT, content=timedelta(1), recipients=timedelta(1)).run()
    outbox.send(relay, people[:1])
    return outbox


def found(outbox, recipient, vault=VAULT):
    wanted = with_shortened(StatusFilter(recipient=recipient), vault, TENANT)
    with outbox.engine.connect() as connection:
        ids = sorted(position.id for position in walk(connection, SCOPE, wanted))
        assert sum(count(connection, SCOPE, wanted).values()) == len(ids)
    return ids


def test_a_whole_address_finds_shortened_recipients(outbox):
    """In any case, together with recipients not shortened yet; similar addresses are not found."""
    assert found(outbox, "ann@example.org") == found(outbox, "Ann@EXAMPLE.org") == [1, 3]
    assert found(outbox, "anna@example.org") == [2]


def test_a_part_of_an_address_finds_unshortened_recipients(outbox):
    """A hash cannot match parts; the rest of a shortened address is searched like any other."""
    assert found(outbox, "ann@") == [3]
    assert found(outbox, "…@example.org") == [1, 2]


def test_without_its_key_a_hash_matches_nobody(outbox):
    """Access to the database alone is not enough to look up a person."""
    assert found(outbox, "ann@example.org", Vault.from_keys([generate_key("other")])) == [3]


def test_a_filter_without_an_address_stays_as_it_is():
    """Texts that cannot be an address are not hashed, and all other fields are kept."""
    assert with_shortened(StatusFilter(recipient="ann"), VAULT, TENANT) == StatusFilter(recipient="ann")
    wanted = with_shortened(StatusFilter(recipient="a@b.example", reply="550", limit=3), VAULT, TENANT)
    assert isinstance(wanted, WithDigests)
    assert (wanted.reply, wanted.limit, len(wanted.digests)) == ("550", 3, 1)
