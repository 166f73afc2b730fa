"""The order of the delivery log on each database, and the indexes used."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from itertools import islice, product

import pytest
from sqlalchemy import insert, text
from sqlalchemy.orm import Session

from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.query import INDEX, LogScope, Position, batches_of, count, page_of, walk
from own_smtp.states import State
from own_smtp.storage.models import Attempt, Batch, Invitation, Relay

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)
ACME = LogScope(tenant_id="acme")


@pytest.fixture
def session(migrated):
    with Session(migrated) as session:
        for tenant_id in ("acme", "evil"):
            session.add(Relay(tenant_id=tenant_id, label="Mail", host="h", port=25, sender_address="a@x.example"))
        session.flush()
        yield session


def _batch(session, tenant_id="acme", project_id="p1", relay_id=1) -> int:
    batch = Batch(
        tenant_id=tenant_id,
        project_id=project_id,
        relay_id=relay_id,
        kind="invitation",
        message_key="abc",
        message_domain="acme.example",
        created_at=WHEN,
    )
    session.add(batch)
    session.flush()
    return batch.id


def _invite(session, batch_id, state=State.ACCEPTED, *, due=0, address="ann@x.example", changed=0) -> int:
    invitation = Invitation(
        batch_id=batch_id,
        reference=f"r{session.query(Invitation).count()}",
        address=address,
        state=state,
        next_attempt_at=WHEN + timedelta(minutes=due),
        changed_at=WHEN + timedelta(minutes=changed),
    )
    session.add(invitation)
    session.flush()
    return invitation.id


def _attempt(session, invitation_id, code, words="", enhanced=None):
    session.add(
        Attempt(
            invitation_id=invitation_id,
            relay_id=1,
            at=WHEN,
            state=State.REFUSED,
            stage="rcpt",
            code=code,
            text=words,
            enhanced=enhanced,
        )
    )
    session.flush()


def _ids(session, wanted=StatusFilter(), scope=ACME, **options):  # noqa: B008 -- it never changes
    return [position.id for position in walk(session, scope, wanted, **options)]


@pytest.fixture
def many(session) -> list[int]:
    """Two batches with mixed states and due times; the ids in the log's order."""
    places = []
    for _ in range(2):
        batch_id = _batch(session)
        for number in range(11):
            state = list(State)[number * 5 % len(State)]
            due = number * 7 % 3
            places.append((batch_id, due, _invite(session, batch_id, state, due=due)))
    return [id_ for *_, id_ in sorted(places, reverse=True)]


@pytest.mark.parametrize("size", [1, 4, 11, 100])
def test_the_log_is_complete_and_in_order(session, many, size):
    """Newest batch first, then by due time and id; for any chunk size, and in reverse."""
    assert _ids(session, size=size) == many
    assert _ids(session, StatusFilter(oldest_first=True), size=size) == many[::-1]


def test_paging_works_from_each_position_in_both_directions(session, many):
    """Behind and before any row come its neighbours, also across batches."""
    positions = list(walk(session, ACME, StatusFilter()))
    for place, position in enumerate(positions):
        behind = StatusFilter(after=str(position))
        assert _ids(session, behind, size=4) == many[place + 1 :]
        assert _ids(session, behind, size=4, backwards=True) == many[:place][::-1]
        risen = StatusFilter(after=str(position), oldest_first=True)
        assert _ids(session, risen, size=4) == many[:place][::-1]


def test_changes_between_pages_neither_repeat_nor_hide_others(session, many):
    """If an invitation is queued again between two pages, the others appear once each."""
    first = list(islice(walk(session, ACME, StatusFilter()), 10))
    session.get(Invitation, first[-1].id).next_attempt_at = WHEN + timedelta(days=1)
    session.flush()
    assert _ids(session, StatusFilter(after=str(first[-1]))) == many[10:]


def test_each_filter_narrows(session):
    """State, batch, recipient in any case, reply code, its class, enhanced code, text and period, and all together."""
    batch_id, other = _batch(session), _batch(session)
    refused = _invite(session, batch_id, State.REFUSED, address="Bob_1@Firm.example", changed=10)
    _attempt(session, refused, 450, "Greylisted")
    _attempt(session, refused, 550, "No such User 100% here", "5.1.1")
    deferred = _invite(session, batch_id, State.QUEUED, address="bobx1@firm.example", changed=20)
    _attempt(session, deferred, 451, "later", "4.7.1")
    accepted = _invite(session, other, changed=30)
    _attempt(session, accepted, 250, "queued as 4F2A", "2.0.0")
    cases = [
        (StatusFilter(states={State.REFUSED, State.ACCEPTED}), [accepted, refused]),
        (StatusFilter(batch_id=batch_id), [deferred, refused]),
        (StatusFilter(recipient="BOB_1"), [refused]),
        (StatusFilter(recipient="firm.example"), [deferred, refused]),
        (StatusFilter(reply="550"), [refused]),
        (StatusFilter(reply="45"), [deferred]),
        (StatusFilter(reply="5"), [refused]),
        (StatusFilter(reply="2"), [accepted]),
        (StatusFilter(reply="5.1.1"), [refused]),
        (StatusFilter(text="no such user 100%"), [refused]),
        (StatusFilter(text="4f2a"), [accepted]),
        (StatusFilter(text="greylisted"), []),
        (StatusFilter(since=WHEN + timedelta(minutes=20)), [accepted, deferred]),
        (StatusFilter(until=WHEN + timedelta(minutes=20)), [refused]),
        (StatusFilter(until=WHEN), []),
        (StatusFilter(reply="2", states={State.REFUSED}), []),
        (StatusFilter(states={State.REFUSED}, recipient="bob", reply="550", text="user", since=WHEN), [refused]),
    ]
    for wanted, ids in cases:
        assert _ids(session, wanted) == ids, wanted
        assert sum(count(session, ACME, wanted).values()) == len(ids), wanted


