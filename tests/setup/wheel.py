"""Check a wheel against the tree that it was built from. Uses the standard library only.

wheel.py copy FOLDER           copy the repository, without what tools left in it, to build from
wheel.py compare WHEEL FOLDER  each file of the package is there under its mapped name, and nothing else
wheel.py require WHEEL EXTRAS  print what pip takes as a requirement for it, hash included; EXTRAS such as "test" or ""
"""

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAPPING = {
    "plugin": "own_smtp",
    "hooks": "own_smtp/hooks",
    "forms": "own_smtp/forms",
    "templates": "own_smtp/templates",
}


def compare(wheel: Path, tree: Path) -> None:
    found, wanted = in_wheel(wheel), in_tree(tree)
    for name in sorted(wanted - found):
        print(f"In the tree, but not in the wheel: {name}", file=sys.stderr)
    for name in sorted(found - wanted):
        print(f"In the wheel, but not in the tree: {name}", file=sys.stderr)
    if found != wanted:
        sys.exit(1)
    print(f"{wheel.name} holds the {len(wanted)} files of the tree and nothing else.")


def in_wheel(wheel: Path) -> set[str]:
    """Return the names of the files in the wheel, without its metadata."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if not name.endswith("/")}
    return {name for name in names if not name.partition("/")[0].endswith(".dist-info")}


def in_tree(tree: Path) -> set[str]:
    """Return the names that the tree's files have in the package."""
    return {
        f"{package}/{path.relative_to(tree / folder)}"
        for folder, package in MAPPING.items()
        for path in (tree / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def require(wheel: Path, extras: str) -> None:
    name = wheel.name.partition("-")[0]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    print(f"{name}[{extras}] @ {wheel.resolve().as_uri()} --hash=sha256:{digest}")


def copy_tree(target: Path) -> None:
    """Copy the repository's files, including uncommitted changes, without the files that tools left."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout.split("\0")
    for name in filter(None, names):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(source.read_bytes())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["copy", folder]:
            copy_tree(Path(folder))
        case ["compare", wheel, folder]:
            compare(Path(wheel), Path(folder))
        case ["require", wheel, extras]:
            require(Path(wheel), extras)
        case _:
            sys.exit(__doc__)
