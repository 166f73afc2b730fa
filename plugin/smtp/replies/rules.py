"""The table of verdicts on servers' replies: by stage, code, enhanced code and text.

The rules are tried in this order, and the first match decides. A code that no rule names is judged by its first digit
(RFC 5321, 4.2.1). The enhanced status code only refines: where it contradicts the basic code, the basic code wins
(RFC 3463, 2).
"""

from __future__ import annotations

from own_smtp.smtp.replies.rule import Rule
from own_smtp.smtp.replies.topics import Topic, topic_of
from own_smtp.smtp.values import SETUP, SPEECHLESS, TRANSACTION, UNREACHED, Reply, Stage
from own_smtp.states import PauseReason, State

__all__ = ["RULES", "SETUP", "SPEECHLESS", "TRANSACTION", "UNREACHED", "Stage", "find_rule"]


def _stages(*stages: Stage) -> frozenset[Stage]:
    return frozenset(stages)


_OPENING = _stages(Stage.BANNER, Stage.EHLO)
_SENDING = _stages(Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.MESSAGE)


def _about(*topics: Topic) -> frozenset[Topic]:
    return frozenset(topics)


RULES: tuple[Rule, ...] = (
    # 1. 421 may come at any time: the server closes the connection, whatever the message (RFC 5321, 3.8).
    Rule(
        stages=frozenset(Stage),
        codes="421",
        slows_down=True,
        why="The server is closing or overloaded.",
    ),
    # 2. Before the first message: verdicts concern only the relay.
    Rule(stages=_OPENING, codes="4", slows_down=True, why="The server is not ready yet."),
    Rule(
        stages=_OPENING,
        codes="5",
        pause=PauseReason.BLOCKED,
        why="The server accepts no mail from this client (RFC 5321, 3.1).",
    ),
    Rule(stages=_stages(Stage.STARTTLS), codes="4", why="TLS is temporarily unavailable (RFC 3207, 4)."),
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
        why="454 and 4.7.0: too many sign-ins, or the authentication server is unavailable (RFC 4954, 6).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="538",
        pause=PauseReason.NO_TLS,
        why="The server accepts a password only after TLS (RFC 4954, 6).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="530",
        pause=PauseReason.NO_TLS,
        why="The server requires STARTTLS first (RFC 3207, 4).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        topics=_about(Topic.TLS),
        pause=PauseReason.NO_TLS,
        why="The text is about encryption: the connection is the cause, not the password.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        topics=_about(Topic.QUOTA),
        unless=r"log-?[io]n|attempt|auth\w* (fail|error|request)|password",
        pause=PauseReason.QUOTA,
        why="Some refuse sign-ins once the quota is used up. Too many sign-ins may mean too many wrong passwords.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        topics=_about(Topic.CLIENT),
        pause=PauseReason.BLOCKED,
        why="The server blocks the platform's IP address: another password would change nothing.",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="50",
        pause=PauseReason.NO_AUTH,
        why="501 to 504: the server does not support this mechanism, or not here (RFC 4954, 4).",
    ),
    Rule(
        stages=_stages(Stage.AUTH),
        codes="5",
        pause=PauseReason.CREDENTIALS,
        why="535 and similar: another attempt could lock the account.",
    ),
    Rule(
        stages=_stages(Stage.RCPT),
        codes="552",
        topics=_about(Topic.QUOTA),
        slows_down=True,
        why="552 to RCPT means what 452 means: too many for now (RFC 5321, 4.5.3.1.10).",
    ),
    # 3. Not about the recipient: these replies must not refuse recipients.
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
        why="There is no recipient yet: the exhausted quota is the account's.",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        enhanced=r"4\.5$",
        pause=PauseReason.QUOTA,
        why="Gmail and others send 550 5.4.5 when the daily quota is used up.",
    ),
    Rule(
        stages=_SENDING,
        codes="",
        topics=_about(Topic.TLS),
        pause=PauseReason.NO_TLS,
        why="The server requires STARTTLS first (RFC 3207, 4); Exchange sends 451 5.7.3.",
    ),
    Rule(
        stages=_SENDING,
        codes="530",
        pause=PauseReason.NO_AUTH,
        why="The server requires authentication first (RFC 4954, 6).",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        topics=_about(Topic.AUTHENTICATION, Topic.RELAYING),
        pause=PauseReason.NO_AUTH,
        why="It relays only after sign-in, or not for this account: it would refuse every recipient.",
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
        why="The server blocks the client's address or name; Postfix does so at RCPT (smtpd_delay_reject).",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        enhanced=r"1\.[78]$",
        unless="recipient address rejected",
        pause=PauseReason.SENDER,
        why="5.1.7 and 5.1.8 concern the sender's address in any stage (RFC 3463, 3.2).",
    ),
    Rule(
        stages=_SENDING,
        codes="5",
        topics=_about(Topic.SENDER, Topic.ACCOUNT),
        pause=PauseReason.SENDER,
        why="Postfix refuses a sender at RCPT, Exchange only after the message; others block the account.",
    ),
    # 4. Temporary.
    Rule(
        stages=_stages(Stage.RCPT, Stage.DATA, Stage.BODY, Stage.MESSAGE),
        codes="4",
        topics=_about(Topic.MAILBOX_FULL, Topic.SOME_QUOTA, Topic.RECIPIENT_RATE),
        why="This recipient's mailbox is full, or receives too much: others may be fine.",
    ),
    Rule(
        stages=_SENDING,
        codes="4",
        topics=_about(Topic.QUOTA),
        slows_down=True,
        why="Too much or too fast, whatever the enhanced code: also 450 4.2.1.",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="4",
        topics=_about(Topic.IDLE),
        why="The connection was idle for too long, which does not concern the rate.",
    ),
    # 5. MAIL: the sender, the size, the rate.
    Rule(
        stages=_stages(Stage.MAIL),
        codes="4",
        slows_down=True,
        why="450 and 452 to MAIL concern rate or storage (RFC 5321, 4.2.3).",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        topics=_about(Topic.SIZE),
        state=State.REFUSED,
        why="The message is larger than the server accepts, whatever the code.",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="552",
        state=State.REFUSED,
        why="The message is larger than the server accepts (RFC 1870, 6.1).",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        enhanced=r"(3\.4|6\.7)$",
        state=State.REFUSED,
        why="5.3.4: the message is too large; 5.6.7: the server can't handle a non-ASCII address (RFC 6531, 3.7.4).",
    ),
    Rule(
        stages=_stages(Stage.MAIL),
        codes="5",
        pause=PauseReason.SENDER,
        why="The sender address is refused: no recipient is the cause.",
    ),
    # 6. RCPT: this recipient, unless the text concerns the rate.
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
        why="5.2.3: larger than this mailbox accepts.",
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
        why="552 to RCPT means what 452 means: storage or number, temporary (RFC 5321, 4.5.3.1.10).",
    ),
    Rule(stages=_stages(Stage.RCPT), codes="5", state=State.REFUSED, why="The server does not accept this recipient."),
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
        why="The server does not accept this message.",
    ),
    Rule(stages=_stages(Stage.MESSAGE), codes="2", state=State.ACCEPTED, why="The server is responsible for it now."),
)


def find_rule(stage: Stage, reply: Reply) -> Rule | None:
    """Return the rule that decides, or `None` if the reply makes no sense in that stage."""
    topic = topic_of(reply)
    return next((rule for rule in RULES if rule.fits(stage, reply, topic)), None)
