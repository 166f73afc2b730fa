"""Tells the host which invitations changed their state: in batches, after the commit, again after a failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select

from own_smtp import ledger
from own_smtp.clock import read_clock
from own_smtp.hooks.events import InvitationStatus
from own_smtp.models import Invitation
from own_smtp.states import State
from own_smtp.statuses import statuses_by_id
from own_smtp.surroundings import Surroundings

OVERDUE = timedelta(seconds=30)
"""After this a change that its drain did not tell is told by the dispatcher."""
AT_A_TIME = 1000


def tell(around: Surroundings, changes: Sequence[InvitationStatus]) -> bool:
    """Tell the host, and note it when the host could take it. Returns whether it could."""
    with around.context():
        if not around.listener.invitations_changed(changes):
            return False
    ids: dict[State, list[int]] = defaultdict(list)
    for change in changes:
        ids[change.state].append(change.invitation_id)
    with around.engine.begin() as connection:
        ledger.mark_told(connection, ids)
    return True


def tell_overdue(around: Surroundings) -> int:
    """Tell the host what it should have heard long ago: drains die, and hosts raise. Returns how many."""
    if not around.listener.wants_changes:
        return 0
    with around.engine.connect() as connection:
        before = read_clock(connection) - OVERDUE
        ids = connection.scalars(
            select(Invitation.id)
            .where(Invitation.untold_since < before)
            .order_by(Invitation.untold_since)
            .limit(AT_A_TIME)
        ).all()
        changes = list(statuses_by_id(connection, ids))
    return len(changes) if changes and tell(around, changes) else 0
