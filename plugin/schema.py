"""Creates, changes and removes the tables in the host's database, beside the host's own migrations.

The version is kept in a table of its own, so that the host's Alembic and this one never read each other's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from alembic import command
from alembic.autogenerate import comparators
from alembic.autogenerate.api import AutogenContext
from alembic.config import Config
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, Engine

from own_smtp.models import Base

PREFIX = "own_smtp_"
VERSION_TABLE = f"{PREFIX}alembic_version"


def upgrade(bind: Engine | Connection, revision: str = "head") -> None:
    """Bring the tables to `revision`; `head` means what this version of Own SMTP needs.

    An engine's changes are committed. With a connection they belong to its transaction, which the caller commits;
    MariaDB commits each change of a table by itself in any case.
    """
    with _connected(bind) as connection:
        command.upgrade(_config(connection), revision)


def downgrade(bind: Engine | Connection, revision: str = "base") -> None:
    """Take the tables back to `revision`; `base` removes them with all that they hold. Commits as `upgrade` does."""
    with _connected(bind) as connection:
        command.downgrade(_config(connection), revision)


def current_revision(connection: Connection) -> str | None:
    """Return the revision that the database is at; `None` means that there are no tables of ours yet."""
    context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
    return context.get_current_revision()


def is_current(connection: Connection) -> bool:
    """Whether the tables are those that this version of Own SMTP needs."""
    return current_revision(connection) == _head()


@cache
def _head() -> str | None:
    """Return the newest revision: the files do not change while a process runs."""
    return ScriptDirectory.from_config(_config(None)).get_current_head()


@comparators.dispatch_for("schema", priority=DispatchPriority.LAST)
def leave_to_own_smtp(context: AutogenContext, changes: ops.UpgradeOps, _schemas: object) -> PriorityDispatchResult:
    """Keep the host's `alembic revision --autogenerate` from dropping our tables, which its own models do not know.

    In force from the moment that this module is imported.
    """
    if context.metadata is not Base.metadata:
        changes.ops = [change for change in changes.ops if not _is_about_ours(change)]
    return PriorityDispatchResult.CONTINUE


def _is_about_ours(change: ops.MigrateOperation) -> bool:
    return isinstance(change, ops.DropTableOp | ops.ModifyTableOps) and change.table_name.startswith(PREFIX)


def _config(connection: Connection | None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "own_smtp:migrations")
    return config


@contextmanager
def _connected(bind: Engine | Connection) -> Iterator[Connection]:
    if isinstance(bind, Connection):
        # In a transaction that is there already, Alembic commits nothing by itself.
        if not bind.in_transaction():
            bind.begin()
        yield bind
        return
    with bind.begin() as connection:
        yield connection
