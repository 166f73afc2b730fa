"""Health check, within seconds: can this platform send? For load balancers, monitors and operators; without secrets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from own_smtp.storage import periodic, revisions

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Timeout for the database, in seconds."""

# A database that hangs blocks a thread; further checks do not wait for more of them.
_threads = ThreadPoolExecutor(2, thread_name_prefix="own-smtp-health")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """The parts that work."""

    database: bool
    """The database answers in time."""
    tables: bool
    """The tables are those of this version."""
    worker: bool
    """A worker was seen within the last minutes, on any machine."""
    journal: bool
    """No worker failed to write its journal within the last minutes."""
    redis_problem: str | None
    """Why Redis accepts no jobs or no worker runs them, as a key of `REDIS_PROBLEMS`; `None` when there is no problem.
    """

    @property
    def redis(self) -> bool:
        """Whether Redis accepts jobs, and workers run them."""
        return self.redis_problem is None

    @property
    def status(self) -> str:
        """`ok`; `degraded` when pages and sends work but nothing is sent; `down` when not even they work."""
        if not (self.database and self.tables):
            return "down"
        return "ok" if self.redis and self.worker and self.journal else "degraded"

    def as_dict(self) -> dict[str, Any]:
        """Return the parts and the status, for JSON."""
        return {"status": self.status, "redis": self.redis, **asdict(self)}


REDIS_PROBLEMS = MappingProxyType(
    {
        "away": "Redis DOES NOT ANSWER: no worker is woken, and sent invitations wait.",
        "full": "Redis IS FULL and accepts no jobs: raise its `maxmemory`, or find the data that fills it.",
        "read_only": "Redis IS READ-ONLY, a replica: OWN_SMTP_REDIS_URL must name the primary.",
        "refuses": "Redis REFUSES WRITES: its log says why (password, permissions, or a disk that it cannot write to).",
        "suspended": "RQ's workers are SUSPENDED: `rq resume`.",
    }
)
"""Problems with Redis, with advice."""
NO_JOURNAL = (
    "A worker CANNOT WRITE ITS JOURNAL and sends nothing: its log names the folder. Is the disk full, or the folder"
    " another user's?"
)


def examine(engine: Engine, queue_problem: Callable[[], str | None]) -> HealthReport:
    """Check the database and Redis. Takes little longer than `PATIENCE` even if they hang.

    `queue_problem` returns a key of `REDIS_PROBLEMS`, or `None` when there is no problem.
    """
    problem = queue_problem()
    asked = _threads.submit(_ask, engine)
    try:
        tables, worker, journal = asked.result(PATIENCE)
    except (SQLAlchemyError, TookTooLong) as error:
        asked.cancel()
        log.warning("The database does not answer: %s", type(error).__name__)
        return HealthReport(database=False, tables=False, worker=False, journal=False, redis_problem=problem)
    return HealthReport(database=True, tables=tables, worker=worker, journal=journal, redis_problem=problem)


def _ask(engine: Engine) -> tuple[bool, bool, bool]:
    with engine.connect() as connection:
        if not revisions.is_current(connection):
            return False, False, False
    return True, periodic.is_recent(engine, periodic.LOOK), not periodic.is_recent(engine, periodic.NO_JOURNAL)


def describe_redis(problem: str | None) -> str:
    """Describe the problem with Redis, with advice."""
    return "Redis accepts jobs." if problem is None else REDIS_PROBLEMS[problem]


def describe(health: HealthReport) -> str:
    """Describe the result for a person, with advice."""
    lines = [
        "The database answers." if health.database else "The database DOES NOT ANSWER.",
        "The tables are up to date."
        if health.tables
        else "The tables ARE NOT those of this version: `flask own-smtp db upgrade`.",
        describe_redis(health.redis_problem),
        "A worker is alive." if health.worker else "NO WORKER was seen recently: `flask own-smtp worker`.",
        "Workers can write their journals." if health.journal else NO_JOURNAL,
    ]
    return "\n".join(lines if health.database else [lines[0], lines[2]])
