"""Changes of the outbox by hosts and people, on each database."""

import re
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from threading import Event

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError, ContentError, NotFoundError
from own_smtp.hooks.events import Attachment, Content, Invitation
from own_smtp.operations import erasure
from own_smtp.outbox import actions, intake
from own_smtp.relays import edits
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, BatchFile, Relay
from own_smtp.storage.models import Invitation as InvitationRow
from tests.outbox_kit import ACCEPTED, DEFERRED, REFUSED, Outbox, add, at_once, invited


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(outbox):
    return outbox.relay()


def someone(reference, address="ann@example.org"):
    return Invitation(reference=reference, address=address)


def moved(outbox, seconds):
    with outbox.engine.connect() as connection:
        return read_clock(connection) + timedelta(seconds=seconds)


# Adding


def test_a_batch_and_its_invitations_are_added(outbox, relay):
    """Valid invitations wait, undeliverable ones are refused with a reason, and the receipt has both."""
    people = [someone("1"), someone("2", "no address"), someone("3", "bob@example.org")]
    receipt = outbox.send(relay, people)
    assert (receipt.taken, receipt.refused_count, receipt.repeated) == (2, 1, False)
    assert [(item.reference, item.address) for item in receipt.refused] == [("2", "no address")]
    assert outbox.column(InvitationRow.reference) == ["1", "3"]
    assert outbox.states() == {"queued": 2}
    assert (outbox.column(Batch.taken_count), outbox.column(Batch.refused_count)) == ([2], [1])


def test_a_reference_given_twice_is_added_once(outbox, relay):
    """Within a chunk and across chunks, the first invitation with a reference is kept."""
    people = [someone("a", "first@example.org"), *invited(intake.CHUNK), someone("a"), someone("1")]
    receipt = outbox.send(relay, people)
    assert (receipt.taken, receipt.passed_over) == (intake.CHUNK + 1, 2)
    assert outbox.column(InvitationRow.address)[0] == "first@example.org"


def test_references_that_only_look_alike_are_different(outbox, relay):
    """Case, accents and width count on each database; references are unique only within a batch."""
    names = ["abc", "ABC", "äbc", "a\u0308bc", "\uff41bc", "ß", "ss"]
    assert outbox.send(relay, [someone(name) for name in names]).taken == len(names)
    assert outbox.send(relay, [someone(name) for name in names]).taken == len(names)


@pytest.mark.parametrize("reference", ["", " a", "a ", "a\x00", "a\nb", "x" * 256, "\ud800", 7])
def test_a_reference_that_cannot_be_stored_is_refused(outbox, relay, reference):
    """Outer white space, control characters and overlong texts are refused, and the others are added."""
    receipt = outbox.send(relay, [someone(reference), someone("fine")])
    assert (receipt.taken, receipt.refused_count) == (1, 1)


@pytest.mark.parametrize("values", [{"kind": "x" * 41}, {"idempotency_key": " "}, {"created_by": "x" * 256}])
def test_a_batch_that_cannot_be_stored_is_refused_as_a_whole(outbox, relay, values):
    """Values that do not fit the tables are refused before anything is written, equally on each database."""
    with pytest.raises(ContentError):
        outbox.send(relay, 1, **values)
    assert outbox.column(Batch.id) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"project_id": 7}, "A project's id must be text, not int."),
        ({"expires_at": datetime(2030, 1, 1)}, "`expires_at` must have a time zone"),  # noqa: DTZ001 -- what is refused
        ({"expires_at": "2030-01-01"}, "`expires_at` must be a datetime"),
        ({"content": "Hello"}, "The content must be a Content, not str."),
        ({"content": Content(subject="s", text="t", headers=None)}, "The headers must be a mapping"),
        ({"content": Content(subject="s", text="t", attachments=["a.pdf"])}, "Each attachment must be an Attachment"),
        ({"invitations": None}, "`invitations` must be an iterable of Invitation, not NoneType."),
        ({"invitations": [{"reference": "1"}]}, "`invitations` must hold Invitation, not dict."),
    ],
)
def test_a_violation_of_the_contract_is_named(outbox, relay, values, words):
    """The error names the wrong value and the expected type, and nothing is written."""
    with pytest.raises(ContentError, match=re.escape(words)):
        outbox.send(relay, **{"count": 1} | values)
    assert outbox.column(Batch.id) == []


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"reference": 7}, "A reference must be text, not int."),
        ({"values": None}, "The values must be a mapping of names to texts, not NoneType."),
        ({"values": {"NAME": None}}, "The value of the placeholder NAME is not text."),
        (
            {"values": {"NAME": "\ud800"}},
            "The value of the placeholder NAME contains half of a character (a lone surrogate).",
        ),
        ({"values": {"\ud800": "x"}}, "The name of a placeholder contains half of a character (a lone surrogate)."),
        ({"name": None}, "The name is not text."),
        ({"address": None}, "The address is not text."),
        ({"content": "Hello"}, "The content must be a Content, not str."),
    ],
)
def test_one_invalid_invitation_does_not_block_the_others(outbox, relay, values, words):
    """It is refused with the reason."""
    wrong = replace(someone("1"), **values)
    receipt = outbox.send(relay, [wrong, someone("2")])
    assert (receipt.taken, [item.reason for item in receipt.refused]) == (1, [words])


