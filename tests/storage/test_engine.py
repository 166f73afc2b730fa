"""Settings of the host's engine, and the detection of its problems by trials."""

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, create_engine, event, make_url, select
from sqlalchemy.orm import Session

from own_smtp.storage import engine_checks
from own_smtp.storage.engine import for_workers
from own_smtp.storage.engine_checks import (
    SAVEPOINT_COMMITS,
    STATEMENT_LOG,
    STATEMENTS_ARE_LOST,
    find_problems,
)
from own_smtp.storage.models import Batch, Relay
from tests.outbox_kit import Outbox, add, at_once
from tests.servers.databases import MariaDB, PostgreSQL
from tests.servers.pgbouncer import PgBouncer
from tests.servers.tables import make_tables


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Engine]:
    """An engine on a database with our tables, as Flask-SQLAlchemy creates one."""
    engine = create_engine(f"sqlite:///{tmp_path / 'host.sqlite3'}")
    make_tables(engine)
    yield engine
    engine.dispose()


def begin_explicitly(engine: Engine) -> None:
    """Configure the engine as docs/operations.md tells hosts to."""

    @event.listens_for(engine, "connect")
    def let_nothing_begin_by_itself(connection, _record):
        connection.isolation_level = None
        connection.execute("PRAGMA busy_timeout = 30000")

    @event.listens_for(engine, "begin")
    def begin(connection):
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    engine.dispose()


# SQLite


def send_in_a_savepoint(engine: Engine, relay: int) -> None:
    """Send inside a savepoint of the host, then roll back."""
    with Session(engine) as session:
        with session.begin_nested():
            session.get(Relay, relay)
            add(session.connection(), relay, 3)
        session.rollback()


def test_a_savepoint_that_commits_is_found(sqlite: Engine, tmp_path: Path) -> None:
    """The driver keeps a batch in spite of the host's rollback; the check reports it."""
    outbox = Outbox.at(sqlite, tmp_path / "journal")
    send_in_a_savepoint(sqlite, outbox.relay())
    assert outbox.states() == {"queued": 3}, "the habit is gone: so may be the check for it"
    assert find_problems(sqlite) == [SAVEPOINT_COMMITS]


def test_explicit_transactions_solve_it(sqlite: Engine, tmp_path: Path) -> None:
    """With the documented settings the rollback works, and the check finds no problem."""
    begin_explicitly(sqlite)
    outbox = Outbox.at(sqlite, tmp_path / "journal")
    relay = outbox.relay()
    send_in_a_savepoint(sqlite, relay)
    assert (outbox.states(), outbox.batch_states()) == ({}, [])
    assert find_problems(sqlite) == []
    taken = outbox.take(relay)
    outbox.send(relay, 1)
    assert len(outbox.claim(taken)) == 1


def test_concurrent_senders_wait_for_each_other(sqlite: Engine, tmp_path: Path) -> None:
    """Reading first and writing later would fail with "database is locked" if another transaction wrote meanwhile."""
    begin_explicitly(sqlite)
    relay = Outbox.at(sqlite, tmp_path / "journal").relay()
    together = Barrier(2)

    def send() -> None:
        for _time in range(10):
            together.wait(30)
            with Session(sqlite) as session:
                with session.begin_nested():
                    session.scalars(select(Batch.id)).all()
                    add(session.connection(), relay, 1)
                session.commit()

    at_once(send, send)
    with sqlite.connect() as connection:
        assert len(connection.scalars(select(Batch.id)).all()) == 20


# PostgreSQL


@pytest.fixture
def pooled(postgres: PostgreSQL) -> Iterator[str]:
    """The URL of an empty database behind PgBouncer."""
    with PgBouncer(postgres) as pool, postgres.fresh() as url:
        yield pool.url(make_url(url).database or "")


def loses_statements(engine: Engine) -> bool:
    with engine.connect() as one, engine.connect() as other:
        return engine_checks._loses_statements(one, other, 5)


@pytest.mark.servers
def test_workers_prepare_nothing_that_a_pool_would_lose(pooled: str) -> None:
    """Behind PgBouncer in transaction mode a prepared statement would be missing in another server process."""
    engine = create_engine(pooled)
    assert loses_statements(engine)
    assert not loses_statements(for_workers(engine))
    engine.dispose()


@pytest.mark.servers
def test_a_pool_that_loses_statements_is_found(pooled: str) -> None:
    """Until the host disables prepared statements."""
    engine = create_engine(pooled)
    assert find_problems(engine) == [STATEMENTS_ARE_LOST]
    engine.dispose()
    engine = create_engine(pooled, connect_args={"prepare_threshold": None})
    assert find_problems(engine) == []
    engine.dispose()


@pytest.mark.servers
def test_without_a_pool_between_nothing_is_found(postgres: PostgreSQL) -> None:
    """Prepared statements work without a pooler."""
    with postgres.fresh() as url:
        engine = create_engine(url)
        assert find_problems(engine) == []
        engine.dispose()


# MariaDB


class LoggingMariaDB(MariaDB):
    """A server that writes statements into its binary log."""

    def command(self) -> list[str]:
        return [*super().command(), "--log-bin=log", "--binlog-format=STATEMENT", "--server-id=1"]


@pytest.mark.servers
def test_a_binary_log_of_statements_is_found(mariadb: MariaDB) -> None:
    """MariaDB would refuse the workers' writes."""
    with mariadb.fresh() as url:
        engine = create_engine(url)
        assert find_problems(engine) == []
        engine.dispose()
    with LoggingMariaDB() as logging, logging.fresh() as url:
        engine = create_engine(url)
        make_tables(engine)
        assert find_problems(engine) == [STATEMENT_LOG]
        engine.dispose()
