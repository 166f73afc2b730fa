"""What is forgotten after its time, on each database."""

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
from own_smtp.storage.periodic import Errands
from own_smtp.storage.pseudonyms import normal_form, scrub, shorten
from tests.ledgers import ACCEPTED, REFUSED, TENANT, Books
from tests.plans import analyse, plan_of

VAULT = Vault.from_keys([generate_key("tests")])
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
MONTH, YEAR, FOREVER = timedelta(days=30), timedelta(days=365), timedelta(days=36500)


@pytest.fixture
def books(migrated, tmp_path):
    """Empty books, on SQLite, PostgreSQL and MariaDB in turn."""
    return Books.at(migrated, tmp_path / "journal")


@pytest.fixture
def relay(books):
    return books.relay()


def purge(books, content=MONTH, recipients=FOREVER, steps=None):
    return Purge(books.engine, VAULT, content=content, recipients=recipients).run(steps)


def deliver(books, relay, outcome=ACCEPTED):
    taken = books.take(relay)
    claimed = books.claim(taken, 10_000)
    books.settle(taken, [invitation.id for invitation in claimed], outcome)
    books.end(taken)


def grow_old(books, at=LONG_AGO):
    books(lambda connection: connection.execute(update(Batch).values(created_at=at)))
    books(lambda connection: connection.execute(update(InvitationRow).values(changed_at=at)))


def sent(books, relay, people=2, **values):
    receipt = books.send(relay, people, **values)
    deliver(books, relay)
    grow_old(books)
    return receipt.batch_id


def test_old_contents_go_and_states_stay(books, relay):
    """Text, files and values of a finished batch are deleted; who was invited and what became of it is not."""
    file = Attachment(filename="a.pdf", content_type="application/pdf", data=b"x")
    sent(books, relay, content=Content(subject="s", text="t", attachments=[file]))
    assert (purge(books).contents, purge(books).contents) == (1, 0)
    assert books.column(Batch.content) == [None]
    assert books.column(BatchFile.id) == []
    assert books.column(InvitationRow.values) == [None, None]
    assert books.column(InvitationRow.address) == ["user1@example.org", "user2@example.org"]
    assert books.states() == {"accepted": 2}


def test_what_waits_or_changed_lately_is_kept(books, relay):
    """Only finished batches are touched, and their time counts from the last state, not from the sending."""
    books.send(relay, 1)
    grow_old(books)
    assert purge(books).contents == 0
    deliver(books, relay)  # an hour ago, as it were, although the batch is old
    assert purge(books).contents == 0
    grow_old(books, datetime.now(UTC) - MONTH - timedelta(hours=1))
    assert purge(books).contents == 1


def test_old_recipients_are_shortened_and_can_be_found_again(books, relay):
    """Of an address its first letter and its domain stay, and a keyed hash that only the keys' owner can make."""
    sent(books, relay, [Invitation(reference="1", address="Jane.Doe@example.org", name="Jane")])
    purged = purge(books, content=FOREVER, recipients=YEAR)
    assert (purged.contents, purged.recipients, purged.is_done) == (1, 1, True)
    assert books.column(InvitationRow.address) == ["J\N{HORIZONTAL ELLIPSIS}@example.org"]
    assert books.column(InvitationRow.name) == [""]
    assert books.column(Shortened.digest) == VAULT.digests("jane.doe@example.org", tenant_id=TENANT)
    assert books.column(InvitationRow.reference) == ["1"]
    assert purge(books, recipients=YEAR).recipients == 0


def test_a_server_s_words_do_not_bring_the_address_back(books, relay):
    """Where a refusal repeats the recipient, that is taken out of it."""
    books.send(relay, [Invitation(reference="1", address="jane.doe@example.org")])
    deliver(books, relay, REFUSED)
    words = "<Jane.Doe@example.org>: jane.doe unknown in mailbox table"
    books(lambda connection: connection.execute(update(Attempt).values(text=words)))
    grow_old(books)
    purge(books, recipients=YEAR)
    assert books.column(Attempt.text) == ["<•••>: ••• unknown in mailbox table"]


def test_nothing_of_a_purged_batch_is_sent_again(books, relay):
    """A person is told why, and what was shortened never becomes a recipient."""
    books.send(relay, 1)
    deliver(books, relay, REFUSED)
    grow_old(books)
    purge(books)
    with pytest.raises(ConflictError, match="deleted after its time"):
        books(actions.retry, 1, [State.REFUSED])


def test_a_purge_goes_on_where_it_stopped(books, relay, monkeypatch):
    """Steps are bounded, and each is a commit of its own: a run that is cut short loses nothing and locks little."""
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    sent(books, relay, 5)
    commits = []
    event.listen(books.engine, "commit", lambda _connection: commits.append(1))
    runs = 1
    while not purge(books, recipients=YEAR, steps=1).is_done:
        runs += 1
        assert runs < 20
    assert runs >= 5
    assert len(commits) >= runs
    assert books.column(InvitationRow.values) == [None] * 5
    assert len(books.column(Shortened.digest)) == 5
    assert books.column(Batch.shortened_at) != [None]


