"""The demo's processes: started one after the other, monitored, and stopped at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

START_TIMEOUT = 60.0
"""Seconds until a process must be ready. Generous on purpose: a loaded machine is not an error."""
STOP_TIMEOUT = 15.0
"""Seconds that all processes together have to stop after TERM."""
PAUSE = 0.1
LOG_LINES = 15
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """A failure of the demo. The text says what happened, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How to run one program."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables added to the demo's own environment."""
    is_ready: Callable[[], bool]
    """Returns whether the program is ready."""


class Child:
    """One running process, with its output in a file. It leads its own session: Ctrl-C reaches only the launcher."""

    def __init__(self, program: Program, log: Path) -> None:
        self.program = program
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                program.command,
                env=os.environ | program.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Return once it is ready. Raises `DemoError` when it ends, or is not ready in time."""
        deadline = time.monotonic() + START_TIMEOUT
        while not self.program.is_ready():
            self.check()
            if time.monotonic() > deadline:
                raise DemoError(f"{self.program.name} does not answer after {START_TIMEOUT:g} s.{last_lines(self.log)}")
            time.sleep(PAUSE)

    def check(self) -> None:
        """Raise `DemoError` when it has ended."""
        if not self.is_running:
            how = describe_exit(self._process.returncode)
            raise DemoError(f"{self.program.name} ended, {how}.{last_lines(self.log)}")

    def ask_to_stop(self) -> None:
        if self.is_running:
            self._process.terminate()

    def stop_by(self, deadline: float) -> None:
        """Wait for its end until `deadline`, then kill the process and its children, and report it."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"The {self.program.name} did not stop and was killed.", file=sys.stderr)
            self._process.kill()
            self._process.wait()
        _end_session(self._process.pid)


def _end_session(leader: int) -> None:
    """Kill the remaining children of a process: the child of a killed worker keeps running.

    On systems without `/proc` that child finishes its work, which takes it a minute.
    """
    for number in [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(number) == leader:
                os.kill(number, signal.SIGKILL)


class ProcessGroup:
    """All processes. A context manager: leaving it always stops them."""

    def __init__(self, log_folder: Path) -> None:
        self._log_folder = log_folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        self._log_folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, program: Program) -> None:
        """Start a process and wait until it is ready. Raises `DemoError`."""
        log = self._log_folder / f"{program.name.lower().replace(' ', '-')}.log"
        log.unlink(missing_ok=True)
        try:
            child = Child(program, log)
        except OSError as error:
            raise DemoError(f"{program.name} cannot be started: {error}") from error
        self._children.append(child)
        child.wait_until_ready()

    def check(self) -> None:
        """Raise `DemoError` when any process has ended."""
        for child in self._children:
            child.check()

    def watch(self) -> None:
        """Wait until a process ends, then raise `DemoError`. Never returns."""
        while True:
            self.check()
            time.sleep(PAUSE * 5)

    def stop(self) -> None:
        """Stop the running processes in reverse order: those that others depend on stop last."""
        deadline = time.monotonic() + STOP_TIMEOUT
        with _undisturbed():
            while self._children:
                child = self._children.pop()
                child.ask_to_stop()
                child.stop_by(deadline)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Block interruptions during the stop, which takes a bounded time: a second Ctrl-C would leave processes behind."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_end(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command to its end. Raises `DemoError` when it fails."""
    with log.open("wb") as output:
        result = subprocess.run(
            command,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if result.returncode:
        raise DemoError(f"{name} failed, {describe_exit(result.returncode)}.{last_lines(log)}")


def describe_exit(code: int) -> str:
    """Describe a process's exit code."""
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def last_lines(log: Path) -> str:
    """Return the end of a log, formatted to follow a sentence."""
    lines = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
    if not lines:
        return f" It wrote nothing to {log}."
    return f" The end of {log}:\n" + "\n".join(f"    {line}" for line in lines)
