"""Enqueues jobs. They carry ids only, and losing one loses nothing: the dispatcher finds the work again.

A web request must stay quick whatever Redis does, so everything here has short time-outs and no retries.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from functools import cached_property

from redis import Redis
from redis.backoff import NoBackoff
from redis.client import Pipeline
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    WatchError,
)
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.suspension import is_suspended
from rq.utils import as_text

from own_smtp.settings import Settings

log = logging.getLogger(__name__)

CONNECT = 0.3
"""Seconds to reach Redis."""
ANSWER = 0.5
"""Seconds for each of its answers."""
KEPT = 7 * 24 * 3600
"""Seconds for which the id of a waiting job is kept; without it the same job could be enqueued once more. The id of a
job that has begun keeps nothing out: it is no longer in the queue."""
PROBE_KEPT = 30
JOBS = frozenset({"drain", "fall_back", "look_after_relays", "run_test", "send_confirmation"})
"""The functions of `own_smtp.delivery.workers.jobs` that a worker runs; it refuses any other."""
URGENT = frozenset({"run_test", "send_confirmation"})
"""Jobs whose result a person waits for on a page: they go to the front of the queue."""
FAILURE_KEPT = 3600


class QueueProblem(StrEnum):
    """Why no job would be taken or run."""

    AWAY = "away"
    """Redis does not answer in time."""
    FULL = "full"
    """It is out of memory, and evicts nothing."""
    READ_ONLY = "read_only"
    """It is a replica: the URL no longer names the primary."""
    REFUSES = "refuses"
    """It answers, but takes no writes for another reason: password, rights or disk."""
    SUSPENDED = "suspended"
    """Somebody suspended RQ: its workers take no jobs."""


class Wakeup:
    """Enqueues jobs, best effort."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def redis(self) -> Redis:
        """A client for web requests and dispatchers."""
        return Redis.from_url(
            self._settings.redis_url,
            socket_connect_timeout=CONNECT,
            socket_timeout=ANSWER,
            retry=Retry(NoBackoff(), 0),
        )

    @cached_property
    def queue(self) -> Queue:
        """The one queue of Own SMTP."""
        return Queue(self._settings.queue, connection=self.redis, serializer=JSONSerializer)

    def enqueue_drain(self, relay_id: int) -> bool:
        """Enqueue a drain unless one is waiting. `False` means that Redis did not answer."""
        return self.enqueue("drain", relay_id)

    def enqueue(self, job: str, *arguments: int) -> bool:
        """Enqueue one of `JOBS` unless it is waiting. `False` means that Redis did not take it.

        However long it waits, there is no second one; a job that Redis lost is enqueued anew. Raises nothing: the
        caller has committed the work already, and must not look as if it had failed.
        """
        try:
            self._enqueue_once(job, *arguments)
        except WatchError:
            log.debug("Another process enqueues the same job at this moment.")
        except Exception as error:  # noqa: BLE001 -- Redis, its client, RQ, the resolver: all of it is best effort
            log.warning("Redis takes no job (%s): the dispatcher finds the work again.", type(error).__name__)
            return False
        return True

    def _enqueue_once(self, job: str, *arguments: int) -> None:
        key = debounce_key(self._settings.queue, job, *arguments)
        with self.redis.pipeline() as together:
            together.watch(key)  # type: ignore[no-untyped-call]  # redis has no annotations there
            waiting = self.redis.get(key)
            if waiting is not None and self.queue.get_job_position(as_text(waiting)) is not None:
                return
            # RQ begins the transaction itself, and refuses a pipeline that holds a command already.
            enqueued = self._enqueue(together, job, *arguments)
            together.set(key, enqueued.id, ex=KEPT)
            together.execute()

    def problem(self) -> QueueProblem | None:
        """Return why jobs would not be taken or not be run; `None` when all is well.

        Asks by a write, as enqueuing is one: a Redis that is full or read-only still answers a ping.
        """
        try:
            self.redis.set(f"{self._settings.queue}:probe", 1, ex=PROBE_KEPT)
            return QueueProblem.SUSPENDED if is_suspended(self.redis) else None
        except OutOfMemoryError:
            return QueueProblem.FULL
        except ReadOnlyError:
            return QueueProblem.READ_ONLY
        except (ResponseError, AuthenticationError, AuthorizationError):
            return QueueProblem.REFUSES
        except (RedisError, OSError):
            return QueueProblem.AWAY

    def depth(self) -> int | None:
        """Return how many jobs wait, `None` when Redis does not answer."""
        try:
            return self.queue.count
        except RedisError:
            return None

    def _enqueue(self, together: Pipeline, job: str, *arguments: int) -> Job:
        # The drain ends by its own deadlines; this one is for a process that hangs for good.
        timeout = int(self._settings.slice.total_seconds() + self._settings.deadlines.final_dot + 900)
        return self.queue.enqueue(
            f"own_smtp.delivery.workers.jobs.{job}",
            *arguments,
            job_timeout=timeout,
            result_ttl=0,
            failure_ttl=FAILURE_KEPT,
            at_front=job in URGENT,
            pipeline=together,
        )


def debounce_key(queue: str, job: str, *arguments: int) -> str:
    """Return the key under which the id of a waiting job stands, so that it is not enqueued twice."""
    return ":".join([queue, job, *map(str, arguments)])
