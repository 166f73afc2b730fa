"""Why there is no usable conversation with a relay."""

from __future__ import annotations

from own_smtp.errors import SessionError
from own_smtp.smtp.values import Outcome


class SetupError(SessionError):
    """There is no usable conversation with the relay. `outcome` says why, and what it means."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.stage}: {outcome.words}")
        self.outcome = outcome


class HungUpError(SetupError):
    """The server closed the connection when it heard EHLO."""
