"""The map for newcomers: all its paths exist, and it has every room."""

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
    """The files in the table "to change X, start at Y" exist."""
    paths = re.findall(r"`((?:plugin|hooks|forms|templates)/[^`]+)`", section("To change X, start at Y"))
    assert len(paths) > 20
    assert [path for path in paths if not (REPOSITORY / path).is_file()] == []


def test_each_row_opens_three_files_at_most() -> None:
    """A newcomer finds the place of a change with at most three files."""
    rows = re.findall(r"^\| (.+?) \| (`.+) \|$", section("To change X, start at Y"), re.MULTILINE)
    assert len(rows) > 20
    assert [subject for subject, files in rows if not 1 <= len(re.findall(r"`\w+/[^`]+`", files)) <= 3] == []


def test_each_room_is_on_the_map() -> None:
    """The picture has every package of `plugin/`."""
    picture = section("The rooms and the processes")
    rooms = {path.parent.name for path in (REPOSITORY / "plugin").glob("*/__init__.py")}
    assert [room for room in sorted(rooms - {"migrations", "testing"}) if f"{room}/" not in picture] == []


def test_each_module_that_the_documents_name_exists() -> None:
    """Every `own_smtp.room.module` in the documents exists."""
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
