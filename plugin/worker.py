"""The worker: RQ's, on one queue, for our functions only, with a dispatcher beside it and a clean stop.

RQ forks a process for each job. Threads and forks do not go together, so the dispatcher is a process of its own.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.job import Job
from rq.serializers import JSONSerializer

from own_smtp.config import Settings
from own_smtp.dispatcher import Dispatcher
from own_smtp.wakeup import JOBS

log = logging.getLogger(__name__)

ALLOWED = frozenset(f"own_smtp.jobs.{name}" for name in JOBS)
IDLE = 20
"""RQ's `worker_ttl`: an idle worker looks up from its queue every `IDLE - 15` seconds."""
RECONNECT = 1.0


class DispatcherProcess:
    """Keeps a dispatcher running for as long as its worker lives."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._process: ForkProcess | None = None

    def ensure_running(self) -> None:
        """Start it, also after it died."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("fork")
            self._process = context.Process(target=self._dispatcher.run, args=(os.getpid(),), daemon=True)
            self._process.start()

    def stop(self) -> None:
        """End it, and wait for it."""
        while self._process is not None and self._process.is_alive():
            # Again and again: one that is only just starting does not listen yet.
            self._process.terminate()
            self._process.join(RECONNECT)


class OwnWorker(Worker):
    """Runs nothing but `own_smtp.jobs`, and passes a stop on to the process that is sending."""

    dispatcher: DispatcherProcess
    stop: threading.Event

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # RQ has no annotations there

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # RQ has no annotations there
        # What came while RQ was getting ready, only `_let_signals_set` heard.
        self._stop_requested = self._stop_requested or self.stop.is_set()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        super().heartbeat(timeout, pipeline=pipeline)
        if not self.is_horse:
            self.dispatcher.ensure_running()

    def perform_job(self, job: Job, queue: Queue, execution: Any) -> bool:
        """The JSON serialiser keeps objects out of the queue, not functions: only this list does."""
        if job.func_name not in ALLOWED:
            log.error("Refused the job %s: its function is not one of ours.", job.id)
            job.delete()
            return False
        return super().perform_job(job, queue, execution)

    def handle_warm_shutdown_request(self) -> None:
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]  # RQ has no annotations there
        if self.horse_pid:
            os.kill(self.horse_pid, signal.SIGTERM)


def run_worker(settings: Settings, dispatcher: Dispatcher, *, burst: bool = False) -> None:
    """Work until TERM or INT; with `burst` until the queue is empty. Outlives the loss of Redis."""
    process = DispatcherProcess(dispatcher)
    stop = threading.Event()
    try:
        while not stop.is_set():
            _let_signals_set(stop)
            process.ensure_running()
            if _work(settings, process, stop, burst=burst) and burst:
                return
            stop.wait(RECONNECT)
    finally:
        process.stop()


def _work(settings: Settings, process: DispatcherProcess, stop: threading.Event, *, burst: bool) -> bool:
    """One life of an RQ worker, which ends when Redis does. Returns whether Redis could be reached."""
    connection = Redis.from_url(settings.redis_url)
    try:
        queue = Queue(settings.queue, connection=connection, serializer=JSONSerializer)
        worker = OwnWorker([queue], connection=connection, serializer=JSONSerializer, worker_ttl=IDLE)
        worker.dispatcher, worker.stop = process, stop
        worker.work(burst=burst, logging_level="WARNING")
    except RedisError as error:
        log.warning("Redis cannot be reached (%s); trying again.", type(error).__name__)
        return False
    finally:
        connection.close()
    return True


def _let_signals_set(stop: threading.Event) -> None:
    """Between two lives of an RQ worker nobody else listens."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: stop.set())
