"""Each table is written by the room that its file names, and by the few others listed here with a reason."""

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

import own_smtp
from own_smtp.storage import models
from own_smtp.storage.models import common, operations, outbox, relays

PACKAGE = Path(own_smtp.__file__).parent
MODELS = "own_smtp.storage.models"
WRITERS = frozenset({"insert", "update", "delete", "insert_or_pass", "insert_or_add", "insert_rows", "add", "merge"})

OWNERS = {
    name: room
    for module, room in ((relays, "relays"), (outbox, "outbox"), (operations, "operations"), (common, "storage"))
    for name, value in vars(module).items()
    if inspect.isclass(value) and value.__module__ == module.__name__ and issubclass(value, models.Base)
}

EXCEPTIONS = {
    # Nothing is sent while these run, or they touch what no drain reads.
    "operations/after_restore.py": {"Attempt", "Batch", "Invitation", "Journal", "Lease"},  # no drain is alive then
    "operations/erasure.py": {"Batch", "Invitation", "Lease", "Relay", "RelayTest", "Suggestion", "TenantLimit"},
    "operations/retention.py": {"Attempt", "Batch", "BatchFile", "Invitation"},  # contents and addresses, no state
    # When the host was told, which the bookkeeping alone knows.
    "delivery/bookkeeping/status_events.py": {"Invitation"},
}


def written(source: str) -> Iterator[str]:
    """Yield the models whose rows a module inserts, updates, deletes or creates."""
    tree = ast.parse(source)
    imported: dict[str, tuple[str, str]] = {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    names = {here: name for here, (module, name) in imported.items() if module == MODELS and name in OWNERS}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        called = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        if called in names:
            yield names[called]
        if imported.get(called, ("", called))[1] in WRITERS:
            items = [item for part in (call.func, *call.args) for item in ast.walk(part)]
            yield from (names[item.id] for item in items if isinstance(item, ast.Name) and item.id in names)


def strangers() -> dict[str, set[str]]:
    """Return by module the tables of other rooms that it writes."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if tables := {table for table in written(path.read_text(encoding="utf-8")) if OWNERS[table] != name.parts[0]}:
            found[name.as_posix()] = tables
    return found


def test_a_room_writes_its_own_tables() -> None:
    """One writer per truth: other writers of a table are listed with the reason, and write no other table."""
    assert strangers() == EXCEPTIONS


def test_every_table_has_a_room() -> None:
    """No model is missing in these checks."""
    assert set(OWNERS) == {mapper.class_.__name__ for mapper in models.Base.registry.mappers}


@pytest.mark.parametrize(
    "statement",
    [
        "update(Relay).values(label='x')",
        "session.execute(sql_delete(Relay).where(Relay.id == 1))",
        "Relay.__table__.insert()",
        "insert_or_pass(connection, Relay, ['id'])",
        "session.add(Relay(label='x'))",
        "inserted_id(connection, insert(Relay))",
    ],
)
def test_a_write_is_detected(statement: str) -> None:
    """In every form that this code base uses."""
    imports = "from sqlalchemy import delete as sql_delete\nfrom own_smtp.storage.models import Relay\n"
    assert set(written(imports + statement)) == {"Relay"}


def test_a_query_and_a_namesake_are_no_writes() -> None:
    """A query writes nothing, and the contract's invitation is not a row."""
    imports = "from own_smtp.hooks.events import Invitation\nfrom own_smtp.storage.models import Relay\n"
    assert set(written(imports + "select(Relay).where(Relay.id == 1); Invitation(reference='1')")) == set()
