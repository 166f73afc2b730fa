"""Retention, on each database."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, delete, event, select, update

from own_smtp.errors import ConflictError
from own_smtp.hooks.events import Attachment, Content, Invitation
from own_smtp.operations import erasure, retention
from own_smtp.operations.erasure import shortened_of
from own_smtp.operations.retention import Purge
from own_smtp.outbox import actions
from own_smtp.states import State
from own_smtp.storage import periodic
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import Attempt, Base, Batch, BatchFile, Shortened
from own_smtp.storage.models import Invitation as InvitationRow
from own_smtp.storage.periodic import PeriodicTasks
from own_smtp.storage.pseudonyms import normal_form, scrub, shorten
from tests.outbox_kit import ACCEPTED, REFUSED, TENANT, Outbox
from tests.plans import analyse, plan_of

VAULT = Vault.from_keys([generate_key("tests")])
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MONTH, YEAR, FOREVER = timedelta(days=30), timedelta(days=365), timedelta(days=36500)


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(outbox):
    return outbox.relay()


def purge(outbox, content=MONTH, recipients=FOREVER, steps=None):
    return Purge(outbox.engine, VAULT, content=content, recipients=recipients).run(steps)


def deliver(outbox, relay, outcome=ACCEPTED):
    taken = outbox.take(relay)
    claimed = outbox.claim(taken, 10_000)
    outbox.settle(taken, [invitation.id for invitation in claimed], outcome)
    outbox.end(taken)


def grow_old(outbox, at=LONG_AGO):
    outbox(lambda connection: connection.execute(update(Batch).values(created_at=at)))
    outbox(lambda connection: connection.execute(update(InvitationRow).values(changed_at=at)))


def sent(outbox, relay, people=2, **values):
    receipt = outbox.send(relay, people, **values)
    deliver(outbox, relay)
    grow_old(outbox)
    return receipt.batch_id


def test_old_contents_go_and_states_stay(outbox, relay):
    """Text, files and values of a finished batch are deleted; recipients and states stay."""
    file = Attachment(filename="a.pdf", content_type="application/pdf", data=b"x")
    sent(outbox, relay, content=Content(subject="s", text="t", attachments=[file]))
    assert (purge(outbox).contents, purge(outbox).contents) == (1, 0)
    assert outbox.column(Batch.content) == [None]
    assert outbox.column(BatchFile.id) == []
    assert outbox.column(InvitationRow.values) == [None, None]
    assert outbox.column(InvitationRow.address) == ["user1@example.org", "user2@example.org"]
    assert outbox.states() == {"accepted": 2}


def test_what_waits_or_changed_lately_is_kept(outbox, relay):
    """Only finished batches are touched, and their period starts at the last change of state."""
    outbox.send(relay, 1)
    grow_old(outbox)
    assert purge(outbox).contents == 0
    deliver(outbox, relay)  # as if it were an hour ago, although the batch is old
    assert purge(outbox).contents == 0
    grow_old(outbox, datetime.now(UTC) - MONTH - timedelta(hours=1))
    assert purge(outbox).contents == 1


def test_old_recipients_are_shortened_and_can_be_found_again(outbox, relay):
    """The first letter and the domain of an address stay, and a keyed hash that only the keys' owner can make."""
    sent(outbox, relay, [Invitation(reference="1", address="Jane.Doe@example.org", name="Jane")])
    purged = purge(outbox, content=FOREVER, recipients=YEAR)
    assert (purged.contents, purged.recipients, purged.is_done) == (1, 1, True)
    assert outbox.column(InvitationRow.address) == ["J\N{HORIZONTAL ELLIPSIS}@example.org"]
    assert outbox.column(InvitationRow.name) == [""]
    assert outbox.column(Shortened.digest) == VAULT.digests("jane.doe@example.org", tenant_id=TENANT)
    assert outbox.column(InvitationRow.reference) == ["1"]
    assert purge(outbox, recipients=YEAR).recipients == 0


def test_a_server_s_words_do_not_bring_the_address_back(outbox, relay):
    """A refusal that repeats the recipient is redacted."""
    outbox.send(relay, [Invitation(reference="1", address="jane.doe@example.org")])
    deliver(outbox, relay, REFUSED)
    words = "<Jane.Doe@example.org>: jane.doe unknown in mailbox table"
    outbox(lambda connection: connection.execute(update(Attempt).values(text=words)))
    grow_old(outbox)
    purge(outbox, recipients=YEAR)
    assert outbox.column(Attempt.text) == ["<•••>: ••• unknown in mailbox table"]


def test_nothing_of_a_purged_batch_is_sent_again(outbox, relay):
    """The person gets the reason, and a shortened address never becomes a recipient."""
    outbox.send(relay, 1)
    deliver(outbox, relay, REFUSED)
    grow_old(outbox)
    purge(outbox)
    with pytest.raises(ConflictError, match="deleted after its time"):
        outbox(actions.retry, 1, [State.REFUSED])


def test_a_purge_goes_on_where_it_stopped(outbox, relay, monkeypatch):
    """Steps are bounded, with a commit each: an interrupted run loses nothing and locks little."""
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    sent(outbox, relay, 5)
    commits = []
    event.listen(outbox.engine, "commit", lambda _connection: commits.append(1))
    runs = 1
    while not purge(outbox, recipients=YEAR, steps=1).is_done:
        runs += 1
        assert runs < 20
    assert runs >= 5
    assert len(commits) >= runs
    assert outbox.column(InvitationRow.values) == [None] * 5
    assert len(outbox.column(Shortened.digest)) == 5
    assert outbox.column(Batch.shortened_at) != [None]


