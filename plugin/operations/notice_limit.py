"""How often the platform mails notices: so many of one cause to one tenant's people in an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Engine

from own_smtp.hooks.events import RelayChange
from own_smtp.relays import tenant_limits

PERIOD = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class NoticeLimit:
    """Counts notices in the database, in transactions of its own: all workers count together."""

    engine: Callable[[], Engine]
    most: int

    def take(self, tenant_id: str, cause: str) -> bool:
        """Count a notice that is about to be mailed; `False` when there were too many of its cause."""
        with self.engine().begin() as connection:
            return tenant_limits.count_in(connection, tenant_id, _kind(cause), self.most, PERIOD)

    def give_back(self, tenant_id: str, cause: str) -> None:
        """Uncount a notice that could not be mailed: it is tried again."""
        with self.engine().begin() as connection:
            tenant_limits.give_back(connection, tenant_id, _kind(cause))


def cause_of(change: RelayChange) -> str:
    """Return the cause that a change is counted under."""
    if change.is_falling_back:
        return "fallback"
    return change.pause_reason or change.state


def _kind(cause: str) -> str:
    return f"notice:{cause}"[:60]
