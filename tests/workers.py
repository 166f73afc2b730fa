"""Workers as operators run them, `flask own-smtp worker`, in processes that can be stopped, frozen and killed.

with Worker(platform) as worker:
    platform.send(relay, 100)
    os.kill(worker.horse().pid, signal.SIGKILL)
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import psutil

from tests.engine import Platform
from tests.servers.process import eventually

ROOT = Path(__file__).resolve().parents[1]

QUICK: dict[str, Any] = {"dispatch_interval": 0.2, "lease": 3, "reconnect": 0.2, "first_retry": 0.2, "slice": 20}
"""Settings under which a test need not wait long for what heals by itself."""

PATIENT = {"connect": 60, "banner": 60, "command": 60, "data": 60, "body": 60, "final_dot": 60, "quit": 1}
"""Deadlines of conversations that a test holds up."""


class Worker:
    """One worker: its own process, its dispatcher's, and during a job the sending one (RQ's horse) and its bookkeeper.

    Its host writes notifications into the file `told`; without one it implements no such hook.
    """

    def __init__(
        self,
        url: str,
        journal: Path,
        *,
        redis_url: str,
        command: tuple[str, ...] = (),
        told: Path | None = None,
        is_first: bool = False,
        **settings: Any,
    ):
        settings = {**QUICK, "redis_url": redis_url, "deadlines": PATIENT, **settings}
        self._made_of = {
            "url": url,
            "journal": str(journal),
            "settings": settings,
            "told": str(told) if told else None,
            "is_first": is_first,
        }
        self._command = command or ("worker",)
        self.process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.NamedTemporaryFile("w+b", prefix="own-smtp-worker-", suffix=".log")  # noqa: SIM115

    @property
    def log(self) -> str:
        """The output of all its processes."""
        return Path(self._log.name).read_text(errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> Self:
        environment = {**os.environ, "OWN_SMTP_TEST_APP": json.dumps(self._made_of), "PYTHONUNBUFFERED": "1"}
        environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "flask", "--app", "tests.worker_app:create_app()", "own-smtp", *self._command],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        return self

    def children(self) -> list[psutil.Process]:
        try:
            return psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []

    def find_horse(self) -> psutil.Process | None:
        """Return the process that sends, if there is one: RQ gives it a process group of its own."""
        return next((child for child in self.children() if _leads_group(child)), None)

    def find_bookkeeper(self) -> psutil.Process | None:
        """Return the bookkeeping process of the sending process."""
        horse = self.find_horse()
        try:
            return next(iter(horse.children()), None) if horse else None
        except psutil.NoSuchProcess:
            return None

    def find_dispatcher(self) -> psutil.Process | None:
        return next((child for child in self.children() if not _leads_group(child)), None)

    def horse(self) -> psutil.Process:
        return eventually(self.find_horse, "a job runs")

    def dispatcher(self) -> psutil.Process:
        return eventually(self.find_dispatcher, "a dispatcher runs")

    def kill(self) -> None:
        """Kill the worker itself; the sending process lives on."""
        self._signal(signal.SIGKILL)

    def stop(self) -> int:
        """Ask it to stop, as an operator does, and return its exit code."""
        self._signal(signal.SIGTERM)
        assert self.process is not None
        return self.process.returncode

    def _signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        self.process.wait(60)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        family = self.children()
        self.kill()
        for child in family:
            if child.is_running():
                child.kill()
        self._log.close()


def _leads_group(process: psutil.Process) -> bool:
    try:
        return os.getpgid(process.pid) == process.pid
    except ProcessLookupError:
        return False


def worker_for(platform: Platform, redis_url: str, **settings: Any) -> Worker:
    """Return a worker on a platform's database and in its journal folder."""
    url = platform.app.config["SQLALCHEMY_DATABASE_URI"]
    folder = settings.pop("journal", platform.app.config["OWN_SMTP_JOURNAL_DIR"])
    return Worker(url, folder, redis_url=redis_url, **settings)


def settled(platform: Platform, seconds: float = 60.0) -> dict[str, int]:
    """Wait until no invitation is waiting, and return the states."""

    def look() -> dict[str, int] | None:
        states = platform.states()
        return states if not {"queued", "sending"} & states.keys() else None

    found: dict[str, int] = eventually(look, "everything is settled", seconds)
    return found
