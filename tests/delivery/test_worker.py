"""The worker as a process: what it runs, what it refuses, and how it ends."""

import os
import signal
import time
from datetime import timedelta
from inspect import signature
from types import SimpleNamespace

import pytest
from rq import Callback, Queue
from rq import Worker as RQWorker
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.timeouts import HorseMonitorTimeoutException
from rq.utils import now

from own_smtp.delivery.workers.wakeup import debounce_key
from own_smtp.delivery.workers.worker import OwnWorker
from tests.engine import recipients_of
from tests.scripted import PASS, Wait
from tests.servers.process import eventually
from tests.workers import Worker, settled, worker_for


@pytest.fixture
def queue(_redis, redis_url):
    """The queue that workers listen on."""
    return Queue("own-smtp", connection=_redis.client(), serializer=JSONSerializer)


@pytest.fixture
def work(platform, redis_url):
    """Start workers on the platform."""
    return lambda **settings: worker_for(platform, redis_url, **settings)


def refused(worker, queue, count=1):
    eventually(lambda: worker.log.count("Refused the job") >= count, "it was refused")
    eventually(lambda: not queue.connection.keys("rq:job:*"), "nothing is kept of it")


def test_a_function_that_is_not_ours_is_refused(platform, scripted, queue, work, tmp_path):
    """`os.system` in the queue is logged and thrown away; the next job is served as if nothing had been."""
    queue.enqueue("os.system", f"touch {tmp_path}/hacked")
    queue.enqueue("own_smtp.delivery.workers.jobs.extension")
    queue.enqueue("own_smtp.delivery.workers.jobs.drain", "1; DROP TABLE")
    queue.enqueue("own_smtp.delivery.workers.jobs.drain", relay_id=1)
    with work() as worker:
        refused(worker, queue, 4)
        platform.send(platform.add_relay(scripted), 1)
        assert settled(platform) == {"accepted": 1}
    assert not (tmp_path / "hacked").exists()


def test_a_job_of_the_version_before_is_refused_and_its_work_done(platform, scripted, queue, work):
    """What waits in Redis over an upgrade has a name that is gone; the dispatcher finds its relay all the same."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 2)
    queue.enqueue("own_smtp.jobs.drain", relay)
    queue.connection.set(debounce_key(queue.name, "drain", relay), 1, ex=3600)
    with work() as worker:
        refused(worker, queue)
        assert settled(platform, 30) == {"accepted": 2}


def test_rubbish_in_the_queue_is_refused(queue, work):
    """A payload that is not even JSON does not end the worker."""
    job = Job.create(
        "own_smtp.delivery.workers.jobs.drain", args=[1], connection=queue.connection, serializer=JSONSerializer
    )
    queue.enqueue_job(job)
    queue.connection.hset(job.key, "data", b"\x80\x04pickle?")
    with work() as worker:
        refused(worker, queue)
        assert worker.process.poll() is None


def test_callbacks_of_an_allowed_job_are_not_called(queue, work, tmp_path):
    """A payload cannot smuggle a function in beside one of ours."""
    hack = Callback("tests.delivery.test_worker.leave_a_trace")
    trace = {"path": str(tmp_path / "hacked")}
    queue.enqueue(
        "own_smtp.delivery.workers.jobs.drain", 4711, on_success=hack, on_failure=hack, meta=trace, result_ttl=0
    )
    with work():
        eventually(lambda: not queue.connection.keys("rq:job:*"), "it ran")
    assert not (tmp_path / "hacked").exists()


def leave_a_trace(job, *_arguments):
    """What a hostile callback would do."""
    os.mknod(job.meta["path"])


def test_a_dispatcher_that_dies_is_replaced(platform, scripted, work):
    """The worker starts a new one, also while it has nothing else to do, and that finds what waits."""
    with work() as worker:
        first = worker.dispatcher()
        first.kill()
        eventually(lambda: worker.find_dispatcher() not in {None, first}, "another one runs")
        platform.send(platform.add_relay(scripted), 1)
        assert settled(platform) == {"accepted": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_worker_stops_at_once(work, number):
    """TERM and INT end a worker that has nothing to do, with its dispatcher and exit code 0."""
    with work() as worker:
        dispatcher = worker.dispatcher()
        worker.process.send_signal(number)
        assert worker.process.wait(20) == 0
        assert not dispatcher.is_running()


@pytest.mark.parametrize("moment", ["dispatcher", "registered"])
def test_a_stop_that_comes_while_it_starts_is_heard(work, queue, moment):
    """Whenever TERM comes after the worker began to listen for it, it ends in good order."""
    with work() as worker:
        has_come = {
            "dispatcher": worker.find_dispatcher,
            "registered": lambda: queue.connection.smembers("rq:workers"),
        }
        eventually(has_come[moment], moment)
        worker.process.send_signal(signal.SIGTERM)
        assert worker.process.wait(20) == 0


def test_without_redis_it_stops_as_well(work, platform):
    """A worker that waits for Redis ends when it is asked to."""
    with worker_for(platform, "redis://127.0.0.1:1/0") as worker:
        eventually(lambda: "Redis cannot be reached" in worker.log, "it tried")
        assert worker.stop() == 0


def test_a_job_that_hangs_for_good_is_ended_and_recovered(platform, scripted, queue, work):
    """RQ's own time-out is a signal at any moment: what was on the wire is unknown, the rest is sent once."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), recipient="user4@example.org", times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 10)
    queue.enqueue("own_smtp.delivery.workers.jobs.drain", relay, job_timeout=2, result_ttl=0)
    with work(dispatch_interval=5):
        states = settled(platform)
    gate.event.set()
    assert states == {"accepted": 9, "unknown": 1}
    assert recipients_of(scripted.copies) in [
        sorted(f"user{number}@example.org" for number in range(1, 11) if number != without) for without in (0, 4)
    ]


