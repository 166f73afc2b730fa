"""The map for newcomers: every path that it names exists, and every room stands on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.tree

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return DOCUMENT.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_each_starting_point_exists() -> None:
    """The table "to change X, start at Y" leads to files that are there."""
    paths = re.findall(r"`((?:plugin|hooks|forms|templates)/[^`]+)`", section("To change X, start at Y"))
    assert len(paths) > 20
    assert [path for path in paths if not (REPOSITORY / path).is_file()] == []


def test_each_room_is_on_the_map() -> None:
    """No package of `plugin/` is missing in the picture."""
    picture = section("The rooms and the processes")
    rooms = {path.parent.name for path in (REPOSITORY / "plugin").glob("*/__init__.py")}
    assert [room for room in sorted(rooms - {"migrations", "testing"}) if f"{room}/" not in picture] == []


def test_each_module_that_the_documents_name_exists() -> None:
    """A document that speaks of `own_smtp.room.module` means one that is there."""
    named = {
        name
        for document in (REPOSITORY / "docs").glob("*.md")
        for name in re.findall(r"`own_smtp\.((?:[a-z_]+\.)+[a-z_]+)", document.read_text(encoding="utf-8"))
    }
    package = REPOSITORY / "plugin"

    def exists(name: str) -> bool:
        steps = name.split(".")
        base = REPOSITORY if steps[0] in {"hooks", "forms"} else package
        path = base.joinpath(*steps)
        return path.is_dir() or path.with_suffix(".py").is_file() or path.parent.with_suffix(".py").is_file()

    assert [name for name in sorted(named) if not exists(name)] == []
