"""The trace of a session's set-up: each completed step, and each command with its reply.

It contains no secrets: the session masks them in commands and removes them from replies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from own_smtp.smtp.replies.rules import Stage
from own_smtp.smtp.values import Reply


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One completed step of the set-up, for people who test a relay."""

    stage: Stage
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Details to show, as JSON-compatible values."""


@dataclass(frozen=True, slots=True)
class TraceLine:
    """A command and its reply. For the banner, `sent` is empty."""

    sent: str
    reply: Reply


Observer = Callable[[TraceStep | TraceLine], None]


def ignore(_seen: TraceStep | TraceLine) -> None:
    """Ignore the trace."""
