"""Real workers: `flask own-smtp worker` in processes of their own, over a Redis of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from benchmarks.measure import ROOT, folder, runtime
from benchmarks.stage import VARIABLE, Platform, Stage
from tests.servers.process import eventually
from tests.servers.redis import Redis

PATIENCE = 30.0
"""Seconds within which a process must have started."""


class Worker:
    """One worker and its forks: its dispatcher, and a process for each job. A context manager."""

    def __init__(self, stage: Stage, log: Path) -> None:
        self._environment = runtime(**{VARIABLE: stage.dump()})
        self._log = log

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "flask", "--app", "benchmarks.stage", "own-smtp", "worker"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=ROOT, env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        self.process = psutil.Process(self._process.pid)
        eventually(self._has_dispatcher, "the worker started", PATIENCE)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def _has_dispatcher(self) -> bool:
        if self._process.poll() is not None:
            raise ChildProcessError(self._log.read_text(errors="replace")[-3000:])
        return bool(self.process.children())

    @property
    def processes(self) -> list[psutil.Process]:
        """Return the worker and its forks."""
        with suppress(psutil.NoSuchProcess):
            return [self.process, *self.process.children(recursive=True)]
        return []

    def sender(self, port: int) -> psutil.Process | None:
        """Return the process with a connection to this port of a mail server."""
        return next((process for process in self.processes[1:] if _is_connected(process, port)), None)

    def kill(self) -> None:
        """Kill all of it at once, as a power failure does."""
        for process in self.processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(timeout=PATIENCE)


def _is_connected(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return any(
            connection.raddr and connection.raddr.port == port and connection.status == psutil.CONN_ESTABLISHED
            for connection in process.net_connections("tcp")
        )
    return False


class WorkerPool:
    """A platform with workers that can be started and killed."""

    def __init__(self, stage: Stage, platform: Platform) -> None:
        self.platform = platform
        self._stage = stage
        self._running = ExitStack()
        self.workers: list[Worker] = []

    def start(self, count: int = 1) -> None:
        """Start workers, and wait until they run."""
        for _ in range(count):
            log = Path(self._stage.folder, f"worker-{len(self.workers)}.log")
            self.workers.append(self._running.enter_context(Worker(self._stage, log)))

    def sender(self, port: int) -> tuple[Worker, psutil.Process] | None:
        """Return the worker with a connection to this port, and the process that has it."""
        found = ((worker, worker.sender(port)) for worker in self.workers)
        return next(((worker, process) for worker, process in found if process is not None), None)

    def wait_for_sender(self, port: int) -> tuple[Worker, psutil.Process]:
        """Wait until a worker has a connection to this port, and return it."""
        found: tuple[Worker, psutil.Process] = eventually(lambda: self.sender(port), "somebody sends", PATIENCE)
        return found

    def close(self) -> None:
        self._running.close()


@contextmanager
def worker_pool(**settings: Any) -> Iterator[WorkerPool]:
    """A platform on SQLite with a Redis, without workers at first."""
    with folder() as path, Redis() as redis:
        stage = Stage.on_sqlite(path, redis_url=redis.url, **settings)
        with stage.open(prepare=True) as platform:
            running = WorkerPool(stage, platform)
            try:
                yield running
            finally:
                running.close()
