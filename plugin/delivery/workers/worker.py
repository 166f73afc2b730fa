"""The worker: RQ's, on one queue, for our functions only, with a dispatcher beside it and a clean stop.

RQ forks a process for each job. Threads and forks do not go together, so the dispatcher is a process of its own.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from contextlib import suppress
from datetime import timedelta
from multiprocessing.context import ForkProcess
from types import FrameType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.exceptions import DeserializationError
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import HorseMonitorTimeoutException
from rq.utils import now

from own_smtp.delivery.workers import jobs  # loaded here, and not again in each process that is forked for a job
from own_smtp.delivery.workers.dispatcher import Dispatcher
from own_smtp.delivery.workers.wakeup import JOBS
from own_smtp.settings import Settings

log = logging.getLogger(__name__)

ALLOWED = frozenset(f"{jobs.__name__}.{name}" for name in JOBS)
IDLE = 20
"""RQ's `worker_ttl`: an idle worker looks up from its queue every `IDLE - 15` seconds."""
RECONNECT = 1.0
STOP_TRIES = 10
WATCH = 0.2


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

    @property
    def pid(self) -> int | None:
        """Its process id; `None` before it was started."""
        return self._process.pid if self._process is not None else None

    def stop(self) -> None:
        """End it, and wait for it."""
        if self._process is None:
            return
        for _try in range(STOP_TRIES):
            # Again and again: one that is only just starting does not listen yet.
            self._process.terminate()
            self._process.join(RECONNECT)
        self._process.kill()  # it hangs on the database; all that it does are transactions
        self._process.join()


class OwnJob(Job):
    """A job as we enqueue them: without callbacks and webhooks, through which a payload could call anything."""

    success_callback = failure_callback = stopped_callback = None

    def send_webhooks(self, *_arguments: Any, **_keywords: Any) -> None: ...

    @property
    def is_ours(self) -> bool:
        """Whether it calls one of our functions with ids. The JSON serialiser keeps objects out, not functions."""
        try:
            arguments = (self.func_name, self.instance, self.args, self.kwargs)
        except DeserializationError:
            return False
        name, instance, ids, others = arguments
        return name in ALLOWED and not instance and not others and all(type(item) is int for item in ids)


class OwnWorker(Worker):
    """Runs only the functions of `own_smtp.delivery.workers.jobs`, and passes a stop on to the sending process."""

    job_class = OwnJob
    dispatcher: DispatcherProcess
    stop: threading.Event
    _watched: tuple[Job, float] | None = None
    """The job of the process that is sending, and when it began by the steady clock."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        self.stop.set()
        super().request_stop(signum, frame)  # type: ignore[no-untyped-call]  # RQ has no annotations there

    def _install_signal_handlers(self) -> None:
        super()._install_signal_handlers()  # type: ignore[no-untyped-call]  # RQ has no annotations there
        # A signal that came before RQ installed its handlers was only noted by `_let_signals_set`.
        self._stop_requested = self._stop_requested or self.stop.is_set()

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:
        if not self.is_horse:
            self.dispatcher.ensure_running()  # also while Redis is away
            self._reap_orphans()
        super().heartbeat(timeout, pipeline=pipeline)

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Refuse foreign jobs before a process is forked for them."""
        if isinstance(job, OwnJob) and job.is_ours:
            super().execute_job(job, queue)
            return
        log.error("Refused the job %s: Own SMTP has no such function.", ascii(job.id)[:100])
        self.connection.lrem(queue.intermediate_queue_key, 1, job.id)
        job.delete()

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        super().fork_work_horse(job, queue)
        if self.stop.is_set():  # the signal came before there was a process to pass it on to
            self.handle_warm_shutdown_request()

    def monitor_work_horse(self, job: Job, queue: Queue, *execution: Any) -> None:
        self._watched = job, time.monotonic()
        super().monitor_work_horse(job, queue, *execution)  # RQ 2.0 has no executions yet

    def wait_for_horse(self) -> Any:
        """Wait as RQ does, which kills the process when the job's time is over, and measures that by the wall clock.

        A clock that is set forward must not: so the job began as long ago as the steady clock says.
        """
        try:
            return super().wait_for_horse()
        except HorseMonitorTimeoutException:
            if self._watched is not None:
                job, began = self._watched
                job.started_at = now() - timedelta(seconds=time.monotonic() - began)
            raise

    def _reap_orphans(self) -> None:
        """As process 1 of a container it inherits the bookkeeping processes of killed sending processes."""
        known = {self.horse_pid, self.dispatcher.pid}
        with suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in known:
                    return  # its own waiter reaps it; the others are reaped in the next round
                os.waitpid(ended.si_pid, 0)

    def handle_warm_shutdown_request(self) -> None:
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]  # RQ has no annotations there
        self.stop_horse()

    def stop_horse(self) -> None:
        """Ask the sending process to finish the messages on the wire, and to begin no others."""
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)
                log.info("Stopping after the messages that are on the wire.")

    def await_horse(self) -> None:
        """Wait for the sending process, which outlives the loss of Redis, and still pass a stop on."""
        told = False
        with suppress(ChildProcessError):
            while self.horse_pid and os.waitpid(self.horse_pid, os.WNOHANG)[0] == 0:
                if self.stop.wait(WATCH) and not told:
                    told = True
                    self.stop_horse()
                elif told:
                    os.waitpid(self.horse_pid, 0)
                    return


def run_worker(settings: Settings, dispatcher: Dispatcher, *, burst: bool = False) -> None:
    """Work until TERM or INT; with `burst` until the queue is empty. Outlives the loss of Redis."""
    process = DispatcherProcess(dispatcher)
    stop = threading.Event()
    _let_signals_set(stop)
    log.info("Working on the queue %r until TERM or INT.", settings.queue)
    try:
        while not stop.is_set():
            process.ensure_running()
            if _work(settings, process, stop, burst=burst) and burst:
                return
            stop.wait(RECONNECT)
    finally:
        process.stop()


def _work(settings: Settings, process: DispatcherProcess, stop: threading.Event, *, burst: bool) -> bool:
    """Run an RQ worker until Redis is lost. Return whether Redis could be reached."""
    connection = Redis.from_url(settings.redis_url)
    worker = None
    try:
        queue = Queue(settings.queue, connection=connection, serializer=JSONSerializer, job_class=OwnJob)
        worker = OwnWorker(
            [queue],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=IDLE,
            job_monitoring_interval=IDLE - 15,
            log_job_description=False,
        )
        worker.dispatcher, worker.stop = process, stop
        worker.work(burst=burst, logging_level="WARNING")
    except RedisError as error:
        log.warning("Redis cannot be reached (%s); trying again.", type(error).__name__)
        return False
    finally:
        _let_signals_set(stop)
        if worker is not None:
            worker.await_horse()
        connection.close()
    return True


def _let_signals_set(stop: threading.Event) -> None:
    """Listen for TERM and INT while no RQ worker does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _signal, _frame: stop.set())
