"""What came of an attempt: judged by the table in `own_smtp.rules`, and when a relay or a message is tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from own_smtp.profiles import Outcome, Reply
from own_smtp.rules import SETUP, TRANSACTION, Stage, find_rule
from own_smtp.states import PauseReason, State

__all__ = ["PROBES", "SETUP", "TRANSACTION", "Backoff", "Stage", "classify", "impossible", "interrupted"]


def classify(stage: Stage, reply: Reply, *, server: str | None = None) -> Outcome:
    """Return what `reply` in `stage` means for an invitation.

    A reply that makes no sense there (a 2yz to DATA, a 3yz to the final dot) is an interrupted conversation.
    """
    if stage is Stage.MESSAGE and reply.code == 250:  # nearly all of them
        return Outcome(state=State.ACCEPTED, stage=stage, reply=reply, server=server)
    rule = find_rule(stage, reply)
    if rule is None:
        return interrupted(stage, f"The server answered {reply.code} where that makes no sense.", server=server)
    return Outcome(
        state=rule.state, stage=stage, reply=reply, server=server, pause=rule.pause, slows_down=rule.slows_down
    )


def interrupted(stage: Stage, text: str, *, server: str | None = None) -> Outcome:
    """Return what it means when the conversation broke off in `stage`.

    After the final dot nobody can know whether the server took the message (RFC 1047); before it, it did not.
    """
    state = State.UNKNOWN if stage is Stage.MESSAGE else State.QUEUED
    return Outcome(state=state, stage=stage, text=text, server=server)


def impossible(text: str) -> Outcome:
    """Return the outcome of a message that this server can never take; no byte of it was sent."""
    return Outcome(state=State.FAILED, stage=Stage.LOCAL, text=text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """When to try again: doubling from `first` up to `longest`, spread by a fifth so that retries do not march in step.

    RFC 5321, 4.5.4.1 asks for 30 minutes or more in the long run; greylisting answers well to a first retry after a
    few minutes.
    """

    first: timedelta = timedelta(minutes=5)
    longest: timedelta = timedelta(hours=2)
    spread: float = 0.2

    def delay(self, failures: int, random: Callable[[], float]) -> timedelta:
        """Return the wait after `failures` failures in a row (1 or more). `random` yields numbers from 0 to 1."""
        doubled = self.first * 2 ** min(failures - 1, 30) if self.first else self.first
        return min(doubled, self.longest) * (1 + self.spread * (2 * random() - 1))


PROBES = {
    PauseReason.QUOTA: timedelta(hours=1),
    PauseReason.BLOCKED: timedelta(hours=1),
    PauseReason.NO_SUCH_HOST: timedelta(minutes=15),
    PauseReason.UNREACHABLE: timedelta(hours=4),
}
"""After which time a paused relay is tried again by itself. For the other reasons it waits for a person: trying a
refused password again can lock the account."""
