"""The outcome of an attempt, by stage and reply, from the table in `own_smtp.smtp.replies.rules`."""

from __future__ import annotations

from own_smtp.errors import SessionError
from own_smtp.smtp.replies.rules import SETUP, TRANSACTION, Stage, find_rule
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import State

__all__ = ["SETUP", "TRANSACTION", "HungUpError", "SetupError", "Stage", "classify", "impossible", "interrupted"]


def classify(stage: Stage, reply: Reply, *, server: str | None = None) -> Outcome:
    """Return the outcome for an invitation of `reply` in `stage`.

    A reply that makes no sense there (a 2yz to DATA, a 3yz to the final dot) counts as an interruption.
    """
    if stage is Stage.MESSAGE and reply.code == 250:  # nearly all messages
        return Outcome(state=State.ACCEPTED, stage=stage, reply=reply, server=server)
    rule = find_rule(stage, reply)
    if rule is None:
        return interrupted(stage, f"The server answered {reply.code} where that makes no sense.", server=server)
    return Outcome(
        state=rule.state, stage=stage, reply=reply, server=server, pause=rule.pause, slows_down=rule.slows_down
    )


def interrupted(stage: Stage, text: str, *, server: str | None = None) -> Outcome:
    """Return the outcome of a session that broke off in `stage`.

    After the final dot it is unknown whether the server accepted the message (RFC 1047); before it, it did not.
    """
    state = State.UNKNOWN if stage is Stage.MESSAGE else State.QUEUED
    return Outcome(state=state, stage=stage, text=text, server=server)


def impossible(text: str) -> Outcome:
    """Return the outcome of a message that this server can never accept; no byte of it was sent."""
    return Outcome(state=State.FAILED, stage=Stage.LOCAL, text=text)


class SetupError(SessionError):
    """No usable session with the relay could be set up. `outcome` has the reason and its consequences."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"{outcome.stage}: {outcome.words}")
        self.outcome = outcome


class HungUpError(SetupError):
    """The server closed the connection at EHLO."""