def test_a_scope_excludes_others(session):
    """It never includes invitations of other tenants, projects and servers."""
    second = Relay(tenant_id="acme", label="Other", host="h", port=25, sender_address="a@x.example")
    session.add(second)
    session.flush()
    mine = _invite(session, _batch(session))
    elsewhere = _invite(session, _batch(session, project_id="p2", relay_id=second.id))
    theirs = _invite(session, _batch(session, tenant_id="evil", relay_id=2))
    assert _ids(session) == [elsewhere, mine]
    assert _ids(session, scope=LogScope(tenant_id="acme", project_ids=frozenset({"p1"}))) == [mine]
    assert _ids(session, scope=LogScope(tenant_id="acme", project_ids=frozenset())) == []
    assert _ids(session, scope=LogScope(tenant_id="acme", relay_id=second.id)) == [elsewhere]
    assert _ids(session, StatusFilter(batch_id=3)) == []
    assert _ids(session, scope=LogScope(tenant_id="evil")) == [theirs]


@pytest.mark.parametrize("words", ["", "1", "1-2", "a-b-c", "1-2-3-4", "-1-2-3", "1-999999999999999999-3"])
def test_a_position_is_read_back_or_refused(words):
    """A text that is not the result of `str` is refused."""
    position = Position(7, WHEN + timedelta(microseconds=1), 9)
    assert Position.parse(str(position)) == position
    with pytest.raises(ValueError, match="not a position"):
        Position.parse(words)


@pytest.mark.parametrize("reply", ["x", "1", "600", "55x", "5.1", "5.1.1.1", "5505", "\N{ARABIC-INDIC DIGIT FIVE}"])
def test_an_invalid_reply_is_refused(session, reply):
    """Instead of finding nothing, or everything."""
    with pytest.raises(ValueError, match="neither a reply code"):
        list(walk(session, ACME, StatusFilter(reply=reply)))


# Plans


@pytest.fixture
def full(session) -> int:
    """A batch of 30,000, nearly all accepted, between two others; the databases have current statistics."""
    ids = [_batch(session) for _ in range(3)]
    names = ("batch_id", "reference", "address", "state", "changed_at", "next_attempt_at")
    for batch_id in ids:
        rows = [
            (batch_id, str(number), f"{number}@x.example", State.REFUSED if number % 1000 == 0 else State.ACCEPTED)
            for number in range(10_000)
        ]
        session.execute(insert(Invitation), [dict(zip(names, (*row, WHEN, WHEN), strict=True)) for row in rows])
    session.commit()
    analyse = "ANALYZE TABLE {}" if session.bind.dialect.name in {"mysql", "mariadb"} else "ANALYZE {}"
    for table in (Batch, Invitation):
        session.execute(text(analyse.format(table.__tablename__)))
    session.commit()
    return ids[1]


def test_a_page_is_read_from_the_index_that_drains_use(session, full):
    """At the beginning and in the middle, in both directions, for one state and for all: no table scan."""
    states, starts = [(), (State.REFUSED,), (State.ACCEPTED,)], [None, Position(full, WHEN, 15_000)]
    for chosen, start, is_rising in product(states, starts, (False, True)):
        query = page_of(session.bind.dialect.name, full, StatusFilter(states=chosen), start, 51, is_rising=is_rising)
        tables, indexes, words = _plan(session, query)
        assert (tables, indexes) == (set(), {INDEX}), (chosen, start, is_rising)
        # Behind a start, its place is found by the id, too: what lies before it is not read.
        assert start is None or FINDS_ITS_PLACE.search(words), words


def test_batches_with_something_in_a_state_are_found_by_the_same_index(session, full):
    """A project with many batches is not scanned to find the few with a refusal."""
    statement = batches_of(ACME, StatusFilter(states={State.REFUSED}), None, is_rising=False)
    tables, indexes, _words = _plan(session, statement)
    assert Invitation.__tablename__ not in tables
    assert INDEX in indexes


FINDS_ITS_PLACE = re.compile(
    r"next_attempt_at=\? AND id[<>]\?"  # SQLite
    r"|\bROW\(next_attempt_at, id\) [<>] ROW"  # PostgreSQL
    r"|\brange\b.*\b74\b"  # MariaDB: the bytes of all four columns
)


def _plan(session, query) -> tuple[set[str], set[str], str]:
    """Return the scanned tables, the used indexes, and the whole plan."""
    dialect = session.bind.dialect.name
    statement = str(query.compile(session.bind, compile_kwargs={"literal_binds": True})).replace("%", "%%")
    explain = {"sqlite": "EXPLAIN QUERY PLAN"}.get(dialect, "EXPLAIN")
    rows = session.connection().exec_driver_sql(f"{explain} {statement}").mappings().all()
    words = "\n".join(" ".join(map(str, row.values())) for row in rows)
    if dialect == "mysql":
        tables = {row["table"] for row in rows if row["type"] in {"ALL", "index"} and "<" not in row["table"]}
        return tables, {row["key"] for row in rows if row["key"]}, words
    scans = re.findall(r"(?:Seq Scan on|SCAN) (own_smtp_\w+)", words)
    return set(scans), set(re.findall(r"(?:USING (?:COVERING )?INDEX|Scan(?: Backward)? using) (\w+)", words)), words
