"""Redis only wakes people up: jobs carry ids, and losing one loses nothing: the dispatcher finds the work again.

A web request must stay quick whatever Redis does, so everything here has short time-outs and no retries.
"""

from __future__ import annotations

import logging
from functools import cached_property

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.serializers import JSONSerializer

from own_smtp.config import Settings

log = logging.getLogger(__name__)

CONNECT = 0.3
"""Seconds to reach Redis."""
ANSWER = 0.5
"""Seconds for each of its answers."""
DAMPER = 3
"""Seconds within which a relay is not enqueued again: its job is there already."""
JOBS = frozenset({"drain", "send_confirmation"})
"""The functions of `own_smtp.jobs` that a worker runs; it refuses any other."""
FAILURE_KEPT = 3600


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

    def wake(self, relay_id: int) -> bool:
        """Enqueue a drain unless one was enqueued a moment ago. `False` means that Redis did not answer."""
        try:
            if self.redis.set(self._damper(relay_id), 1, nx=True, ex=DAMPER):
                self._enqueue("drain", relay_id)
        except RedisError as error:
            log.warning("Redis does not answer (%s): what waits is sent when it is back.", type(error).__name__)
            return False
        return True

    def awake(self, relay_id: int) -> None:
        """The drain's job has begun: what is enqueued from now on is news."""
        try:
            self.redis.delete(self._damper(relay_id))
        except RedisError:
            log.debug("The damper of relay %s runs out by itself.", relay_id)

    def enqueue(self, job: str, *arguments: int) -> bool:
        """Enqueue one of `JOBS`. `False` means that Redis did not answer."""
        try:
            self._enqueue(job, *arguments)
        except RedisError as error:
            log.warning("Redis does not answer (%s): the dispatcher finds the work again.", type(error).__name__)
            return False
        return True

    def is_up(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self.redis.ping())
        except RedisError:
            return False

    def _enqueue(self, job: str, *arguments: int) -> None:
        # The drain ends by its own deadlines; this one is for a process that hangs for good.
        timeout = int(self._settings.slice.total_seconds() + self._settings.deadlines.final_dot + 900)
        self.queue.enqueue(
            f"own_smtp.jobs.{job}", *arguments, job_timeout=timeout, result_ttl=0, failure_ttl=FAILURE_KEPT
        )

    def _damper(self, relay_id: int) -> str:
        return f"{self._settings.queue}:wake:{relay_id}"
