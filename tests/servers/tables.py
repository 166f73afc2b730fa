"""Databases with our tables, created quickly: the migrations run once, and tests get copies of the result."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

from own_smtp.storage import schema
from own_smtp.storage.models import Base


def make_tables(engine: Engine) -> None:
    """Make our tables, unless they are there. A SQLite file that is not there yet becomes a copy of a ready one."""
    path = engine.url.database
    if engine.dialect.name == "sqlite" and path and not Path(path).exists():
        Path(path).write_bytes(_ready_file())
    else:
        schema.upgrade(engine)


@cache
def _ready_file() -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "ready.sqlite3"
        schema.upgrade(create_engine(f"sqlite:///{path}", poolclass=NullPool))
        return path.read_bytes()


def empty_tables(url: str) -> None:
    """Take all rows out of our tables in a MariaDB, and begin their ids at 1 again: it makes tables slowly."""
    with create_engine(url, poolclass=NullPool).connect() as connection:
        # A test that left a transaction open is told instead of waited for.
        connection.execute(text("SET FOREIGN_KEY_CHECKS = 0, lock_wait_timeout = 30"))
        for table in Base.metadata.tables:
            connection.execute(text(f"TRUNCATE TABLE {table}"))
