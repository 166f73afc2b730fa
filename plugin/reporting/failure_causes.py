"""Causes of failure in a batch: each cause once, with the number of invitations that it affects."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice

from sqlalchemy import Connection
from sqlalchemy.orm import Session

from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.query import LogScope, walk
from own_smtp.reporting.delivery_log import LoggedAttempt, lines_at
from own_smtp.reporting.explanations import Explanation
from own_smtp.states import State

SAMPLE_SIZE = 500
"""How many invitations are examined; a cause that affects more than these is found among them."""

EXAMINED_STATES = (State.REFUSED, State.FAILED, State.UNKNOWN, State.QUEUED)
"""The order of examination. Waiting invitations come last: there may be a million without an attempt."""


@dataclass(slots=True)
class Cause:
    """One cause."""

    explanation: Explanation
    example: LoggedAttempt
    """A reply that the cause was recognised by."""
    number: int = 0


@dataclass(frozen=True, slots=True)
class Causes:
    """The causes of failure in a batch."""

    found: list[Cause]
    """The most frequent first."""
    examined: int

    @property
    def is_sample(self) -> bool:
        """Whether there may be more invitations than were examined."""
        return self.examined >= SAMPLE_SIZE


def causes_of(where: Connection | Session, scope: LogScope, batch_id: int) -> Causes:
    """Return why invitations of a batch were refused, failed, are unknown or wait for a retry."""
    found: dict[str, Cause] = {}
    examined = 0
    for state in EXAMINED_STATES:
        wanted = StatusFilter(batch_id=batch_id, states=frozenset({state}))
        positions = list(islice(walk(where, scope, wanted, size=SAMPLE_SIZE), SAMPLE_SIZE - examined))
        examined += len(positions)
        for line in lines_at(where, positions):
            if line.last and line.last.explanation:
                explanation = line.last.explanation
                found.setdefault(explanation.key, Cause(explanation, line.last)).number += 1
    ordered = sorted(found.values(), key=lambda cause: -cause.number)
    return Causes(ordered, examined)
