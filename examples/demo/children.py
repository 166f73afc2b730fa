"""The demo's processes: started one after the other, watched, and all stopped at the end."""

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
"""Seconds until a process must answer. Slow on purpose: a loaded machine is no error."""
STOP_TIMEOUT = 15.0
"""Seconds that all processes together have to stop by themselves."""
PAUSE = 0.1
LOG_LINES = 15
INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class DemoError(Exception):
    """Something is wrong. The text says what, and what to do about it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How to run one process."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Beside what the demo itself was started with."""
    is_ready: Callable[[], bool]
    """Whether it does its work by now."""


class Child:
    """One running process, its output kept in a file. It leads its own session: Ctrl-C reaches only the launcher."""

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
        """Return when it does its work. Raises `DemoError` when it ends or stays silent instead."""
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
        """Wait for the end until `deadline`, then end the process and what it started by force, and say so."""
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            print(f"The {self.program.name} did not stop by itself and was ended by force.", file=sys.stderr)
            self._process.kill()
            self._process.wait()
        _end_session(self._process.pid)


def _end_session(leader: int) -> None:
    """End what a process has started and left behind: the child of a killed worker goes on by itself.

    Where the system has no `/proc` that child is left to end its work, which takes it a minute.
    """
    for number in [int(path.name) for path in Path("/proc").glob("[0-9]*")]:
        with suppress(ProcessLookupError, PermissionError):
            if os.getsid(number) == leader:
                os.kill(number, signal.SIGKILL)


class Household:
    """All processes. A context manager: when it is left, for whatever reason, they are stopped."""

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
        """Start a process and wait until it does its work. Raises `DemoError`."""
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
        """Return never, but raise `DemoError` as soon as a process ends."""
        while True:
            self.check()
            time.sleep(PAUSE * 5)

    def stop(self) -> None:
        """Stop those that run, the last one first: what serves the others goes last."""
        deadline = time.monotonic() + STOP_TIMEOUT
        with _undisturbed():
            while self._children:
                child = self._children.pop()
                child.ask_to_stop()
                child.stop_by(deadline)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let nothing interrupt the stopping, which takes a bounded time: an impatient Ctrl-C would leave processes."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in INTERRUPTIONS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_to_end(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
    """Run a command that ends by itself. Raises `DemoError` when it fails."""
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
    """Say how a process ended."""
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def last_lines(log: Path) -> str:
    """Return the end of a log, ready to be put behind a sentence."""
    lines = log.read_text("utf-8", "replace").splitlines()[-LOG_LINES:]
    if not lines:
        return f" It wrote nothing to {log}."
    return f" The end of {log}:\n" + "\n".join(f"    {line}" for line in lines)
