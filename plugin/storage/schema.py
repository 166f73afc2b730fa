"""Creates, changes and removes our tables in the host's database, independently of the host's migrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine

from own_smtp.storage.engine import begin_explicitly


def upgrade(bind: Engine | Connection, revision: str = "head") -> None:
    """Upgrade the tables to `revision`; `head` is the one that this version of Own SMTP needs.

    An engine's changes are committed, all or none. With a connection they belong to its transaction, which the caller
    commits; MariaDB commits each change of a table implicitly.
    """
    with _connected(bind) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(bind: Engine | Connection, revision: str = "base") -> None:
    """Downgrade the tables to `revision`; `base` removes them with all their data. Commits as `upgrade` does."""
    with _connected(bind) as connection:
        command.downgrade(_config(connection), revision)


def _config(connection: Connection | None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "own_smtp:migrations")
    return config


@contextmanager
def _connected(bind: Engine | Connection) -> Iterator[Connection]:
    if isinstance(bind, Connection):
        # Inside an existing transaction Alembic commits nothing.
        if not bind.in_transaction():
            bind.begin()
        begin_explicitly(bind)
        yield bind
        return
    with bind.begin() as connection:
        begin_explicitly(connection)
        yield connection
