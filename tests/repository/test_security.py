"""The table of threats: each defence that it names is there, and so is each test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.tree

REPOSITORY = Path(__file__).parents[2]
DOCUMENT = (REPOSITORY / "docs" / "security.md").read_text(encoding="utf-8")
CHAPTERS = 17
"""Of OWASP ASVS 5.0."""


def rows() -> list[list[str]]:
    """Return the cells of each threat."""
    before, _, _ = DOCUMENT.partition("## By the chapters")
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in before.splitlines() if line[:1] == "|"]
    return [row for row in cells if not row[0].startswith(("Threat", "---"))]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0][:40])
def test_each_threat_has_a_defence_and_a_test_that_exist(row: list[str]) -> None:
    """A row names modules in which something is done against it, and tests that would fail without."""
    assert len(row) == 3
    modules = re.findall(r"`((?:plugin|forms)/[^`]+)`", row[1])
    tests = re.findall(r"`(tests/[^`:]+)::(test_[^`]+)`", row[2])
    assert modules
    assert tests
    assert [module for module in modules if not (REPOSITORY / module).is_file()] == []
    assert [f"{path}::{name}" for path, name in tests if name not in names_in(REPOSITORY / path)] == []
    assert row[2].count("::") == len(tests)


def names_in(path: Path) -> set[str]:
    """Return what a file of tests defines; nothing where there is no such file."""
    tree = ast.parse(path.read_text(encoding="utf-8") if path.is_file() else "")
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_each_chapter_of_the_standard_is_gone_through() -> None:
    """No chapter of ASVS is left out, in its order."""
    chapters = [int(number) for number in re.findall(r"^\| V(\d+) ", DOCUMENT, re.MULTILINE)]
    assert chapters == list(range(1, CHAPTERS + 1))
