"""The table of what servers' answers mean: by stage, code, enhanced code and words.

The rules stand in the order in which they are tried; the first that fits decides. A code that no rule names is
judged by its first digit (RFC 5321, 4.2.1). The enhanced status code only refines: where it contradicts the basic
code, the basic code wins (RFC 3463, 2).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from own_smtp.smtp.replies.topics import Topic, topic_of
from own_smtp.smtp.values import SETUP, SPEECHLESS, TRANSACTION, UNREACHED, Reply, Stage
from own_smtp.states import PauseReason, State

__all__ = ["RULES", "SETUP", "SPEECHLESS", "TRANSACTION", "UNREACHED", "Rule", "Stage", "find_rule"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One line of the table. Empty conditions fit everything."""

    stages: frozenset[Stage]
    codes: str
    """The beginning of the reply code: `4`, `55`, `421`."""
    why: str
    state: State = State.QUEUED
    enhanced: str = ""
    """A regular expression for the subject and detail of the enhanced code: `7\\.` for x.7.y."""
    topics: frozenset[Topic] = frozenset()
    """What the server's words are about."""
    unless: str = ""
    """A regular expression for words of which the rule is not meant."""
    pause: PauseReason | None = None
    slows_down: bool = False

    def fits(self, stage: Stage, reply: Reply, topic: Topic | None) -> bool:
        """Whether this line is about that reply, whose words have that topic, in that stage."""
        return (
            stage in self.stages
            and str(reply.code).startswith(self.codes)
            and (not self.topics or topic in self.topics)
            and (not self.enhanced or bool(re.match(self.enhanced, _subject(reply))))
            and not (self.unless and re.search(self.unless, reply.text, re.IGNORECASE))
        )


def _subject(reply: Reply) -> str:
    return reply.enhanced.partition(".")[2] if reply.enhanced else ""


def _stages(*stages: Stage) -> frozenset[Stage]:
    return frozenset(stages)


_OPENING = _stages(Stage.BANNER, Stage.EHLO)
_SENDING = _stages(Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.MESSAGE)


def _about(*topics: Topic) -> frozenset[Topic]:
    return frozenset(topics)


