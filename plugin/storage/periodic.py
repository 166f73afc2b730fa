"""What one of all the dispatchers does at a time: they agree by a row in the database, whatever machine they are on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Engine, select, update

from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import PeriodicTask

LOOK = "look"
"""Taken now and then by any dispatcher: a sign that one lives."""
LOOK_EVERY = timedelta(seconds=20)
NO_JOURNAL = "no-journal"
"""Noted by a dispatcher whose machine could not write a journal: nothing can be sent from there."""
ALIVE = timedelta(minutes=2)
"""What was noted so lately counts as being so now."""
PURGE = "purge"
ALERTS = "alerts"
LONGEST_WAIT = timedelta(minutes=1)
"""A process looks at least so often whether an errand is due."""


class Errands:
    """What one process knows of the errands. It asks the database no more often than it must."""

    def __init__(self, engine: Engine, clock: Callable[[], float]) -> None:
        self._engine = engine
        self._clock = clock
        self._ask_at: dict[str, float] = {}

    def take(self, name: str, every: timedelta) -> bool:
        """Whether the errand is due and the caller's. From then on it is nobody's for `every`, by the database's clock.

        Somebody who finds it taken looks again after `LONGEST_WAIT` at the latest: whoever took it may have died.
        """
        now = self._clock()
        if now < self._ask_at.get(name, now):
            return False
        left = take(self._engine, name, every)
        self._ask_at[name] = now + min(left or every, LONGEST_WAIT).total_seconds()
        return left is None

    def do_again(self, name: str) -> None:
        """There is more to do: let the errand be due at once."""
        with self._engine.begin() as connection:
            connection.execute(
                update(PeriodicTask).where(PeriodicTask.name == name).values(due_at=read_clock(connection))
            )
        self._ask_at.pop(name, None)


def take(engine: Engine, name: str, every: timedelta) -> timedelta | None:
    """Take an errand for `every`; return `None`, or how long it is somebody else's."""
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
    """Whether it was noted so lately that it counts as being so now."""
    noted, now = last_taken(engine, name)
    return noted is not None and now - noted < ALIVE


def last_taken(engine: Engine, name: str) -> tuple[datetime | None, datetime]:
    """Return when the errand was done last, `None` for never, and what time it is."""
    with engine.connect() as connection:
        return connection.scalar(select(PeriodicTask.taken_at).where(PeriodicTask.name == name)), read_clock(connection)