def broken_off():
    yield from invited(intake.CHUNK + 1)
    raise OSError("the list of people could not be read")


@pytest.mark.parametrize("values", [{}, {"idempotency_key": "key"}])
def test_half_a_list_is_never_sent(outbox, relay, values):
    """A host whose generator fails, and which commits nevertheless, has sent nothing and can send again."""
    with outbox.hosts.begin() as connection, pytest.raises(OSError, match="could not be read"):
        add(connection, relay, broken_off(), **values)
    assert outbox.column(Batch.id) == []
    assert outbox.column(InvitationRow.id) == []
    receipt = outbox.send(relay, 3, **values)
    assert (receipt.taken, receipt.repeated) == (3, False)


def test_a_broken_list_leaves_the_hosts_own_work_alone(outbox, relay):
    """The host's earlier changes in its transaction are not rolled back."""
    with outbox.hosts.connect() as connection:
        add(connection, relay, 1)
        with pytest.raises(OSError, match="could not be read"):
            add(connection, relay, broken_off())
        connection.rollback()
    assert outbox.column(Batch.id) == []


def test_a_batch_without_valid_invitations_is_done(outbox, relay):
    """A batch without any deliverable invitation has no work for a drain."""
    assert outbox.send(relay, [someone("1", "nobody")]).taken == 0
    assert outbox.batch_states() == ["done"]


def test_attachments_are_stored_once_for_the_batch(outbox, relay):
    """Each file has a row of its own."""
    file = Attachment(filename="a.pdf", content_type="application/pdf", data=b"\x00\xff" * 1000)
    outbox.send(relay, 2, content=Content(subject="s", text="t", attachments=[file]))
    assert outbox.column(BatchFile.data) == [file.data]


def test_a_rolled_back_send_leaves_nothing(outbox, relay):
    """The host's rollback removes the batch, even if it is the transaction's first change."""
    for values in ({}, {"idempotency_key": "key"}):
        with outbox.hosts.connect() as connection:
            add(connection, relay, 3, **values)
            connection.rollback()
        assert outbox.column(Batch.id) == []
        assert outbox.column(InvitationRow.id) == []
    assert not outbox.send(relay, 3, idempotency_key="key").repeated


# Sending the same again


def test_the_same_key_adds_nothing_and_returns_the_first_receipt(outbox, relay):
    """A repeated send is recognised by its key, in the same project only."""
    first = outbox.send(relay, [*invited(3), someone("x", "nobody")], idempotency_key="key")
    again = outbox.send(relay, 5, idempotency_key="key")
    assert (again.batch_id, again.taken, again.refused_count, again.repeated) == (first.batch_id, 3, 1, True)
    assert not outbox.send(relay, 1, idempotency_key="KEY").repeated
    assert not outbox.send(relay, 1, idempotency_key="key", project_id="another").repeated
    assert len(outbox.column(InvitationRow.id)) == 5


def test_two_requests_with_the_same_key_add_one_batch(outbox, relay):
    """Both transactions read the tables before either wrote: one adds, the other gets its receipt."""

    def request():
        with outbox.hosts.begin() as connection:
            connection.execute(select(Batch.id)).all()  # from here on MariaDB shows an unchanging picture
            return add(connection, relay, 50, idempotency_key="key")

    for number in range(3):
        receipts = at_once(request, request, request)
        assert {receipt.taken for receipt in receipts} == {50}
        assert sorted(receipt.repeated for receipt in receipts) == [number > 0, True, True]
    assert outbox.states() == {"queued": 50}


