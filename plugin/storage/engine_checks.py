"""Detects problems of the host's engine by trials: missing transactions, and poolers between it and the database.

The engine is the host's, so nothing here changes it; `docs/operations.md` has the settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

SAVEPOINT_COMMITS = (
    "SQLite's driver begins no transaction before a savepoint: a send inside one is committed with it, and a later"
    " rollback does not undo that. Begin transactions explicitly, see “SQLite” in docs/operations.md."
)
STATEMENTS_ARE_LOST = (
    "Something between here and PostgreSQL changes the server's process between two transactions (PgBouncer in"
    " transaction mode), and loses the driver's prepared statements: set `prepare_threshold` to None, see “PgBouncer”"
    " in docs/operations.md."
)
STATEMENT_LOG = (
    "MariaDB's binlog_format is STATEMENT: workers write with READ COMMITTED, which it refuses then. Set it to MIXED"
    " or ROW."
)


def find_problems(engine: Engine) -> list[str]:
    """Return a sentence for each problem. Writes nothing. Raises `DBAPIError` if the database is not available."""
    checks: dict[str, Callable[[Engine], str | None]] = {
        "sqlite": _check_savepoints,
        "postgresql": _check_prepared_statements,
        "mysql": _check_binary_log,
        "mariadb": _check_binary_log,
    }
    problem = checks[engine.dialect.name](engine)
    return [] if problem is None else [problem]


def _check_savepoints(engine: Engine) -> str | None:
    with engine.connect() as connection:
        with connection.begin_nested():
            pass
        driver: Any = connection.connection.dbapi_connection
        return None if driver.in_transaction else SAVEPOINT_COMMITS


def _check_binary_log(engine: Engine) -> str | None:
    with engine.connect() as connection:
        is_on, form = connection.execute(text("SELECT @@log_bin, @@binlog_format")).one()
    return STATEMENT_LOG if is_on and form == "STATEMENT" else None


def _check_prepared_statements(engine: Engine) -> str | None:
    with engine.connect() as one:
        driver: Any = one.connection.dbapi_connection
        threshold = getattr(driver, "prepare_threshold", None)
        if threshold is None:
            return None
        with engine.connect() as other:
            return STATEMENTS_ARE_LOST if _loses_statements(one, other, threshold) else None


def _loses_statements(one: Connection, other: Connection, threshold: int) -> bool:
    """Prepare a statement on one connection, and then let both switch their server processes, as a pooler may do."""
    try:
        for first, second in ((one, other), (other, one)):
            for _time in range(threshold + 1):
                one.exec_driver_sql("SELECT 'own_smtp'")
            other.exec_driver_sql("SELECT 1")
            first.commit()  # psycopg discards prepared statements at a rollback
            second.commit()
            first.exec_driver_sql("SELECT 2")
            second.exec_driver_sql("SELECT 3")
            one.exec_driver_sql("SELECT 'own_smtp'")
            one.commit()
            other.commit()
    except DBAPIError:
        return True
    return False
