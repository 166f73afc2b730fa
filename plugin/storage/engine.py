"""How the host's database is talked to where there are many writers at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, NestedTransaction, QueuePool, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import SingletonThreadPool, StaticPool


def for_workers(engine: Engine) -> Engine:
    """Return the engine that drains and dispatchers use. Call it once in a process."""
    match engine.dialect.name:
        case "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            engine.dispose()
        case "mysql" | "mariadb":
            # Its default locks every row that a statement looks at, and the gaps between them, until the commit:
            # drains, dispatchers and people would wait for each other in circles.
            return engine.execution_options(isolation_level="READ COMMITTED")
        case "postgresql":
            event.listen(engine, "connect", _prepare_nothing)
            engine.dispose()
    return engine


def most_connections(engine: Engine) -> int | None:
    """Return how many connections the engine's pool gives out at a time; `None` when it knows no bound.

    Whoever asks for one more waits, and gets `sqlalchemy.exc.TimeoutError` in the end.
    """
    pool = engine.pool
    if isinstance(pool, StaticPool):
        return 1
    if not isinstance(pool, QueuePool) or pool._max_overflow < 0:
        return None
    return pool.size() + pool._max_overflow


def begin_read_committed(session: Session) -> Connection:
    """Begin a transaction that takes locks and reads behind them; the session must be outside any.

    Whatever the host has set: elsewhere MariaDB locks what a statement only looks at, and shows a row as it was before
    the wait for its lock.
    """
    if session.get_bind().dialect.name == "sqlite":
        return session.connection()  # which knows one writer at a time
    return session.connection(execution_options={"isolation_level": "READ COMMITTED"})


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers and the writer must not block each other, and writers must wait for one another."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(_PATIENCE)
    cursor.close()


def _prepare_nothing(connection: Any, _record: Any) -> None:
    """PgBouncer in transaction mode would look for a prepared statement in another process than that which has it."""
    if hasattr(connection, "prepare_threshold"):
        connection.prepare_threshold = None


def beside(db: SQLAlchemy) -> AbstractContextManager[Connection]:
    """Return a connection to read by without a word to the host's session, which may have begun a transaction or not.

    Where a host's tests put one connection in the place of the engine, or keep the database in memory, there is no
    second one: that of the session is used, and what it began is left alone.
    """
    engine: Any = db.engine
    if isinstance(engine, Connection):
        return nullcontext(engine)
    if isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
        return nullcontext(db.session.connection())
    connection: Connection = engine.connect()
    return connection


_PATIENCE = "PRAGMA busy_timeout=30000"
"""In milliseconds. SQLite knows one writer at a time, and drains write often."""


def wait_for_writers(connection: Connection) -> None:
    """Let a host's connection wait as long for drains as they wait for it. Only SQLite's would give up after 5 s."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_PATIENCE)


def begin_savepoint(connection: Connection) -> NestedTransaction:
    """Begin what may fail by itself inside a host's transaction, which decides about it in any case.

    SQLite's driver begins a transaction only with the first change: a savepoint before it would be committed when it is
    released, whatever the host does afterwards.
    """
    wait_for_writers(connection)
    begin_explicitly(connection)
    return connection.begin_nested()


def begin_explicitly(connection: Connection) -> None:
    """Begin a transaction in SQLite where its driver would begin none: before a savepoint, or a change of a table."""
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.dbapi_connection
        if not driver.in_transaction:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
