"""The brake on a relay that refuses everybody, as the drain before left it."""

from __future__ import annotations

from own_smtp.delivery.contract import Opened
from own_smtp.delivery.sending.send_queue import Ended
from own_smtp.smtp.replies.refusal_streak import RefusalStreak, said_key
from own_smtp.smtp.values import Outcome, Reply, Stage


def streak_of(opened: Opened) -> RefusalStreak[Ended]:
    """Return the streak of refusals so far: a drain with a slow pace may send a single message in its time."""
    streak: RefusalStreak[Ended] = RefusalStreak(opened.settings.refusals_in_a_row, said_key(opened.accepted_refusal))
    for answer in opened.last_answers:
        reply = Reply(code=answer.code, text=answer.words)
        streak.recall(answer.recipient, Outcome(state=answer.state, stage=Stage.MESSAGE, reply=reply))
    return streak
