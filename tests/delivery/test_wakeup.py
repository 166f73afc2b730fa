"""Waking workers: after the commit, best effort, with ids only."""

import json
import zlib
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from rq.suspension import resume, suspend

from own_smtp.delivery.workers.wakeup import JOBS, QueueProblem, Wakeup, debounce_key
from own_smtp.hooks.events import InvitationBatch
from own_smtp.settings import Settings
from tests.engine import CONTENT, invitation


@pytest.fixture
def wakeup(redis_url):
    """A wakeup on an empty Redis."""
    return Wakeup(Settings(redis_url=redis_url))


@pytest.fixture
def nobody():
    """A wakeup whose Redis is down."""
    return Wakeup(Settings(redis_url="redis://127.0.0.1:1/0"))


def test_a_relay_is_woken_once_until_its_job_begins(wakeup):
    """However often it is woken, one job waits; from the moment it begins, the next wake is news."""
    assert [wakeup.enqueue_drain(1) for _time in range(3)] == [True] * 3
    wakeup.enqueue_drain(2)
    assert wakeup.depth() == 2
    begun, other = wakeup.queue.job_ids
    wakeup.redis.lmove(wakeup.queue.key, wakeup.queue.intermediate_queue_key)  # as a worker takes it
    assert [wakeup.enqueue_drain(1) for _time in range(3)] == [True] * 3
    first, second = wakeup.queue.job_ids
    assert first == other
    assert second != begun


def test_a_job_that_redis_lost_is_enqueued_anew(wakeup):
    """The key of a job that is nowhere in the queue keeps nobody waiting."""
    wakeup.enqueue("run_test", 7)
    wakeup.redis.delete(wakeup.queue.key)
    wakeup.enqueue("run_test", 7)
    assert wakeup.depth() == 1


def test_a_job_that_waits_for_hours_has_no_second_one(wakeup):
    """Its key lasts longer than any queue, and names the job that it stands for."""
    wakeup.enqueue("run_test", 7)
    [waiting] = wakeup.queue.job_ids
    key = debounce_key(wakeup.queue.name, "run_test", 7)
    assert wakeup.redis.get(key).decode() == waiting
    assert wakeup.redis.ttl(key) > timedelta(days=6).total_seconds()


def test_two_processes_enqueue_one_job(redis_url):
    """Both look at the same moment: one of them enqueues it."""
    wakeups = [Wakeup(Settings(redis_url=redis_url)) for _process in range(8)]
    for number in range(20):
        with ThreadPoolExecutor(len(wakeups)) as threads:
            assert all(threads.map(lambda wakeup, number=number: wakeup.enqueue("drain", number), wakeups))
    assert wakeups[0].depth() == 20


def test_jobs_hold_ids_and_nothing_else(wakeup):
    """What Redis keeps of a job names one of our functions and numbers, in JSON."""
    for job in sorted(JOBS):
        wakeup.enqueue(job, 7)
    kept = [json.loads(zlib.decompress(wakeup.redis.hget(key, "data"))) for key in wakeup.redis.keys("rq:job:*")]
    assert sorted(kept) == [[f"own_smtp.delivery.workers.jobs.{job}", None, [7], {}] for job in sorted(JOBS)]


def test_without_redis_it_says_so(nobody):
    """No exception reaches a request; the caller learns that nobody was woken."""
    assert not nobody.enqueue_drain(1)
    assert not nobody.enqueue("send_confirmation", 1)
    assert nobody.problem() is QueueProblem.AWAY
    assert nobody.depth() is None


def test_a_redis_that_takes_nothing_is_not_well(redis_server):
    """It is asked for what a send needs: one that is full, read-only, refuses or is suspended still answers a ping."""
    wakeup, client = Wakeup(Settings(redis_url=redis_server.url)), redis_server.client()
    assert wakeup.problem() is None
    suspend(client)
    assert wakeup.problem() is QueueProblem.SUSPENDED
    resume(client)
    client.config_set("maxmemory", "1mb")
    assert (wakeup.problem(), wakeup.enqueue_drain(1)) == (QueueProblem.FULL, False)
    client.config_set("maxmemory", "0")
    client.replicaof("127.0.0.1", "1")
    assert (wakeup.problem(), wakeup.enqueue_drain(1)) == (QueueProblem.READ_ONLY, False)
    client.replicaof("NO", "ONE")
    client.config_set("requirepass", "secret")
    assert wakeup.problem() is None, "a connection that is there keeps its rights"
    assert Wakeup(Settings(redis_url=redis_server.url)).problem() is QueueProblem.REFUSES
    assert wakeup.enqueue_drain(1)


def test_whatever_goes_wrong_at_a_wake_raises_nothing(wakeup, monkeypatch):
    """It comes behind the commit: an error would make people send again what was sent."""

    def broken(*_arguments, **_keywords):
        raise TypeError("not a Redis error")

    monkeypatch.setattr(wakeup.queue, "enqueue", broken)
    assert not wakeup.enqueue_drain(1)


@pytest.fixture
def woken(platform, monkeypatch):
    """The relays that were woken so far."""
    names = []
    monkeypatch.setattr(platform.own_smtp.wakeup, "enqueue_drain", lambda relay_id: names.append(relay_id) is None)
    return names


@pytest.fixture
def session(platform, woken):
    """The host's session inside a request, and a relay that its project uses."""
    relay = platform.add_relay(host="127.0.0.1", port=25)
    platform.send(relay, 1)
    woken.clear()
    with platform.app.app_context():
        yield platform.own_smtp.db.session


def send(platform, project="survey-1"):
    batch = InvitationBatch(
        tenant_id="acme", project_id=project, content=CONTENT, invitations=[invitation(1, "ann@example.org")]
    )
    return platform.own_smtp.send_invitations(batch)


def test_a_send_wakes_after_the_commit(platform, session, woken):
    """Nobody is woken for what others cannot see yet, and everybody once for several sends."""
    send(platform)
    send(platform)
    session.flush()
    assert woken == []
    session.commit()
    assert woken == [1]
    session.commit()
    assert woken == [1]


def test_a_rolled_back_send_wakes_nobody(platform, session, woken):
    """What never was is forgotten, also by the next commit of the same session."""
    before = len(platform.invitations)
    send(platform)
    session.rollback()
    session.commit()
    assert woken == []
    assert len(platform.invitations) == before


def test_a_released_savepoint_wakes_nobody_yet(platform, session, woken):
    """A host that sends inside a savepoint: only the commit of the whole wakes."""
    with session.begin_nested():
        send(platform)
    assert woken == []
    session.commit()
    assert woken == [1]


def test_a_savepoint_and_all_rolled_back_wakes_nobody(platform, session, woken):
    """A savepoint that was released inside a transaction that failed counts for nothing."""
    with session.begin_nested():
        send(platform)
    session.rollback()
    session.commit()
    assert woken == []


def test_a_redis_that_is_down_costs_one_try(platform, session, monkeypatch):
    """With several relays to wake, the first failure is enough: the dispatcher finds them all."""
    asked = []
    monkeypatch.setattr(platform.own_smtp.wakeup, "enqueue_drain", asked.append)
    session().info["own_smtp_to_wake"] = {platform.own_smtp.wakeup: {1, 2, 3}}
    send(platform)
    session.commit()
    assert len(asked) == 1
