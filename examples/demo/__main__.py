"""`python -m demo` runs the demo until Ctrl-C; `python -m demo --walk` sends a survey in it and checks the result."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".demo"
INTERRUPTED = 128 + signal.SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 0 on success, 1 on an error, 130 for an interrupted walk."""
    options = _options(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        from demo.children import DemoError
        from demo.launch import run
        from demo.walk import walk
    except ModuleNotFoundError as error:
        return _complain(f"The module “{error.name}” is not installed. `make demo` installs all that is needed.")
    try:
        if options.walk:
            walk(options.folder or FOLDER / "walk")
        else:
            run(options.folder or FOLDER, afresh=options.fresh)
    except DemoError as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("\nStopped.", flush=True)
        return INTERRUPTED if options.walk else 0
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _complain(text: str) -> int:
    print(f"\nThe demo stopped. {text}", file=sys.stderr, flush=True)
    return 1


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m demo", description="Run Own SMTP's demo on this machine.")
    parser.add_argument("--walk", action="store_true", help="do the main job unattended, check it, and stop")
    parser.add_argument("--fresh", action="store_true", help="forget what earlier runs kept; the walk always does")
    parser.add_argument("--folder", type=Path, help="where everything is kept; .demo in the repository by default")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