def test_what_a_killed_sender_leaves_is_reaped(platform, scripted, work):
    """As process 1 of a container a worker inherits its bookkeeper: it does not stay as a zombie."""
    gate = Wait()
    scripted.on("dot", (gate, PASS), times=1)
    platform.send(platform.add_relay(scripted), 1)
    with work(is_first=True) as worker:
        horse, bookkeeper = worker.horse(), eventually(worker.find_bookkeeper, "it keeps records")
        horse.kill()
        eventually(lambda: not bookkeeper.is_running(), "nothing is left of it")
        assert worker.dispatcher().is_running()
        gate.event.set()


@pytest.mark.parametrize(("hung_for", "is_killed"), [(10, False), (300, True)])
def test_a_clock_that_is_set_forward_kills_no_sender(queue, monkeypatch, hung_for, is_killed):
    """RQ measures how long a job has been at work by the wall clock; what counts is the steady one."""
    watching = OwnWorker([queue], connection=queue.connection, serializer=JSONSerializer)
    job = queue.enqueue("own_smtp.delivery.workers.jobs.drain", 1, job_timeout=60)
    waits = iter([HorseMonitorTimeoutException, None])
    killed = []

    def wait_as_rq_does(_worker):
        watching._watched = (job, time.monotonic() - hung_for)
        if next(waits):
            raise HorseMonitorTimeoutException
        return 1, os.EX_OK, None

    set_forward = iter([now()])
    for module in (RQWorker.__module__, "own_smtp.delivery.workers.worker"):
        monkeypatch.setattr(f"{module}.now", lambda: next(set_forward, now() + timedelta(hours=2)))
    monkeypatch.setattr(RQWorker, "wait_for_horse", wait_as_rq_does)
    monkeypatch.setattr(watching, "maintain_heartbeats", lambda *_: None)
    monkeypatch.setattr(watching, "heartbeat", lambda *_: None)
    monkeypatch.setattr(watching, "handle_job_failure", lambda *_, **__: None)
    monkeypatch.setattr(watching, "kill_horse", lambda: killed.append(job.id))
    arguments = [job, queue, SimpleNamespace(id="1")]
    watching.monitor_work_horse(*arguments[: len(signature(RQWorker.monitor_work_horse).parameters) - 1])
    assert bool(killed) == is_killed


def test_a_burst_ends_with_the_queue(platform, scripted, queue, work):
    """`--burst` serves what is in the queue and exits with 0."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 2)
    queue.enqueue("own_smtp.delivery.workers.jobs.drain", relay)
    with work(command=("worker", "--burst")) as worker:
        assert worker.process.wait(30) == 0
    assert platform.states() == {"accepted": 2}


def test_without_tables_it_does_not_start(tmp_path, redis_url):
    """A worker on a database that was not migrated says what to do, and exits with 1."""
    with Worker(f"sqlite:///{tmp_path}/empty.sqlite3", tmp_path / "journal", redis_url=redis_url) as worker:
        assert worker.process.wait(30) == 1
        assert "db upgrade" in worker.log