def test_a_key_whose_first_request_was_rolled_back_is_free(outbox, relay):
    """A second request that waited for one which failed becomes the first."""
    with outbox.hosts.connect() as connection:
        add(connection, relay, 2, idempotency_key="key")
        connection.rollback()
    assert not outbox.send(relay, 2, idempotency_key="key").repeated


# Pause, resume, cancel


def test_a_paused_batch_waits(outbox, relay):
    """Pausing hides a batch from drains, resuming returns it; both only in the right states."""
    batch = outbox.send(relay, 2).batch_id
    taken = outbox.take(relay)
    outbox(actions.pause_batch, batch)
    assert outbox.claim(taken) == []
    with pytest.raises(ConflictError):
        outbox(actions.pause_batch, batch)
    outbox(actions.resume_batch, batch)
    with pytest.raises(ConflictError):
        outbox(actions.resume_batch, batch)
    assert len(outbox.claim(taken)) == 2


def test_a_batch_that_was_finished_while_it_paused_is_done_when_it_resumes(outbox, relay):
    """If no invitations are waiting, resuming ends the batch instead of leaving it open for ever."""
    batch = outbox.send(relay, 1).batch_id
    taken = outbox.take(relay)
    claimed = outbox.claim(taken)
    outbox(actions.pause_batch, batch)
    outbox.settle(taken, [claimed[0].id])
    outbox.end(taken)
    assert outbox.batch_states() == ["paused"]
    outbox(actions.resume_batch, batch)
    assert outbox.batch_states() == ["done"]


def test_cancelling_covers_waiting_and_returned_invitations(outbox, relay):
    """Queued ones are cancelled at once; claimed ones may still be sent, or are cancelled when they are returned."""
    batch = outbox.send(relay, 5).batch_id
    taken = outbox.take(relay)
    sent, deferred, _unsent = (item.id for item in outbox.claim(taken, 3))
    assert outbox(actions.cancel_batch, batch) == 2
    outbox.settle(taken, [sent])
    outbox.settle(taken, [deferred], DEFERRED)
    outbox.end(taken)
    outbox.end(outbox.take(relay))
    assert outbox.states() == {"accepted": 1, "cancelled": 4}
    assert outbox.batch_states() == ["cancelled"]


def test_cancelling_a_finished_batch_changes_nothing(outbox, relay):
    """Sent invitations stay sent, and a finished batch stays finished."""
    batch = outbox.send(relay, 1).batch_id
    taken = outbox.take(relay)
    outbox.settle(taken, [item.id for item in outbox.claim(taken)])
    outbox.end(taken)
    assert outbox(actions.cancel_batch, batch) == 0
    assert (outbox.states(), outbox.batch_states()) == ({"accepted": 1}, ["done"])


def test_a_project_is_cancelled_with_all_its_batches(outbox, relay):
    """All batches of the project, on all of the tenant's relays, and none of another's."""
    other = outbox.relay()
    for relay_id in (relay, other):
        outbox.send(relay_id, 2)
        outbox.send(relay_id, 1, project_id="kept")
        outbox.send(relay_id, 1, tenant_id="someone-else")
    assert outbox(actions.cancel_project, "acme", "survey") == 4
    assert outbox(actions.cancel_project, "acme", None) == 2
    assert outbox.states() == {"cancelled": 6, "queued": 2}


def test_an_unknown_batch_raises_not_found(outbox):
    """Nothing reports success for a batch that does not exist."""
    for action in (actions.cancel_batch, actions.pause_batch, actions.resume_batch):
        with pytest.raises(NotFoundError):
            outbox(action, 404)


# Retry


@pytest.fixture
def ended(outbox, relay):
    """A batch with one of each final state, by id."""
    batch = outbox.send(relay, 4).batch_id
    taken = outbox.take(relay)
    accepted, refused, unknown = outbox.claim(taken, 3)
    outbox.settle(taken, [accepted.id], ACCEPTED)
    outbox.settle(taken, [refused.id], REFUSED)
    outbox.change(InvitationRow, unknown.id, state=State.UNKNOWN)
    outbox.end(taken)
    outbox(actions.cancel_batch, batch)
    assert outbox.states() == {"accepted": 1, "refused": 1, "unknown": 1, "cancelled": 1}
    return batch


