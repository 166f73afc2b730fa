"""The tables that the migrations create on each database, and the host's tables, which they do not change."""

import itertools
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import distribution
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Engine, Integer, MetaData, String, Table, create_engine, event, inspect, select, text
from sqlalchemy.pool import NullPool

from own_smtp import migrations
from own_smtp.storage import revisions, schema
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import AuditEntry, Base
from tests.servers.databases import MariaDB, PostgreSQL

HOST = MetaData()
SURVEY = Table("survey", HOST, Column("id", Integer, primary_key=True), Column("title", String(50), index=True))


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An empty database."""
    engine = create_engine(database_url, poolclass=NullPool)
    yield engine
    engine.dispose()


def our_tables(engine: Engine) -> set[str]:
    return {name for name in inspect(engine).get_table_names() if name.startswith("own_smtp_")}


def changes_wanted(engine: Engine, metadata: MetaData, version_table: str = revisions.VERSION_TABLE) -> list[Any]:
    """The operations that Alembic would put into a new migration."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": version_table})
        return compare_metadata(context, metadata)


def described(engine: Engine) -> dict[str, Any]:
    """Everything that the database reports about our tables, in a comparable form."""
    inspector = inspect(engine)
    return {name: table_described(engine, inspector, name) for name in our_tables(engine) - {revisions.VERSION_TABLE}}


def table_described(engine: Engine, inspector: Any, name: str) -> dict[str, Any]:
    columns = inspector.get_columns(name)
    return {
        "columns": [{**column, "type": repr(column["type"])} for column in columns],
        "primary key": inspector.get_pk_constraint(name),
        "foreign keys": sorted(inspector.get_foreign_keys(name), key=str),
        "unique": sorted(inspector.get_unique_constraints(name), key=str),
        "indexes": sorted(map(index_described, inspector.get_indexes(name))),
        "options": inspector.get_table_options(name) if engine.dialect.name in {"mysql", "mariadb"} else {},
    }


def index_described(index: Any) -> str:
    options = {key: str(value) for key, value in index.get("dialect_options", {}).items()}  # conditions equal nothing
    return str({**index, "dialect_options": options})


def test_the_migrations_create_the_models_tables(engine: Engine) -> None:
    """The migrated tables equal those created from the models in everything that the database reports."""
    Base.metadata.create_all(engine)
    wanted = described(engine)
    Base.metadata.drop_all(engine)
    schema.upgrade(engine)
    assert described(engine) == wanted
    assert changes_wanted(engine, Base.metadata) == []


def test_a_model_without_a_migration_is_noticed(engine: Engine) -> None:
    """A column that no migration creates is found, so that the test above can fail."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE own_smtp_audit DROP COLUMN user_id"))
    assert [change[0] for change in changes_wanted(engine, Base.metadata)] == ["add_column"]


def test_up_and_down_and_up_again(engine: Engine) -> None:
    """A downgrade removes every table, and the next upgrade works."""
    with engine.connect() as connection:
        assert not revisions.is_current(connection)
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert revisions.is_current(connection)
    schema.downgrade(engine)
    assert our_tables(engine) == {revisions.VERSION_TABLE}
    with engine.connect() as connection:
        assert revisions.current_revision(connection) is None
    schema.upgrade(engine)
    assert our_tables(engine) == {*Base.metadata.tables, revisions.VERSION_TABLE}


class Interrupted(Exception):
    """A lost connection, or a killed process."""


def interrupt(engine: Engine, statements: int) -> None:
    """Allow only so many changing statements."""
    left = itertools.count(statements, -1)

    def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not statement.lstrip().startswith(("SELECT", "SHOW", "DESCRIBE")) and next(left) <= 0:
            raise Interrupted

    event.listen(engine, "before_cursor_execute", count)


def run_with_interruptions(url: str, move: Callable[[Engine], None]) -> int:
    """Interrupt it one statement later each time until it completes; return the number of interruptions."""
    for statements in itertools.count(1):
        engine = create_engine(url, poolclass=NullPool)
        interrupt(engine, statements)
        try:
            move(engine)
        except Interrupted:
            continue
        return statements - 1
    raise AssertionError


@pytest.mark.servers
def test_an_interrupted_migration_can_be_run_again(mariadb: MariaDB) -> None:
    """Whichever statement an upgrade or a downgrade ended at: MariaDB keeps all earlier ones."""
    with mariadb.fresh() as url:
        engine = create_engine(url, poolclass=NullPool)
        Base.metadata.create_all(engine)
        wanted = described(engine)
        Base.metadata.drop_all(engine)
        assert run_with_interruptions(url, schema.upgrade) > len(wanted)
        assert described(engine) == wanted
        with engine.connect() as connection:
            assert revisions.is_current(connection)
        assert run_with_interruptions(url, schema.downgrade) >= len(wanted)
        assert our_tables(engine) == {revisions.VERSION_TABLE}


def test_sqlite_makes_all_tables_or_none(tmp_path: Path) -> None:
    """Its driver begins no transaction for a change of a table; an interrupted upgrade leaves nothing behind."""
    url = f"sqlite:///{tmp_path / 'a.sqlite3'}"
    engine = create_engine(url, poolclass=NullPool)
    interrupt(engine, 20)
    with pytest.raises(Interrupted):
        schema.upgrade(engine)
    assert our_tables(engine) == set()
    assert run_with_interruptions(url, schema.upgrade) > len(Base.metadata.tables)
    assert our_tables(engine) == {*Base.metadata.tables, revisions.VERSION_TABLE}
    assert run_with_interruptions(url, schema.downgrade) >= len(Base.metadata.tables)
    assert our_tables(engine) == {revisions.VERSION_TABLE}


def test_an_upgrade_that_is_not_needed_changes_nothing(engine: Engine) -> None:
    """Upgrading twice keeps the tables' data."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(AuditEntry.__table__.insert().values(tenant_id="acme", action="kept"))
    schema.upgrade(engine)
    with engine.connect() as connection:
        assert connection.scalars(select(AuditEntry.action)).all() == ["kept"]


