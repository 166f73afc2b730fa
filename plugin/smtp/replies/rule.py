"""One rule of the table that judges replies: its conditions and its verdict."""

from __future__ import annotations

import re
from dataclasses import dataclass

from own_smtp.smtp.replies.topics import Topic
from own_smtp.smtp.values import Reply, Stage
from own_smtp.states import PauseReason, State


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table. Empty conditions match everything."""

    stages: frozenset[Stage]
    codes: str
    """The beginning of the reply code: `4`, `55`, `421`."""
    why: str
    state: State = State.QUEUED
    enhanced: str = ""
    """A regular expression for the subject and detail of the enhanced code: `7\\.` for x.7.y."""
    topics: frozenset[Topic] = frozenset()
    """The possible topics of the reply's text."""
    unless: str = ""
    """A regular expression for texts that the rule does not apply to."""
    pause: PauseReason | None = None
    slows_down: bool = False

    def fits(self, stage: Stage, reply: Reply, topic: Topic | None) -> bool:
        """Whether this rule applies to that reply, whose text has that topic, in that stage."""
        return (
            stage in self.stages
            and str(reply.code).startswith(self.codes)
            and (not self.topics or topic in self.topics)
            and (not self.enhanced or bool(re.match(self.enhanced, _subject(reply))))
            and not (self.unless and re.search(self.unless, reply.text, re.IGNORECASE))
        )


def _subject(reply: Reply) -> str:
    return reply.enhanced.partition(".")[2] if reply.enhanced else ""