RULES: tuple[Rule, ...] = (
    # 1. 421 may answer anything: the server closes the connection, and says nothing of the message (RFC 5321, 3.8).
    Rule(
        stages=frozenset(Stage),
        codes="421",
        slows_down=True,
        why="The server is closing or has too much to do.",
    ),
    # 2. Before the first message: only the relay is concerned.
    Rule(stages=_OPENING, codes="4", slows_down=True, why="The server is not ready yet."),
    Rule(
        stages=_OPENING,
        codes="5",
        pause=PauseReason.BLOCKED,
        why="The server wants no mail from this address (RFC 5321, 3.1).",
    ),
    Rule(stages=_stages(Stage.STARTTLS), codes="4", why="TLS is out of order for now (RFC 3207, 4)."),
    Rule(
        stages=_stages(Stage.STARTTLS),
        codes="5",
        pause=PauseReason.NO_TLS,
        why="TLS is required here, and the server refuses it.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="4",
        slows_down=True,
        why="454 and 4.7.0: too many log-ins, or the password server is away (RFC 4954, 6).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="538",
        pause=PauseReason.NO_TLS,
        why="The server takes a password only after TLS (RFC 4954, 6).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="530",
        pause=PauseReason.NO_TLS,
        why="The server wants STARTTLS before anything else (RFC 3207, 4).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        topics=_about(Topic.TLS),
        pause=PauseReason.NO_TLS,
        why="Words about encryption are about the connection, not about the password.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        topics=_about(Topic.QUOTA),
        unless=r"log-?[io]n|attempt|auth\w* (fail|error|request)|password",
        pause=PauseReason.QUOTA,
        why="Some let nobody sign in whose quota is used up. Too many log-ins may be too many wrong passwords.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        topics=_about(Topic.CLIENT),
        pause=PauseReason.BLOCKED,
        why="The platform's address is not wanted: another password would change nothing.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="50",
        pause=PauseReason.NO_AUTH,
        why="501 to 504: it does not know this mechanism, or does not offer it here (RFC 4954, 4).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        pause=PauseReason.CREDENTIALS,
        why="535 and its like: one more try could lock the account.",
    ),
    Rule(
        stages=_stages(Stage.RCPT),
        codes="552",
        topics=_about(Topic.QUOTA),
        slows_down=True,
        why="552 to RCPT means what 452 means: too many for now (RFC 5321, 4.5.3.1.10).",
    ),
    # 3. Not about this recipient, whoever it is: refusing a list of recipients for it would be wrong.
    Rule(
        stages=_SENDING,
        codes="5",
        topics=_about(Topic.QUOTA),
        pause=PauseReason.QUOTA,
        why="The account has sent enough for now: 550, 552, 554, with or without an enhanced code.",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        topics=_about(Topic.MAILBOX_FULL, Topic.SOME_QUOTA),
        pause=PauseReason.QUOTA,
        why="No recipient is named yet: a quota that is used up is the account's.",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        enhanced=r"4\.5$",
        pause=PauseReason.QUOTA,
        why="Gmail and others answer 550 5.4.5 when the day's quota is used up.",
    ),
    Rule(
        stages=_SENDING,
        codes="",
        topics=_about(Topic.TLS),
        pause=PauseReason.NO_TLS,
        why="The server wants STARTTLS first (RFC 3207, 4); Exchange says it with 451 5.7.3.",
    ),
    Rule(
        stages=_SENDING,
        codes="530",
        pause=PauseReason.NO_AUTH,
        why="The server wants authentication first (RFC 4954, 6).",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        topics=_about(Topic.AUTHENTICATION, Topic.RELAYING),
        pause=PauseReason.NO_AUTH,
        why="It relays for who has signed in, or not for this account: it would say so to every recipient.",
    ),
    Rule(
        stages=_SENDING,
        codes="45",
        topics=_about(Topic.RELAYING),
        pause=PauseReason.NO_AUTH,
        why="Postfix says 454 4.7.1 by its defaults (defer_unauth_destination): waiting would change nothing.",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        topics=_about(Topic.CLIENT),
        pause=PauseReason.BLOCKED,
        why="The address or the name that connects is not wanted; Postfix says it at RCPT (smtpd_delay_reject).",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        enhanced=r"1\.[78]$",
        unless="recipient address rejected",
        pause=PauseReason.SENDER,
        why="5.1.7 and 5.1.8 are about the sender's address wherever they come (RFC 3463, 3.2).",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        topics=_about(Topic.SENDER, Topic.ACCOUNT),
        pause=PauseReason.SENDER,
        why="Postfix refuses a sender at RCPT, Exchange only after the message; others block the account.",
    ),
    # 4. Not now.
    Rule(
        stages=_stages(Stage.RCPT, Stage.DATA, Stage.BODY, Stage.MESSAGE),
        codes="4",
        topics=_about(Topic.MAILBOX_FULL, Topic.SOME_QUOTA, Topic.RECIPIENT_RATE),
        why="This recipient's mailbox is full, or gets too much: others may be fine.",
    ),
    Rule(
        stages=_SENDING,
        codes="4",
        topics=_about(Topic.QUOTA),
        slows_down=True,
        why="Too much or too fast, whatever the enhanced code says: 450 4.2.1 as well.",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="4",
        topics=_about(Topic.IDLE),
        why="The connection was silent for too long, which is no matter of pace.",
    ),
    # 5. MAIL: the sender, the size, the pace.
    Rule(
        stages=_stages(Stage.MAIL),
        codes="4",
        slows_down=True,
        why="450 and 452 to MAIL are about rate or room (RFC 5321, 4.2.3).",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        topics=_about(Topic.SIZE),
        state=State.REFUSED,
        why="The message is larger than the server takes, under whatever code.",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="552",
        state=State.REFUSED,
        why="The message is larger than the server takes (RFC 1870, 6.1).",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        enhanced=r"(3\.4|6\.7)$",
        state=State.REFUSED,
        why="5.3.4: the message is too large; 5.6.7: the server cannot take a non-ASCII address (RFC 6531, 3.7.4).",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        pause=PauseReason.SENDER,
        why="The sender address is refused: no recipient is to blame.",
    ),
    # 6. RCPT: this recipient, unless the words are about the pace.
    Rule(
        stages=_stages(Stage.RCPT),
        codes="4",
        enhanced=r"[12]\.",
        why="4.1.x and 4.2.x: this mailbox is busy, full or not known yet; others may be fine.",
    ),
    Rule(
        stages=_stages(Stage.RCPT),
        codes="4",
        slows_down=True,
        why="450, 451, 452, 4.5.3 and 4.7.x: greylisting, or too many recipients for now.",
    ),
    Rule(
        stages=_stages(Stage.RCPT),
        codes="552",
        enhanced=r"2\.3$",
        state=State.REFUSED,
        why="5.2.3: longer than this mailbox takes.",
    ),
    Rule(
        stages=_stages(Stage.RCPT),
        codes="552",
        topics=_about(Topic.RECIPIENT),
        state=State.REFUSED,
        why="There is no such mailbox, under whatever code.",
    ),
    Rule(
        stages=_stages(Stage.RCPT),
        codes="552",
        why="552 to RCPT means what 452 means: room or number, and passes (RFC 5321, 4.5.3.1.10).",
    ),
    Rule(stages=_stages(Stage.RCPT), codes="5", state=State.REFUSED, why="The server does not take this recipient."),
    # 7. DATA and the message itself.
    Rule(
        stages=_stages(Stage.DATA, Stage.BODY, Stage.MESSAGE),
        codes="4",
        slows_down=True,
        why="451 and 452: the server could not store it now.",
    ),
    Rule(
        stages=_stages(Stage.DATA, Stage.BODY, Stage.MESSAGE),
        codes="5",
        state=State.REFUSED,
        why="The server does not take this message.",
    ),
    Rule(stages=_stages(Stage.MESSAGE), codes="2", state=State.ACCEPTED, why="The server has taken responsibility."),
)


def find_rule(stage: Stage, reply: Reply) -> Rule | None:
    """Return the line that decides, or `None` when the reply makes no sense in that stage."""
    topic = topic_of(reply)
    return next((rule for rule in RULES if rule.fits(stage, reply, topic)), None)
