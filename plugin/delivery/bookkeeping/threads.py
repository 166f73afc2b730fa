"""The threads that a bookkeeper's calls run in, in three lanes that fit the pool of its database.

A call that asks the pool for one connection too many waits, and fails in the end although nothing is wrong. So calls
about records and calls to the host have no more threads than connections. Urgent tasks have more: each waits for a
mail server most of the time, and uses a connection only for moments before and after. A slow hook, or a mail server
that does not answer, must not keep a drain from recording its outcomes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from enum import Enum
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from own_smtp.delivery.contract import Bookkeeper
from own_smtp.errors import BookkeepingError, DatabaseError, OwnSMTPError
from own_smtp.relays.urgent_tasks import MOST as MOST_URGENT
from own_smtp.storage.engine import most_connections

log = logging.getLogger(__name__)

UNBOUNDED = 30
"""Connections that are used where the pool has no bound of its own."""


class Lane(Enum):
    """What a call is about."""

    RECORDS = "records"
    HOST = "host"
    """Calls the host, which may take its time, and may use a connection of its own beside ours."""
    URGENT = "urgent"
    """Waits for mail servers, and has a connection only for the moments before and after: a few serve all of them."""


LANES = {
    Bookkeeper.notify_some.__name__: Lane.HOST,
    Bookkeeper.notify_rest.__name__: Lane.HOST,
    Bookkeeper.run_urgent.__name__: Lane.URGENT,
}
"""All other calls are about records."""


def share_out(most: int | None) -> dict[Lane, int]:
    """Return the number of threads for each lane of a pool that gives out `most` connections at a time.

    A pool of less than four is shared: its lanes may wait for each other, and time out, which costs a try.
    """
    connections = UNBOUNDED if most is None else most
    host, urgent = max(1, connections // 7), max(1, connections // 5)
    return {Lane.RECORDS: max(1, connections - 2 * host - urgent), Lane.HOST: host, Lane.URGENT: MOST_URGENT}


class BookkeeperThreads:
    """Runs a bookkeeper's methods by their names, in threads."""

    def __init__(self, bookkeeper: Bookkeeper, engine: Engine) -> None:
        self._bookkeeper = bookkeeper
        self._lanes = {
            lane: ThreadPoolExecutor(number, thread_name_prefix=f"own-smtp-{lane.value}")
            for lane, number in share_out(most_connections(engine)).items()
        }

    def submit(self, method: str, arguments: tuple[Any, ...]) -> Future[Any]:
        """Begin a call. Its future raises what `own_smtp.delivery.contract.Channel.call` may, and nothing else."""
        return self._lanes[LANES.get(method, Lane.RECORDS)].submit(run, getattr(self._bookkeeper, method), arguments)

    def shutdown(self) -> None:
        """Wait for all calls."""
        for lane in self._lanes.values():
            lane.shutdown()


def run(method: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """Call it. An error of ours is raised as it is, whatever else comes as the name of its class."""
    try:
        return method(*arguments)
    except BaseException as error:
        if _can_travel(error):
            raise
        raise _translated(error) from error


def _can_travel(error: BaseException) -> bool:
    """Whether another process can put the error together again: one of ours that is made of its text alone."""
    return isinstance(error, OwnSMTPError) and type(error).__init__ is Exception.__init__


def _translated(error: BaseException) -> BookkeepingError:
    name = type(error).__name__
    if isinstance(error, SQLAlchemyError) or _is_drivers(error):
        return DatabaseError(name)
    log.error("The bookkeeper met an error that nobody foresaw.", exc_info=error)
    return BookkeepingError(name)


def _is_drivers(error: BaseException) -> bool:
    """Whether a driver raised it past SQLAlchemy, as at a checkout. All its errors derive from an `Error` (PEP 249)."""
    return any(base.__name__ == "Error" and not base.__module__.startswith("own_smtp") for base in type(error).__mro__)
