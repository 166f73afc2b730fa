"""Learns the pace from a server's replies: which of them count, and which concern something else."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from own_smtp.relays.rate_limits import Pacer
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.values import Outcome
from own_smtp.states import State

MANY_COMPLAINTS = 3
"""So many deferred recipients in a row concern the pace; fewer may concern the recipients, as in greylisting."""


class PaceFeedback:
    """Tells a pacer of replies. The caller passes the ids of the invitations that are under way."""

    def __init__(self, pacer: Pacer) -> None:
        self._pacer = pacer
        self._complaints = 0
        self._stragglers: set[int] = set()
        """Invitations that were under way when the server last asked for a slower pace."""

    def slow_down(self, now: float, under_way: AbstractSet[int]) -> None:
        """The server asked for a slower pace. Replies to messages under way say nothing about the new one."""
        if not self._pacer.is_waiting:
            self._stragglers = set(under_way)
        self._pacer.slow_down(now)

    def learn(self, invitation_id: int, outcome: Outcome, now: float, under_way: AbstractSet[int]) -> None:
        """Learn from the outcome of a message."""
        if outcome.state is State.ACCEPTED:
            self._complaints = 0
            self._pacer.succeed(now, is_straggler=invitation_id in self._stragglers)
        elif outcome.slows_down:
            self._complaints += 1
            if not _may_be_greylisting(outcome) or self._complaints >= MANY_COMPLAINTS:
                self.slow_down(now, under_way)
        self._stragglers.discard(invitation_id)

    def is_probing(self, under_way: AbstractSet[int]) -> bool:
        """Whether a reply is under way that may end the wait for a server that takes nothing."""
        return self._pacer.is_waiting and not under_way <= self._stragglers


def _may_be_greylisting(outcome: Outcome) -> bool:
    """Whether a recipient may be put off as a new one is (RFC 6647, 2.1), which says nothing of the pace."""
    return outcome.stage == Stage.RCPT and outcome.reply is not None and outcome.reply.code in {450, 451}
