"""Whether this platform can send at all, in a moment: for load balancers, monitors and operators. No secrets in it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from own_smtp.storage import periodic, revisions

log = logging.getLogger(__name__)

PATIENCE = 3.0
"""Seconds for the database to answer."""
ALIVE = timedelta(minutes=2)
"""A worker was seen so lately, or none lives."""

# A database that hangs holds a thread; others that ask meanwhile are not kept waiting by more of them.
_threads = ThreadPoolExecutor(2, thread_name_prefix="own-smtp-health")


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReport:
    """What works."""

    database: bool
    """It answers in time."""
    tables: bool
    """They are those that this version needs."""
    redis: bool
    worker: bool
    """One was seen within the last minutes, on any machine."""

    @property
    def status(self) -> str:
        """`ok`; `degraded` when pages and sends work but nothing leaves; `down` when not even they do."""
        if not (self.database and self.tables):
            return "down"
        return "ok" if self.redis and self.worker else "degraded"

    def as_dict(self) -> dict[str, Any]:
        """Return it with its status, for JSON."""
        return {"status": self.status, **asdict(self)}


def examine(engine: Engine, queue_is_up: Callable[[], bool]) -> HealthReport:
    """Ask the database and Redis. Takes little longer than `PATIENCE` whatever they do."""
    redis = queue_is_up()
    asked = _threads.submit(_ask, engine)
    try:
        tables, worker = asked.result(PATIENCE)
    except (SQLAlchemyError, TookTooLong) as error:
        asked.cancel()
        log.warning("The database does not answer: %s", type(error).__name__)
        return HealthReport(database=False, tables=False, redis=redis, worker=False)
    return HealthReport(database=True, tables=tables, redis=redis, worker=worker)


def _ask(engine: Engine) -> tuple[bool, bool]:
    with engine.connect() as connection:
        if not revisions.is_current(connection):
            return False, False
    seen, now = periodic.last_taken(engine, periodic.LOOK)
    return True, seen is not None and now - seen < ALIVE


def describe(health: HealthReport) -> str:
    """Say it to a person, and what to do."""
    lines = [
        "The database answers." if health.database else "The database DOES NOT ANSWER.",
        "The tables are up to date."
        if health.tables
        else "The tables ARE NOT those of this version: `flask own-smtp db upgrade`.",
        "Redis answers." if health.redis else "Redis DOES NOT ANSWER: nobody is woken, and what is sent waits.",
        "A worker is alive." if health.worker else "NO WORKER was seen lately: `flask own-smtp worker`.",
    ]
    return "\n".join(lines if health.database else [lines[0], lines[2]])
