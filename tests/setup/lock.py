"""Write the locks: exact versions with hashes of all that `make` and `.ci/run` install, in `tests/setup/locks`.

Usage: lock.py renew [OPTION ...]   write them anew, with the newest versions that pyproject.toml allows; OPTIONs go to
                                    `uv pip compile` in place of --upgrade, such as --upgrade-package flask
       lock.py compare              name what this interpreter's environment has in another version than `dev.txt`

    tools.txt   what installs: pip, and setuptools, which builds
    demo.txt    for `make demo`
    dev.txt     for everything else; `demo.txt` has no other versions than this
    redis.txt   a Redis to be compiled, for `make demo` where there is none
    lowest.txt  each direct dependency in the lowest version that pyproject.toml allows, for `.ci/run`

One lock serves all Pythons and systems that the package supports: a line may hold for some of them only. `renew` needs
uv beside the interpreter, which `make lock` installs; `compare` uses the standard library only.
"""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "tests" / "setup" / "locks"
PROJECT = ROOT / "pyproject.toml"
PIN = re.compile(r"^([\w.-]+)==([^\s;\\]+)", re.MULTILINE)


def renew(options: list[str]) -> None:
    with PROJECT.open("rb") as file:
        declared = tomllib.load(file)
    common = ["--python-version", declared["project"]["requires-python"].removeprefix(">="), *options]
    as_in_dev = ["--constraint", LOCKS.relative_to(ROOT) / "dev.txt"]
    redis = declared["project"]["optional-dependencies"]["bundled-redis"]
    tools = ["pip", *declared["build-system"]["requires"]]
    resolve("dev", [*common, "--extra", "dev"])
    resolve("demo", [*common, "--extra", "demo", *as_in_dev])
    resolve("redis", [*common, *as_in_dev], requirements=redis)
    resolve("tools", [*common, *as_in_dev], requirements=tools)
    # A compiler is not needed: what has no wheel is too low.
    resolve("lowest", [*common, "--extra", "test", "--resolution", "lowest-direct", "--only-binary", ":all:"])


def resolve(name: str, options: list[str | Path], requirements: list[str] | None = None) -> None:
    """Write one lock: of the package's dependencies, or of the requirements given."""
    path = LOCKS / f"{name}.txt"
    command = [Path(sys.executable).with_name("uv"), "pip", "compile", "--quiet", "--no-python-downloads"]
    command += ["--universal", "--generate-hashes", "--no-header", "--output-file", path, *options]
    command += ["-"] if requirements else [PROJECT.name]
    subprocess.run(command, check=True, cwd=ROOT, text=True, input="\n".join(requirements or ()))
    pins = path.read_text(encoding="utf-8")
    path.write_text(f"# Made by `make lock` on {datetime.now(UTC):%Y-%m-%d}, not by hand.\n{pins}", encoding="utf-8")
    print(f"{path.relative_to(ROOT)}: {len(PIN.findall(pins))} packages")


def compare() -> Iterator[str]:
    """Yield `name locked → installed` for each difference; a name may be locked in several versions."""
    locked: dict[str, set[str]] = {}
    for name, version in PIN.findall((LOCKS / "dev.txt").read_text(encoding="utf-8")):
        locked.setdefault(name, set()).add(version)
    for item in sorted(distributions(), key=lambda item: item.name.lower()):
        name = re.sub(r"[-_.]+", "-", item.name).lower()
        if name in locked and item.version not in locked[name]:
            yield f"{name} {' or '.join(sorted(locked[name]))} → {item.version}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["renew", *options]:
            renew(options or ["--upgrade"])
        case ["compare"]:
            for difference in compare():
                print(difference)
        case _:
            sys.exit(__doc__)