def test_what_is_deleted_with_a_project_is_deleted_with_its_hashes(books, relay):
    """Nothing of a project outlives it, whether the database cascades or not."""
    sent(books, relay)
    purge(books, recipients=YEAR)
    books(erasure.forget, TENANT, "survey")
    assert books.column(Shortened.invitation_id) == books.column(InvitationRow.id) == []
    books(erasure.forget, TENANT, None)


def test_whatever_hangs_on_a_tenant_goes_with_it(books, relay):
    """A table that is added and not thought of is noticed: nothing may rely on cascades, which SQLite leaves out."""
    sent(books, relay)
    asked = []
    event.listen(books.hosts, "before_cursor_execute", lambda *call: asked.append(call[2]))
    books(erasure.forget, TENANT, None)
    emptied = {words.split()[2] for words in asked if words.startswith("DELETE FROM")}
    whose = {"tenant_id", "relay_id", "batch_id", "invitation_id"}
    hanging = {table.name for table in Base.metadata.sorted_tables if whose & set(table.columns.keys())}
    assert emptied == hanging


def test_a_shortened_recipient_is_found_by_an_index(books, relay):
    """However many there are."""
    sent(books, relay, 4000)
    purge(books, recipients=YEAR)
    analyse(books.engine, Shortened, InvitationRow, Batch)
    scanned, indexes = plan_of(books.engine, shortened_of(TENANT, ["a", "b"]))
    assert "ix_own_smtp_shortened_digest" in indexes
    assert scanned.isdisjoint({"own_smtp_shortened", "own_smtp_invitation"})


def test_each_step_of_a_purge_reads_only_its_own_rows(books, relay):
    """The index on the batch would have all of it read and sorted for every step: minutes for a million."""
    batch_id = sent(books, relay, 4000)
    analyse(books.engine, InvitationRow)
    scanned, indexes = plan_of(books.engine, retention._some(select(InvitationRow.id), batch_id, 1001))
    assert scanned == set()
    assert indexes <= {"pk_own_smtp_invitation", "PRIMARY"}  # SQLite's has no name


def test_a_purge_finds_what_lies_apart(books, relay, monkeypatch):
    """Sendings that were added at the same time lie between each other's, and what was deleted leaves gaps."""
    monkeypatch.setattr(retention, "AT_A_TIME", 2)
    sent(books, relay, 9)
    last = sent(books, relay, 4)
    ids = books.column(InvitationRow.id)
    for number in (2, 3, 7):
        books.change(InvitationRow, ids[number], batch_id=last, reference=f"moved {number}")
    books(Connection.execute, delete(InvitationRow).where(InvitationRow.id.in_(ids[4:7])))
    runs = [purge(books, recipients=YEAR, steps=1).is_done for _ in range(30)]
    assert runs.index(True) > 10
    left = len(ids) - 3
    assert (books.column(InvitationRow.values), books.column(InvitationRow.name)) == ([None] * left, [""] * left)
    assert len(books.column(Shortened.digest)) == left
    assert None not in books.column(Batch.shortened_at)


def test_an_errand_is_taken_once_for_all_machines(books):
    """Whoever comes second finds it taken, until its time has passed or somebody says that there is more."""
    moment = [0.0]
    one, other = (Errands(books.engine, lambda: moment[0]) for _machine in range(2))
    assert one.take("purge", timedelta(days=1))
    assert not other.take("purge", timedelta(days=1))
    one.do_again("purge")
    assert one.take("purge", timedelta(days=1))
    one.do_again("purge")
    assert not other.take("purge", timedelta(days=1))  # it asked a moment ago
    moment[0] += 60
    assert other.take("purge", timedelta(days=1))
    last, now = periodic.last_taken(books.engine, "purge")
    assert last is not None
    assert last <= now
    assert periodic.last_taken(books.engine, "never")[0] is None


# Words


@pytest.mark.parametrize(
    ("address", "short"),
    [("ann@example.org", "a…@example.org"), ("ä@example.org", "ä…@example.org"), ("a@b.example", "a…@b.example")],
)
def test_an_address_is_shortened_to_what_says_nothing_of_a_person(address, short):
    """The first letter and the domain."""
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
    """Whole, in any case, and its local part alone where it is a word."""
    assert scrub(text, "ann@example.org") == clean


def test_two_spellings_of_one_address_have_one_form():
    """Capital letters, white space and a domain in its own script make no difference."""
    assert normal_form(" Ann@EXAMPLE.org ") == "ann@example.org"
    assert normal_form("ann@bücher.example") == normal_form("ann@xn--bcher-kva.example")
    assert normal_form("No Address") == "no address"
