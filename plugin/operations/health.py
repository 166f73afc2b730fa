"""Whether this platform can send at all, in a moment: for load balancers, monitors and operators. No secrets in it."""

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
"""Seconds for the database to answer."""

# A database that hangs holds a thread; others that ask meanwhile are not kept waiting by more of them.
_threads = ThreadPoolExecutor(2, thread_name_prefix="own-smtp-health")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What works."""

    database: bool
    """It answers in time."""
    tables: bool
    """They are those that this version needs."""
    worker: bool
    """One was seen within the last minutes, on any machine."""
    journal: bool
    """No worker failed to write its journal within the last minutes."""
    redis_problem: str | None
    """Why Redis takes no jobs, or nobody runs them, as a key of `REDIS_PROBLEMS`; `None` when all is well."""

    @property
    def redis(self) -> bool:
        """Whether Redis takes jobs, and they are run."""
        return self.redis_problem is None

    @property
    def status(self) -> str:
        """`ok`; `degraded` when pages and sends work but nothing leaves; `down` when not even they do."""
        if not (self.database and self.tables):
            return "down"
        return "ok" if self.redis and self.worker and self.journal else "degraded"

    def as_dict(self) -> dict[str, Any]:
        """Return it with its status, for JSON."""
        return {"status": self.status, "redis": self.redis, **asdict(self)}


REDIS_PROBLEMS = MappingProxyType(
    {
        "away": "Redis DOES NOT ANSWER: nobody is woken, and what is sent waits.",
        "full": "Redis IS FULL and takes no jobs: give it memory (`maxmemory`), or find what fills it.",
        "read_only": "Redis IS READ-ONLY, a replica: OWN_SMTP_REDIS_URL must name the primary.",
        "refuses": "Redis REFUSES WRITES: its log says why (password, rights, a disk that it cannot save to).",
        "suspended": "RQ's workers are SUSPENDED and take no jobs: `rq resume`.",
    }
)
"""What is wrong with Redis, and what to do."""
NO_JOURNAL = (
    "A worker CANNOT WRITE ITS JOURNAL and sends nothing: its log names the folder. Is the disk full, or the folder not"
    " its own?"
)


def examine(engine: Engine, queue_problem: Callable[[], str | None]) -> HealthReport:
    """Ask the database and Redis. Takes little longer than `PATIENCE` whatever they do.

    `queue_problem` returns a key of `REDIS_PROBLEMS`, or `None` when all is well.
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
    """Say what is wrong with Redis, and what to do."""
    return "Redis takes jobs." if problem is None else REDIS_PROBLEMS[problem]


def describe(health: HealthReport) -> str:
    """Say it to a person, and what to do."""
    lines = [
        "The database answers." if health.database else "The database DOES NOT ANSWER.",
        "The tables are up to date."
        if health.tables
        else "The tables ARE NOT those of this version: `flask own-smtp db upgrade`.",
        describe_redis(health.redis_problem),
        "A worker is alive." if health.worker else "NO WORKER was seen lately: `flask own-smtp worker`.",
        "Workers can write their journals." if health.journal else NO_JOURNAL,
    ]
    return "\n".join(lines if health.database else [lines[0], lines[2]])
