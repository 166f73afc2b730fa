"""The rooms of the package: their offers to other rooms, their sizes, and the length of import chains.

import-linter checks the order of rooms in `make lint`.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

import own_smtp

PACKAGE = Path(own_smtp.__file__).parent
TOP_LEVEL = ("forms", "hooks", "migrations", "templates", "testing")
"""Packages that are not rooms: the contract, the user interfaces, and top-level folders that setuptools maps."""
ROOMS = sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py") if path.parent.name not in TOP_LEVEL)
INNER = ("delivery.workers", "delivery.sending", "delivery.bookkeeping")


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


@cache
def imports_of(path: Path) -> list[tuple[str, str]]:
    """Return a file's imports from the package, as pairs of a module and a name in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        (str(node.module), alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("own_smtp.")
        for alias in node.names
    ]


@cache
def is_package(module: str) -> bool:
    return (PACKAGE / Path(*module.split(".")[1:]) / "__init__.py").is_file()


@cache
def offers(package: str) -> frozenset[str]:
    return frozenset(import_module(package).__all__)


def denied_by(module: str, name: str) -> str | None:
    """Return the package that does not offer a name on the way to it; `None` when all do."""
    steps = [*module.split(".")[1:], name]
    package = "own_smtp"
    for step in steps:
        if package != "own_smtp" and step not in offers(package):
            return f"{package} does not offer {step}"
        package = f"{package}.{step}"
        if not is_package(package):
            return None
    return None


@pytest.mark.parametrize("room", [*ROOMS, *INNER])
def test_a_room_says_what_it_promises(room: str) -> None:
    """Its docstring has a promise and more than one line, and `__all__` has its public names."""
    module = import_module(f"own_smtp.{room}")
    assert len((module.__doc__ or "").strip().splitlines()) > 2
    assert module.__all__


def test_a_module_imports_from_another_room_only_what_that_offers() -> None:
    """A room's files are private, except for those in its `__all__`."""
    denied = [
        f"{path.relative_to(PACKAGE)}: {problem}"
        for path in PACKAGE.rglob("*.py")
        for module, name in imports_of(path)
        if module.split(".")[1] in ROOMS and module.split(".")[1] != room_of(path)
        if (problem := denied_by(module, name))
    ]
    assert denied == []


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_offers_exists_and_is_wanted(room: str) -> None:
    """Each public module exists, and some other room imports it."""
    wanted = {
        step
        for path in PACKAGE.rglob("*.py")
        if room_of(path) != room
        for module, name in imports_of(path)
        if f"{module}.".startswith(f"own_smtp.{room}.")
        for step in [[*module.split("."), name][2]]
    }
    assert set(offers(f"own_smtp.{room}")) - wanted == set() or room == "cli"


def test_rooms_and_files_stay_small() -> None:
    """No folder has more than 25 files, and no file more than 300 lines.

    The hooks' values are one page, and the first migration has all tables.
    """
    files = defaultdict(list)
    for path in PACKAGE.rglob("*.py"):
        files[path.parent].append(path)
    assert {str(folder): len(found) for folder, found in files.items() if len(found) > 25} == {}
    lengths = {
        str(path.relative_to(PACKAGE)): len(path.read_text(encoding="utf-8").splitlines())
        for path in PACKAGE.rglob("*.py")
        if room_of(path) not in {"hooks", "migrations"}
    }
    assert {name: length for name, length in lengths.items() if length > 300} == {}


def test_the_longest_chain_of_rooms_is_short() -> None:
    """A chain of room imports has fewer than ten rooms, so that a change can be followed."""
    needs: dict[str, set[str]] = defaultdict(set)
    for path in PACKAGE.rglob("*.py"):
        if room_of(path) in ROOMS:
            needs[room_of(path)] |= {module.split(".")[1] for module, _name in imports_of(path)} & set(ROOMS)

    def chain(room: str) -> list[str]:
        return [room, *max((chain(other) for other in needs[room] - {room}), key=len, default=[])]

    longest = max((chain(room) for room in ROOMS), key=len)
    assert len(longest) < 10, longest
