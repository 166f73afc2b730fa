"""Periodic tasks that one dispatcher runs for all machines; a database row decides which one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, select, update

from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import PeriodicTask

LOOK = "look"
"""Taken regularly by any dispatcher, as a sign that at least one is running."""
LOOK_EVERY = timedelta(seconds=20)
NO_JOURNAL = "no-journal"
"""Recorded by a dispatcher whose machine could not write a journal: nothing can be sent from there."""
ALIVE = timedelta(minutes=2)
"""A record of this age at most counts as current."""
PURGE = "purge"
ALERTS = "alerts"
LONGEST_WAIT = timedelta(minutes=1)
"""The longest interval between two checks of a process whether a task is due."""


class PeriodicTasks:
    """One process's view of the periodic tasks. It queries the database no more often than necessary."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._ask_at: dict[str, float] = {}

    def take(self, name: str, every: timedelta) -> bool:
        """Take a task if it is due; return whether the caller has it. It is due again after `every` (database's clock).

        If another process has it, check again after `LONGEST_WAIT` at the latest: that process may have crashed.
        """
        now = self._clock()
        if now < self._ask_at.get(name, now):
            return False
        left = take(self._engine, name, every)
        self._ask_at[name] = now + min(left or every, LONGEST_WAIT).total_seconds()
        return left is None

    def do_again(self, name: str) -> None:
        """Make the task due at once, because there is more to do."""
        with self._engine.begin() as connection:
            connection.execute(
                update(PeriodicTask).where(PeriodicTask.name == name).values(due_at=read_clock(connection))
            )
        self._ask_at.pop(name, None)


def take(engine: Engine, name: str, every: timedelta) -> timedelta | None:
    """Take a task for `every`; return `None`, or the time for which another process has it."""
    with engine.connect() as connection:
        now = read_clock(connection)
        due_at = connection.scalar(select(PeriodicTask.due_at).where(PeriodicTask.name == name))
    if due_at is not None and due_at > now:
        return due_at - now
    with engine.begin() as connection:
        if due_at is None:
            connection.execute(insert_or_pass(connection, PeriodicTask, ["name"]).values(name=name, due_at=now))
        taken = connection.execute(
            update(PeriodicTask)
            .where(PeriodicTask.name == name, PeriodicTask.due_at <= now)
            .values(due_at=now + every, taken_at=now)
        )
    return None if taken.rowcount == 1 else every


def is_recent(engine: Engine, name: str) -> bool:
    """Whether it was recorded within `ALIVE`."""
    noted, now = last_taken(engine, name)
    return noted is not None and now - noted < ALIVE


def last_taken(engine: Engine, name: str) -> tuple[datetime | None, datetime]:
    """Return when the task was last taken (`None` for never), and the current time."""
    with engine.connect() as connection:
        return connection.scalar(select(PeriodicTask.taken_at).where(PeriodicTask.name == name)), read_clock(connection)
