"""The contents of an installation, and its documentation."""

import re
import subprocess
import sys
from dataclasses import fields
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from own_smtp.settings import SETTING_PREFIX, Deadlines, Settings

DOCUMENT = Path(__file__).parents[2] / "docs" / "settings.md"


def run(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own outside the repository, so that it finds only installed packages."""
    return subprocess.run([sys.executable, "-I", "-c", code], check=False, cwd=folder, capture_output=True, text=True)


@pytest.mark.parametrize("name", ["plugin", "hooks", "forms", "templates", "tests", "demo", "survey_host"])
def test_no_folder_of_the_repository_is_a_package_of_its_own(name: str, tmp_path: Path) -> None:
    """An installation adds `own_smtp` only, and takes no other top-level name."""
    assert f"No module named '{name}'" in run(f"import {name}", tmp_path).stderr


@pytest.mark.parametrize("statement", ["import own_smtp", "from own_smtp import hookimpl", "import own_smtp.hooks"])
def test_importing_a_marker_is_cheap(statement: str, tmp_path: Path) -> None:
    """A plugin that only implements a hook loads neither Flask nor SQLAlchemy, Redis or RQ."""
    heavy = {"flask", "sqlalchemy", "redis", "rq", "wtforms", "alembic", "cryptography"}
    result = run(f"import sys; {statement}; print(sorted({heavy} & set(sys.modules)))", tmp_path)
    assert result.stdout == "[]\n", result.stderr


def test_the_package_says_that_it_is_typed() -> None:
    """Type checkers use the annotations of an installed package only with this file (PEP 561)."""
    assert files("own_smtp").joinpath("py.typed").is_file()


def test_every_setting_is_documented_with_its_default() -> None:
    """`docs/settings.md` lists exactly the settings that exist, with the defaults that they have."""
    assert documented(rf"{SETTING_PREFIX}[A-Z_]+") == {
        SETTING_PREFIX + item.name.upper(): in_words(getattr(Settings(), item.name)) for item in fields(Settings)
    }


def test_every_deadline_is_documented_with_its_default() -> None:
    """`docs/settings.md` lists exactly the deadlines that exist, with the defaults that they have."""
    assert documented("[a-z_]+") == {item.name: in_words(getattr(Deadlines(), item.name)) for item in fields(Deadlines)}


def documented(name: str) -> dict[str, str]:
    """Return the names and defaults in the tables."""
    return dict(re.findall(rf"^\| `({name})` \| `?([^|`]*)`? \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE))


def in_words(default: Any) -> str:
    """Format a default as the document does."""
    match default:
        case None | ():
            return "none"
        case timedelta():
            return duration(int(default.total_seconds()))
        case frozenset():
            return ", ".join(map(str, sorted(default)))
        case Deadlines():
            return "see below"
        case float():
            return f"{default:g}"
    return str(default)


def duration(seconds: int) -> str:
    """Return a duration in the largest unit that makes it a whole number; days from two on."""
    units = {"day": 86400, "hour": 3600, "minute": 60, "second": 1}
    unit = next(unit for unit, size in units.items() if seconds % size == 0 and (unit != "day" or seconds > size))
    number = seconds // units[unit]
    return f"{number} {unit}{'' if number == 1 else 's'}"
