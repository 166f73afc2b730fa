"""Inserts that pass over rows which are there already: one statement on each database, and no savepoint.

SQLite's driver begins a transaction only with the first change, so that a savepoint at the beginning of one would be
committed when it is released, whatever the caller does afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Insert
from sqlalchemy.dialects import mysql, postgresql, sqlite


def insert_or_pass(connection: Connection, model: Any, keys: Sequence[str]) -> Insert:
    """Return an insert into `model` that leaves a row with the same unique `keys` as it is."""
    match connection.dialect.name:
        case "postgresql":
            return postgresql.insert(model).on_conflict_do_nothing(index_elements=keys)
        case "sqlite":
            return sqlite.insert(model).on_conflict_do_nothing(index_elements=keys)
        case _:
            statement = mysql.insert(model)
            return statement.on_duplicate_key_update({keys[0]: statement.inserted[keys[0]]})
