"""The revision of the tables that this version of Own SMTP needs, without Alembic, which would take 11 MiB."""

from __future__ import annotations

from sqlalchemy import Connection, column, inspect, select, table

TABLE_PREFIX = "own_smtp_"
VERSION_TABLE = f"{TABLE_PREFIX}alembic_version"
"""Separate from the host's, so that both Alembic environments are independent."""

HEAD = "0001"
"""The newest migration."""


def current_revision(connection: Connection) -> str | None:
    """Return the database's revision; `None` means that our tables don't exist yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    return found


def is_current(connection: Connection) -> bool:
    """Whether the tables have the revision that this version of Own SMTP needs."""
    return current_revision(connection) == HEAD


def complaint(connection: Connection) -> str | None:
    """Return the problem of the tables and its solution; `None` if they have the revision that this version needs."""
    found = current_revision(connection)
    if found == HEAD:
        return None
    if found is not None and found > HEAD:
        return f"The tables are newer ({found}) than this version of Own SMTP ({HEAD}): update the package here, too."
    state = "There are no tables yet." if found is None else "The tables are not up to date."
    return f"{state} Run `flask own-smtp db upgrade` first."
