"""What Alembic runs. The connection, and with it the transaction, comes from the caller."""

from __future__ import annotations

from typing import Any

from alembic import context

from own_smtp.storage.models import Base
from own_smtp.storage.revisions import VERSION_TABLE


def is_ours(_object: Any, name: str | None, kind: str, _reflected: bool, _compare_to: Any) -> bool:
    """Whether Alembic may look at a table: the database is the host's, and holds the host's tables, too."""
    return kind != "table" or name in Base.metadata.tables


connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    include_object=is_ours,
    # SQLite changes a table by copying it.
    render_as_batch=connection.dialect.name == "sqlite",
)
with context.begin_transaction():
    context.run_migrations()
