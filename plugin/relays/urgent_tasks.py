"""The work that somebody waits for in front of a page: tests of typed settings, and confirmation mails."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import NamedTuple, Protocol


class UrgentKind(StrEnum):
    """What is to be done."""

    TEST = "test"
    CONFIRMATION = "confirmation"


class UrgentTask(NamedTuple):
    """One test or one mail that is due."""

    kind: UrgentKind
    id: int
    """The row's: of a `RelayTest` or of a `Confirmation`."""
    tenant_id: str


class UrgentTasks(Protocol):
    """Finds and runs them. Both methods block, and may be called in several threads at a time."""

    def find(self, passed_over: Collection[str] = ()) -> list[UrgentTask]:
        """Return tasks that are due, `PER_TENANT` of each tenant at most; none of the tenants `passed_over`.

        The first of each tenant come before the second ones, tests before mails.
        """

    def run(self, task: UrgentTask) -> None:
        """Run it if it is still due and nobody else runs it, and store its result."""


PER_TENANT = 2
"""Tasks of one tenant that a worker runs at a time: a tenant with many slow servers leaves room for the others."""

MOST = 8
"""Tasks that a worker runs at a time."""
