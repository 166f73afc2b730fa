"""A relay's last replies, by which a drain continues the streak of refusals of the previous one."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, select

from own_smtp.outbox.values import LastAnswer
from own_smtp.states import Route, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Invitation

RECENT = timedelta(days=1)
"""The maximum age of these replies."""


def last_answers(connection: Connection, relay_id: int, most: int) -> list[LastAnswer]:
    """Return the relay's last acceptances and refusals within a day, the oldest first; `most` of them at most."""
    found = connection.execute(
        select(Invitation.address, Attempt.state, Attempt.code, Attempt.text)
        .join(Invitation, Invitation.id == Attempt.invitation_id)
        .where(
            Attempt.relay_id == relay_id,
            Attempt.at > read_clock(connection) - RECENT,
            Attempt.route == Route.RELAY,
            Attempt.state.in_((State.ACCEPTED, State.REFUSED)),
            Attempt.code.is_not(None),
        )
        .order_by(Attempt.at.desc(), Attempt.id.desc())
        .limit(most)
    )
    return [LastAnswer(address, State(state), code or 0, text) for address, state, code, text in reversed(found.all())]
