"""Settings of connections to the host's database for many concurrent writers."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Connection, Engine, NestedTransaction, QueuePool, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import SingletonThreadPool, StaticPool


def for_workers(engine: Engine) -> Engine:
    """Return the engine for drains and dispatchers. Call it once per process."""
    match engine.dialect.name:
        case "sqlite":
            event.listen(engine, "connect", _prepare_sqlite)
            engine.dispose()
        case "mysql" | "mariadb":
            # Its default, REPEATABLE READ, locks every row that a statement examines, and the gaps between them, until
            # the commit: drains, dispatchers and people would deadlock.
            return engine.execution_options(isolation_level="READ COMMITTED")
        case "postgresql":
            event.listen(engine, "connect", _prepare_nothing)
            engine.dispose()
    return engine


def most_connections(engine: Engine) -> int | None:
    """Return the maximum number of connections of the engine's pool; `None` if it has no limit.

    A request for one more waits, and finally raises `sqlalchemy.exc.TimeoutError`.
    """
    pool = engine.pool
    if isinstance(pool, StaticPool):
        return 1
    if not isinstance(pool, QueuePool) or pool._max_overflow < 0:
        return None
    return pool.size() + pool._max_overflow


def begin_read_committed(session: Session) -> Connection:
    """Begin a transaction that locks rows before it reads them; the session must be outside any transaction.

    It overrides the host's isolation level: under REPEATABLE READ MariaDB also locks rows that a statement only
    examines, and shows a row's state from before the wait for its lock.
    """
    if session.get_bind().dialect.name == "sqlite":
        return session.connection()  # it has only one writer at a time
    return session.connection(execution_options={"isolation_level": "READ COMMITTED"})


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Use WAL, so that readers and the writer don't block each other, and let writers wait for each other."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute(_PATIENCE)
    cursor.close()


def _prepare_nothing(connection: Any, _record: Any) -> None:
    """Disable prepared statements: behind PgBouncer in transaction mode another server process would lack them."""
    if hasattr(connection, "prepare_threshold"):
        connection.prepare_threshold = None


def beside(db: SQLAlchemy) -> AbstractContextManager[Connection]:
    """Return a connection for reading, independent of the host's session and its transaction.

    If a host's tests replace the engine by one connection, or use a database in memory, there is no second connection:
    then it is the session's, and its transaction stays untouched.
    """
    engine: Any = db.engine
    if isinstance(engine, Connection):
        return nullcontext(engine)
    if isinstance(engine.pool, (StaticPool, SingletonThreadPool)):
        return nullcontext(db.session.connection())
    connection: Connection = engine.connect()
    return connection


_PATIENCE = "PRAGMA busy_timeout=30000"
"""In milliseconds. SQLite has one writer at a time, and drains write often."""


def wait_for_writers(connection: Connection) -> None:
    """Let a host's connection wait for drains as long as they wait for it. SQLite's default timeout is only 5 s."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(_PATIENCE)


def begin_savepoint(connection: Connection) -> NestedTransaction:
    """Begin a savepoint in a host's transaction, for changes that may fail without failing the transaction.

    SQLite's driver begins a transaction only with the first change: a savepoint before it would be committed when it is
    released, even if the host rolls back. So the transaction is begun here.
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
