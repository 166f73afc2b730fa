"""Limit on notice mails: so many an hour for each cause and tenant."""

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
    """Counts notices in the database, in its own transactions: all workers share the count."""

    engine: Callable[[], Engine]
    most: int

    def take(self, tenant_id: str, cause: str) -> bool:
        """Count a notice before it is mailed; `False` when the limit for its cause is reached."""
        with self.engine().begin() as connection:
            return tenant_limits.count_in(connection, tenant_id, _kind(cause), self.most, PERIOD)

    def give_back(self, tenant_id: str, cause: str) -> None:
        """Uncount a notice that could not be mailed; it will be retried."""
        with self.engine().begin() as connection:
            tenant_limits.give_back(connection, tenant_id, _kind(cause))


def cause_of(change: RelayChange) -> str:
    """Return the cause under which a change is counted."""
    if change.is_falling_back:
        return "fallback"
    return change.pause_reason or change.state


def _kind(cause: str) -> str:
    return f"notice:{cause}"[:60]