def test_a_retry_queues_the_requested_states(outbox, ended):
    """Only the named states are queued, the batch is open again, and the host is notified."""
    assert outbox(actions.retry, ended, [State.REFUSED]) == 1
    assert outbox.states() == {"accepted": 1, "queued": 1, "unknown": 1, "cancelled": 1}
    assert outbox.batch_states() == ["open"]
    assert outbox(actions.retry, ended, [State.UNKNOWN, State.CANCELLED]) == 2


def test_a_retry_of_chosen_invitations_leaves_the_others(outbox, ended):
    """With ids, only those in the requested states are queued again."""
    first, second, *_rest = outbox.column(InvitationRow.id)
    assert outbox(actions.retry, ended, [State.REFUSED, State.CANCELLED], [first, second]) == 1
    assert outbox(actions.retry, ended, [State.CANCELLED], []) == 0


@pytest.mark.parametrize("state", [State.ACCEPTED, State.SENDING, State.QUEUED])
def test_accepted_and_waiting_invitations_are_never_sent_again(outbox, ended, state):
    """A second copy of an accepted invitation cannot be requested."""
    with pytest.raises(ConflictError):
        outbox(actions.retry, ended, [state])


def test_a_batch_cannot_be_reopened_while_cancelled_invitations_are_being_sent(outbox, relay):
    """Invitations that were claimed when a batch was cancelled are not revived by a retry."""
    batch = outbox.send(relay, 3).batch_id
    taken = outbox.take(relay)
    refused, _withdrawn = outbox.claim(taken, 2)
    outbox.settle(taken, [refused.id], REFUSED)
    outbox(actions.cancel_batch, batch)
    with pytest.raises(ConflictError, match="still being sent"):
        outbox(actions.retry, batch, [State.REFUSED])
    outbox.end(taken)
    assert outbox(actions.retry, batch, [State.REFUSED]) == 1
    assert outbox.states() == {"queued": 1, "cancelled": 2}


def test_an_impossible_retry_is_refused(outbox, relay, ended):
    """After the server's deletion or the deadline people get a reason instead of a queue that never moves."""
    outbox.change(Batch, ended, expires_at=moved(outbox, -1))
    with pytest.raises(ConflictError, match="time"):
        outbox(actions.retry, ended, [State.REFUSED])
    outbox.change(Batch, ended, expires_at=moved(outbox, 60))
    outbox.change(Relay, relay, deleted_at=moved(outbox, -1))
    with pytest.raises(ConflictError, match="deleted"):
        outbox(actions.retry, ended, [State.REFUSED])


# The end of a survey


def test_waiting_invitations_fail_at_the_deadline(outbox, relay):
    """After the host's deadline waiting invitations have failed with a reason; claimed ones are awaited."""
    batch = outbox.send(relay, 3, expires_at=moved(outbox, 60)).batch_id
    taken = outbox.take(relay)
    (on_the_wire,) = outbox.claim(taken, 1)
    assert outbox(actions.expired_batches) == []
    outbox.change(Batch, batch, expires_at=moved(outbox, -1))
    assert outbox(actions.expired_batches) == [batch]
    assert outbox(actions.expire_batch, batch) == 2
    assert outbox.states() == {"sending": 1, "failed": 2}
    assert outbox.column(Attempt.text) == [actions.EXPIRED] * 2
    assert outbox.batch_states() == ["open"]
    outbox.settle(taken, [on_the_wire.id])
    outbox.end(taken)
    assert outbox.batch_states() == ["done"]


@pytest.mark.parametrize("state", ["open", "paused"])
def test_an_expired_batch_is_done(outbox, relay, state):
    """A paused one ends as well, and is not examined again."""
    batch = outbox.send(relay, 2, expires_at=moved(outbox, -1)).batch_id
    outbox.change(Batch, batch, state=state)
    outbox(actions.expire_batch, batch)
    assert (outbox.batch_states(), outbox(actions.expired_batches)) == (["done"], [])


# The end of a mail server


def delete(outbox, relay, before, after, may_commit):
    """Delete it as a page does. Sets the events `before` and `after`, and commits when allowed."""
    with Session(outbox.hosts) as session:
        row = session.get(Relay, relay)
        before.set()
        edits.delete(session, row, user_id="alice")
        after.set()
        assert may_commit.wait(30)
        session.commit()