@pytest.mark.servers
def test_with_a_connection_the_caller_decides(postgres: PostgreSQL) -> None:
    """Where transactions cover tables, the caller's rollback undoes an upgrade, and its commit keeps it."""
    with postgres.fresh() as url:
        engine = create_engine(url, poolclass=NullPool)
        with engine.connect() as connection:
            schema.upgrade(connection)
            connection.rollback()
            assert our_tables(engine) == set()
            schema.upgrade(connection)
            connection.commit()
            assert our_tables(engine) == {*Base.metadata.tables, revisions.VERSION_TABLE}


def test_a_time_stored_by_default_is_the_time_in_utc(engine: Engine) -> None:
    """The database inserts its own current time, with fractions of a second, as an aware time in UTC."""
    schema.upgrade(engine)
    with engine.begin() as connection:
        before = read_clock(connection)
        connection.execute(AuditEntry.__table__.insert().values(tenant_id="acme", action="x"))
        at = connection.scalars(select(AuditEntry.at)).one()
        assert before <= at <= read_clock(connection)
        assert at.utcoffset() is not None


def test_the_hosts_own_migrations_stay_as_they_are(engine: Engine) -> None:
    """Upgrade and downgrade change neither the host's version nor its tables."""
    HOST.create_all(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)"))
        connection.execute(text("INSERT INTO alembic_version VALUES ('host7')"))
        connection.execute(SURVEY.insert().values(id=1, title="kept"))
    schema.upgrade(engine)
    schema.downgrade(engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "host7"
        assert connection.scalar(select(SURVEY.c.title)) == "kept"


def test_the_hosts_autogenerate_does_not_see_our_tables(engine: Engine) -> None:
    """A migration that Alembic writes for the host holds the host's changes only.

    Our tables have metadata of their own, so the host's models do not bring them in. But Alembic also compares the
    other way round, and drops each table of the database that the models do not know: `own_smtp.storage.schema` takes
    ours out of that list. A foreign table shows that the rest of it stays.
    """
    schema.upgrade(engine)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE left_over (id INTEGER NOT NULL PRIMARY KEY)"))
    found = {(change[0], change[1].name) for change in changes_wanted(engine, HOST, "alembic_version")}
    assert found == {("remove_table", "left_over"), ("add_table", "survey"), ("add_index", "ix_survey_title")}


def test_alembic_loads_that_protection_automatically(tmp_path: Path) -> None:
    """A host that installs the extension need not configure or import anything."""
    code = """
import sys
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
with sa.create_engine("sqlite://").connect() as connection:
    connection.exec_driver_sql("CREATE TABLE own_smtp_relay (id INTEGER PRIMARY KEY)")
    print(compare_metadata(MigrationContext.configure(connection), sa.MetaData()), "flask" in sys.modules)
"""
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout == "[] False\n"


def test_every_alembic_that_has_plugins_can_load_ours() -> None:
    """The entry point names a module that is also a collection of itself.

    Alembic 1.18.0 to 1.20.0 iterate what is named, in `import alembic`; from 1.20.1 on it must be a module.
    """
    (entry_point,) = distribution("flask-own-smtp").entry_points.select(group="alembic.plugins")
    plugin = entry_point.load()
    assert isinstance(plugin, ModuleType)
    assert list(plugin) == [plugin]
    assert callable(plugin.setup)


def test_a_worker_does_without_alembic(tmp_path: Path) -> None:
    """It would be the largest module in its memory after SQLAlchemy."""
    code = "import sys, own_smtp.cli; print('alembic' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout == "False\n"


def test_the_newest_migration_is_the_required_one() -> None:
    """The version that workers check is a constant, so that they need not load Alembic."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert script.get_current_head() == revisions.HEAD