def test_what_is_deleted_with_a_project_is_deleted_with_its_hashes(outbox, relay):
    """Nothing of a project outlives it, whether the database cascades or not."""
    sent(outbox, relay)
    purge(outbox, recipients=YEAR)
    outbox(erasure.erase_records, TENANT, "survey")
    assert outbox.column(Shortened.invitation_id) == outbox.column(InvitationRow.id) == []
    outbox(erasure.erase_records, TENANT, None)


def test_whatever_hangs_on_a_tenant_goes_with_it(outbox, relay):
    """A new table that was forgotten is detected: nothing may rely on cascades, which SQLite omits."""
    sent(outbox, relay)
    asked = []
    event.listen(outbox.hosts, "before_cursor_execute", lambda *call: asked.append(call[2]))
    outbox(erasure.erase_records, TENANT, None)
    emptied = {words.split()[2] for words in asked if words.startswith("DELETE FROM")}
    whose = {"tenant_id", "relay_id", "batch_id", "invitation_id"}
    hanging = {table.name for table in Base.metadata.sorted_tables if whose & set(table.columns.keys())}
    assert emptied == hanging


def test_a_shortened_recipient_is_found_by_an_index(outbox, relay):
    """However many there are."""
    sent(outbox, relay, 4000)
    purge(outbox, recipients=YEAR)
    analyse(outbox.engine, Shortened, InvitationRow, Batch)
    scanned, indexes = plan_of(outbox.engine, shortened_of(TENANT, ["a", "b"]))
    assert "ix_own_smtp_shortened_digest" in indexes
    assert scanned.isdisjoint({"own_smtp_shortened", "own_smtp_invitation"})


def test_each_step_of_a_purge_reads_only_its_own_rows(outbox, relay):
    """With the index on the batch, each step would read and sort all of it: minutes for a million."""
    batch_id = sent(outbox, relay, 4000)
    analyse(outbox.engine, InvitationRow)
    scanned, indexes = plan_of(outbox.engine, retention._some(select(InvitationRow.id), batch_id, 1001))
    assert scanned == set()
    assert indexes <= {"pk_own_smtp_invitation", "PRIMARY"}  # SQLite's has no name


def test_a_purge_finds_what_lies_apart(outbox, relay, monkeypatch):
    """The ids of simultaneous batches are mixed, and deletions leave gaps."""
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    sent(outbox, relay, 9)
    last = sent(outbox, relay, 4)
    ids = outbox.column(InvitationRow.id)
    for number in (2, 3, 7):
        outbox.change(InvitationRow, ids[number], batch_id=last, reference=f"moved {number}")
    outbox(Connection.execute, delete(InvitationRow).where(InvitationRow.id.in_(ids[4:7])))
    runs = [purge(outbox, recipients=YEAR, steps=1).is_done for _ in range(30)]
    assert runs.index(True) > 10
    left = len(ids) - 3
    assert (outbox.column(InvitationRow.values), outbox.column(InvitationRow.name)) == ([None] * left, [""] * left)
    assert len(outbox.column(Shortened.digest)) == left
    assert None not in outbox.column(Batch.shortened_at)


def test_a_periodic_task_is_taken_once_for_all_machines(outbox):
    """The second one finds it taken, until it is due again or more work is announced."""
    moment = [0.0]
    one, other = (PeriodicTasks(outbox.engine, lambda: moment[0]) for _machine in range(2))
    assert one.take("purge", timedelta(days=1))
    assert not other.take("purge", timedelta(days=1))
    one.do_again("purge")
    assert one.take("purge", timedelta(days=1))
    one.do_again("purge")
    assert not other.take("purge", timedelta(days=1))  # it asked a moment ago
    moment[0] += 60
    assert other.take("purge", timedelta(days=1))
    last, now = periodic.last_taken(outbox.engine, "purge")
    assert last is not None
    assert last <= now
    assert periodic.last_taken(outbox.engine, "never")[0] is None


# Addresses


@pytest.mark.parametrize(
    ("address", "short"),
    [("ann@example.org", "a…@example.org"), ("ä@example.org", "ä…@example.org"), ("a@b.example", "a…@b.example")],
)
def test_an_address_is_shortened_to_what_says_nothing_of_a_person(address, short):
    """To the first letter and the domain."""
    assert shorten(address) == short


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("5.1.1 <ann@example.org>: unknown", "5.1.1 <•••>: unknown"),
        ("5.1.1 ANN@EXAMPLE.ORG... no", "5.1.1 •••... no"),
        ("bounce+ann=example.org@list.example", "bounce+ann=example.org@list.example"),
        ("user ann over quota", "user ••• over quota"),
        ("an announcement by joann", "an announcement by joann"),
        ("", ""),
    ],
)
def test_an_address_is_found_in_what_servers_write(text, clean):
    """Whole, in any case, and its local part alone as a word."""
    assert scrub(text, "ann@example.org") == clean


def test_two_spellings_of_one_address_have_one_form():
    """Capital letters, white space and a domain in its own script make no difference."""
    assert normal_form(" Ann@EXAMPLE.org ") == "ann@example.org"
    assert normal_form("ann@bücher.example") == normal_form("ann@xn--bcher-kva.example")
    assert normal_form("No Address") == "no address"
