"""Which tables this version of Own SMTP needs. Loads no Alembic: 11 MiB that a worker has no other use for."""

from __future__ import annotations

from sqlalchemy import Connection, column, inspect, select, table

TABLE_PREFIX = "own_smtp_"
VERSION_TABLE = f"{TABLE_PREFIX}alembic_version"
"""Own SMTP's own, so that the host's Alembic and this one never read each other's."""

HEAD = "0001"
"""The newest migration."""


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at; `None` means that there are no tables of ours yet."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found: str | None = connection.scalar(select(column("version_num")).select_from(table(VERSION_TABLE)))
    return found


def is_current(connection: Connection) -> bool:
    """Whether the tables are those that this version of Own SMTP needs."""
    return current_revision(connection) == HEAD


def complaint(connection: Connection) -> str | None:
    """Say what is wrong with the tables and what to do; `None` when they are those that this version needs."""
    found = current_revision(connection)
    if found == HEAD:
        return None
    if found is not None and found > HEAD:
        return f"The tables are newer ({found}) than this version of Own SMTP ({HEAD}): update the package here, too."
    state = "There are no tables yet." if found is None else "The tables are not up to date."
    return f"{state} Run `flask own-smtp db upgrade` first."
