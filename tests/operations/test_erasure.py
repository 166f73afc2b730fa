"""Erasure of one person's data on request, on each database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import update

from own_smtp.hooks.events import Invitation
from own_smtp.operations.erasure import finish_erasures, forget_person
from own_smtp.operations.retention import Purge
from own_smtp.outbox import actions
from own_smtp.states import State
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import Attempt, AuditEntry, Batch, Forgetting, Relay, Shortened
from own_smtp.storage.models import Invitation as InvitationRow
from tests.engine import Platform
from tests.outbox_kit import DEFERRED, REFUSED, TENANT, Outbox
from tests.servers.postfix import Postfix

OLD_KEY, NEW_KEY = generate_key("old"), generate_key("new")
VAULT = Vault.from_keys([OLD_KEY])
ANN, BOB = "ann@example.org", "bob@example.org"


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(outbox):
    return outbox.relay()


def send(outbox, relay, *addresses, **values):
    people = [
        Invitation(reference=f"{address}?", address=address, name=address, values={"A": "b"}) for address in addresses
    ]
    return outbox.send(relay, people, **values).batch_id


def forget(outbox, address=ANN, vault=VAULT, tenant=TENANT):
    return outbox(forget_person, vault, tenant, address)


def left_of_ann(outbox):
    """Return every remaining place with the address."""
    columns = (InvitationRow.address, InvitationRow.name, Attempt.text, Relay.pause_text, AuditEntry.details)
    return [value for column in columns for value in outbox.column(column) if "ann" in str(value).lower()]


def test_what_waits_is_cancelled_and_the_person_is_gone(outbox, relay):
    """In every batch, in whatever case the address was given; other people's data stays."""
    send(outbox, relay, "Ann@example.org", BOB)
    send(outbox, relay, ANN, project_id="another")
    found = forget(outbox)
    assert (found.invitations, found.cancelled, found.in_hand) == (2, 2, 0)
    assert outbox.states() == {"cancelled": 2, "queued": 1}
    assert outbox.column(InvitationRow.address) == ["", BOB, ""]
    assert [values is None for values in outbox.column(InvitationRow.values)] == [True, False, True]
    assert left_of_ann(outbox) == []
    assert forget(outbox).invitations == 0


def test_what_was_sent_keeps_its_state_and_loses_the_person(outbox, relay):
    """Also if the server's reply, or the text of a pause, repeats the address."""
    send(outbox, relay, ANN)
    taken = outbox.take(relay)
    outbox.settle(taken, [item.id for item in outbox.claim(taken)], REFUSED)
    outbox.end(taken)
    outbox(lambda connection: connection.execute(update(Attempt).values(text=f"<{ANN}>: no")))
    outbox.change(Relay, relay, pause_text=f"550 stop sending to {ANN}")
    assert forget(outbox).invitations == 1
    assert outbox.states() == {"refused": 1}
    assert left_of_ann(outbox) == []
    assert outbox.column(Relay.pause_text) == ["550 stop sending to •••"]
    assert outbox(actions.retry, 1, [State.REFUSED]) == 0


def test_other_tenants_are_not_touched(outbox, relay):
    """The same person may have consented elsewhere."""
    send(outbox, relay, ANN)
    assert forget(outbox, tenant="another").invitations == 0
    assert outbox.column(InvitationRow.address) == [ANN]


def test_the_log_says_that_it_was_done_and_not_of_whom(outbox, relay):
    """One audit entry, with a number and without the address."""
    send(outbox, relay, ANN)
    forget(outbox)
    assert outbox.column(AuditEntry.action) == ["person_forgotten"]
    assert outbox.column(AuditEntry.details) == [{"invitations": [None, 1]}]


@pytest.mark.parametrize("outcome", [REFUSED, DEFERRED])
def test_claimed_invitations_are_erased_when_they_are_settled(outbox, relay, outcome):
    """The drain settles it first; a retry is cancelled."""
    send(outbox, relay, ANN)
    taken = outbox.take(relay)
    claimed = outbox.claim(taken)
    found = forget(outbox)
    assert (found.invitations, found.cancelled, found.in_hand) == (1, 0, 1)
    assert finish_erasures(outbox.engine) == 0
    forget(outbox)  # asked for twice
    outbox.settle(taken, [item.id for item in claimed], outcome)
    outbox.end(taken)
    assert finish_erasures(outbox.engine) == 1
    assert outbox.states() == {"refused" if outcome is REFUSED else "cancelled": 1}
    assert left_of_ann(outbox) == []
    assert outbox.column(Forgetting.invitation_id) == []


def test_a_shortened_recipient_is_found_by_hash(outbox, relay):
    """With the key of that time among the current ones."""
    send(outbox, relay, ANN, BOB)
    outbox(actions.cancel_batch, 1)
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    outbox(lambda connection: connection.execute(update(Batch).values(created_at=long_ago)))
    outbox(lambda connection: connection.execute(update(InvitationRow).values(changed_at=long_ago)))
    Purge(outbox.engine, VAULT, content=timedelta(1), recipients=timedelta(1)).run()
    assert forget(outbox, vault=Vault.from_keys([NEW_KEY])).invitations == 0
    assert forget(outbox, "ANN@example.org", vault=Vault.from_keys([NEW_KEY, OLD_KEY])).invitations == 1
    assert outbox.column(InvitationRow.address) == ["", "b…@example.org"]
    assert len(outbox.column(Shortened.digest)) == 1


@pytest.mark.servers
def test_what_a_real_server_wrote_names_nobody_any_more(platform: Platform, postfix: Postfix) -> None:
    """Postfix repeats the recipient in its refusal; after the erasure only the reason is left."""
    postfix.set_replies({ANN: "550 5.1.1 No such user"})
    relay = platform.add_relay(postfix, port=postfix.plain_port)
    platform.send(relay, [ANN, BOB])
    platform.drain(relay)
    postfix.set_replies({})
    assert ANN in platform.attempts[0].text + platform.attempts[1].text
    with platform.app.app_context():
        platform.own_smtp.forget_person(TENANT, ANN)
        platform.own_smtp.db.session.commit()
    words = [row.text for row in platform.attempts]
    assert not any("ann" in text for text in words)
    assert any("No such user" in text for text in words)
    assert platform.states() == {"refused": 1, "accepted": 1}
