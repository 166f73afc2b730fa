"""Statements for many rows, in the most efficient form for each database."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Dialect,
    Insert,
    any_,
    bindparam,
    func,
    insert,
    literal,
    select,
)
from sqlalchemy.dialects import mysql, postgresql, sqlite
from sqlalchemy.dialects.postgresql import ARRAY


def insert_or_pass(connection: Connection, model: Any, keys: Sequence[str]) -> Insert:
    """Return an insert into `model` that leaves an existing row with the same unique `keys` unchanged.

    A savepoint does not work for this: SQLite's driver begins a transaction only with the first change, so that a
    savepoint before it is committed when it is released, even if the caller rolls back afterwards.
    """
    match connection.dialect.name:
        case "postgresql":
            return postgresql.insert(model).on_conflict_do_nothing(index_elements=keys)
        case "sqlite":
            return sqlite.insert(model).on_conflict_do_nothing(index_elements=keys)
        case _:
            statement = mysql.insert(model)
            return statement.on_duplicate_key_update({keys[0]: statement.inserted[keys[0]]})


def insert_or_add(connection: Connection, model: Any, column: str) -> Insert:
    """Return an insert into `model` that adds its `column` to an existing row with the same primary key."""
    keys = [key.name for key in model.__table__.primary_key]
    kept = model.__table__.c[column]
    match connection.dialect.name:
        case "postgresql":
            in_postgresql = postgresql.insert(model)
            total = kept + in_postgresql.excluded[column]
            return in_postgresql.on_conflict_do_update(index_elements=keys, set_={column: total})
        case "sqlite":
            in_sqlite = sqlite.insert(model)
            return in_sqlite.on_conflict_do_update(
                index_elements=keys, set_={column: kept + in_sqlite.excluded[column]}
            )
        case _:
            statement = mysql.insert(model)
            return statement.on_duplicate_key_update({column: kept + statement.inserted[column]})


def among(connection: Connection, column: Any, ids: Sequence[int]) -> ColumnElement[bool]:
    """Return the condition that `column` is one of `ids`.

    Where the database supports it, as one array parameter instead of hundreds that must be rendered and parsed.
    """
    match connection.dialect.name:
        case "postgresql":
            found = column == any_(literal(list(ids), ARRAY(BigInteger)))
        case "sqlite":
            given = func.json_each(json.dumps(list(ids))).table_valued("value")
            found = column.in_(select(given.c.value))
        case _:
            found = column.in_(ids)
    condition: ColumnElement[bool] = found
    return condition


def insert_rows(connection: Connection, model: Any, names: tuple[str, ...], rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of values for the columns with these `names`. Defaults of other columns are not applied."""
    if not rows:
        return
    dialect = connection.dialect
    match dialect.name:
        case "postgresql":
            columns = map(list, zip(*rows, strict=True))
            connection.execute(_unnested(model, names), dict(zip(names, columns, strict=True)))
        case "sqlite":
            binds = _binds(model, names, dialect)
            bound = (map(bind, column) for bind, column in zip(binds, zip(*rows, strict=True), strict=True))
            connection.exec_driver_sql(_plain(model, names), list(zip(*bound, strict=True)))
        case _:
            connection.execute(insert(model), [dict(zip(names, row, strict=True)) for row in rows])


@cache
def _unnested(model: Any, names: tuple[str, ...]) -> Insert:
    """Return an insert with one array for each column: executemany would send, plan and log each row separately."""
    table = model.__table__
    arrays = (bindparam(name, type_=ARRAY(table.c[name].type)) for name in names)
    given = func.unnest(*arrays).table_valued(*names).render_derived()
    return insert(model).from_select(list(names), select(*given.c), include_defaults=False)


@cache
def _plain(model: Any, names: tuple[str, ...]) -> str:
    """Return an insert for the driver itself: SQLite inserts a row faster than SQLAlchemy processes it."""
    table = model.__table__
    columns = ", ".join(f'"{table.c[name].name}"' for name in names)
    return f'INSERT INTO "{table.name}" ({columns}) VALUES ({", ".join("?" * len(names))})'  # noqa: S608 -- names of ours


@cache
def _binds(model: Any, names: tuple[str, ...], dialect: Dialect) -> list[Callable[[Any], Any]]:
    """Return the functions that convert each column's values for the driver."""
    types = (model.__table__.c[name].type for name in names)
    return [kind.dialect_impl(dialect).bind_processor(dialect) or _as_it_is for kind in types]


def _as_it_is(value: Any) -> Any:
    return value
