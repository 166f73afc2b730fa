"""A database's query plan: the tables that it scans, and the indexes that it uses."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from sqlalchemy import Engine, Select, text

from own_smtp.storage.models import Base


class Plan(NamedTuple):
    """The database's own plan."""

    scanned: set[str]
    """Tables that are read through."""
    indexes: set[str]


def analyse(engine: Engine, *models: type[Base]) -> None:
    """Update the database's statistics: plans differ between a hundred rows and ten thousand."""
    words = "ANALYZE TABLE" if engine.dialect.name in {"mysql", "mariadb"} else "ANALYZE"
    with engine.begin() as connection:
        for model in models:
            connection.execute(text(f"{words} {model.__tablename__}"))


def plan_of(engine: Engine, query: Select[Any]) -> Plan:
    """Ask the database for the plan of a query."""
    dialect = engine.dialect.name
    statement = str(query.compile(engine, compile_kwargs={"literal_binds": True})).replace("%", "%%")
    with engine.connect() as connection:
        words = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
        rows = connection.exec_driver_sql(f"{words} {statement}").mappings().all()
    if dialect in {"mysql", "mariadb"}:
        scanned = {row["table"] for row in rows if row["type"] == "ALL" and "<" not in row["table"]}
        return Plan(scanned, {row["key"] for row in rows if row["key"]})
    told = "\n".join(str(value) for row in rows for value in row.values())
    scans = set(re.findall(r"(?:Seq Scan on|SCAN) (own_smtp_\w+)(?! USING)", told))
    return Plan(scans, set(re.findall(r"(?:USING (?:COVERING )?INDEX|Scan(?: Backward)? using|Scan on) (\w+)", told)))
