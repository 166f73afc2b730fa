"""Tasks whose result a person is waiting for on a page: connection tests, and confirmation mails."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple, Protocol


class UrgentKind(StrEnum):
    """The kinds of urgent tasks."""

    TEST = "test"
    CONFIRMATION = "confirmation"


class UrgentTask(NamedTuple):
    """One test or one mail that is due."""

    kind: UrgentKind
    id: int
    """The id of the `RelayTest` or the `Confirmation`."""
    tenant_id: str


class UrgentTasks(Protocol):
    """Finds and runs them. Both methods block, and may be called in several threads at a time."""

    def find(self, passed_over: Collection[str] = ()) -> list[UrgentTask]:
        """Return tasks that are due, `PER_TENANT` of each tenant at most; none of the tenants `passed_over`.

        The first of each tenant come before the second ones, tests before mails.
        """

    def run(self, task: UrgentTask) -> None:
        """Run it if it is still due and no other worker runs it, and store its result."""


PER_TENANT = 2
"""Tasks of one tenant that a worker runs at a time, so that a tenant with many slow servers does not block the others.
"""

MOST = 8
"""Tasks that a worker runs at a time."""
