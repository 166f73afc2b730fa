"""How workers talk to the host's database: the same one, with what many writers at a time need."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event


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
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Readers and the writer must not block each other, and writers must wait for one another."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA busy_timeout=30000")
    cursor.close()
