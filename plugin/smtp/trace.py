"""What a conversation tells of itself while it is set up: each step that was done, and each line that was said.

Nothing of it holds a secret: the session leaves them out, and takes them out of replies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from own_smtp.smtp.replies.rules import Stage
from own_smtp.smtp.values import Reply


@dataclass(frozen=True, slots=True)
class TraceStep:
    """One step of the set-up that went well, as a person who tests a relay wants to see it."""

    stage: Stage
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What is worth showing of it, as JSON can hold it."""


@dataclass(frozen=True, slots=True)
class TraceLine:
    """What was said to the server, and its reply. The banner is a reply to nothing."""

    sent: str
    reply: Reply


Observer = Callable[[TraceStep | TraceLine], None]


def ignore(_seen: TraceStep | TraceLine) -> None:
    """Observe nothing."""