def test_a_deletion_during_an_uncommitted_send_fails_its_invitations(outbox, relay):
    """The deletion waits for the send; then its invitations have failed with a reason, and the host is notified."""
    before, after, may_commit = Event(), Event(), Event()
    may_commit.set()
    with ThreadPoolExecutor(1) as threads, outbox.hosts.connect() as host:
        with host.begin():
            add(host, relay, 20)
            deleted = threads.submit(delete, outbox, relay, before, after, may_commit)
            assert before.wait(30)
        deleted.result(30)
    assert outbox.states() == {"failed": 20}
    assert set(outbox.column(Attempt.text)) == {actions.DELETED}
    assert outbox.batch_states() == ["done"]
    assert None not in outbox.column(InvitationRow.untold_since)


def test_a_send_to_a_server_that_is_being_deleted_is_refused(outbox, relay):
    """The send waits for the deletion, and adds nothing."""
    before, after, may_commit = Event(), Event(), Event()

    def send():
        with pytest.raises(NotFoundError):
            outbox.send(relay, 20)

    with ThreadPoolExecutor(2) as threads:
        deleted = threads.submit(delete, outbox, relay, before, after, may_commit)
        assert after.wait(30)
        refused = threads.submit(send)
        may_commit.set()
        deleted.result(30)
        refused.result(30)
    assert (outbox.states(), outbox.batch_states()) == ({}, [])


@pytest.mark.parametrize("state", ["open", "paused"])
def test_invitations_of_a_deleted_server_are_found_and_failed(outbox, relay, state):
    """However they got there. Claimed ones are awaited, and the batch ends with them."""
    other = outbox.send(outbox.relay(), 1).batch_id
    batch = outbox.send(relay, 3).batch_id
    taken = outbox.take(relay)
    (on_the_wire,) = outbox.claim(taken, 1)
    outbox.change(Batch, batch, state=state)
    assert outbox(actions.orphaned_relays) == []
    outbox.change(Relay, relay, deleted_at=moved(outbox, -1))
    assert outbox(actions.orphaned_relays) == [relay]
    assert outbox(actions.end_deleted, relay) == 2
    assert outbox(actions.orphaned_relays) == []
    assert outbox.states() == {"queued": 1, "sending": 1, "failed": 2}
    outbox.settle(taken, [on_the_wire.id])
    outbox.end(taken)
    outbox(actions.end_deleted, relay)
    assert dict(zip(outbox.column(Batch.id), outbox.batch_states(), strict=True)) == {other: "open", batch: "done"}


def test_a_deleted_project_leaves_nothing_behind(outbox, relay):
    """Batches, files, invitations and attempts of the project are gone, those of others are not."""
    file = Attachment(filename="a.txt", content_type="text/plain", data=b"a")
    content = Content(subject="s", text="t", attachments=[file])
    outbox.send(relay, 2, content=content, expires_at=moved(outbox, -1))
    outbox.send(relay, 1, project_id="kept", content=content)
    for batch in outbox(actions.expired_batches):
        outbox(actions.expire_batch, batch)
    outbox(erasure.erase_records, "acme", "survey")
    assert (outbox.states(), outbox.attempts(), len(outbox.column(BatchFile.id))) == ({"queued": 1}, [], 1)


# Size


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_invitations(tmp_path):
    """Ten times as many invitations take no more memory than a few chunks."""
    from own_smtp.storage import schema

    engine = create_engine(f"sqlite:///{tmp_path / 'big.sqlite3'}")
    schema.upgrade(engine)
    outbox = Outbox.at(engine, tmp_path / "journal")
    relay = outbox.relay()
    outbox.send(relay, 100)  # what is made once is made now

    def peak(count):
        tracemalloc.start()
        assert outbox.send(relay, invited(count)).taken == count
        _now, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few = peak(3_000)
    assert peak(30_000) < 1.2 * few
    engine.dispose()


def test_a_receipt_lists_the_first_refusals_only(outbox, relay):
    """A completely invalid list does not fill the memory; the count is exact."""
    count = intake.MAX_REFUSALS_SHOWN + 10
    receipt = outbox.send(relay, (someone(str(number), "nobody") for number in range(count)))
    assert (len(receipt.refused), receipt.refused_count) == (intake.MAX_REFUSALS_SHOWN, count)
