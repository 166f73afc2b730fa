"""Tells the host which invitations changed their state: in batches, after the commit, again after a failure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update

from own_smtp.hooks.events import InvitationStatus
from own_smtp.outbox import settlements
from own_smtp.outbox.claims import in_chunks
from own_smtp.outbox.statuses import statuses_by_id
from own_smtp.runtime import Runtime
from own_smtp.states import State
from own_smtp.storage.bulk import among
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Invitation

OVERDUE = timedelta(seconds=30)
"""After this a change that its drain did not tell is told by the dispatcher."""
AT_A_TIME = 1000
ROUNDS = 20
"""So often in one go."""


def notify_host(runtime: Runtime, changes: Sequence[InvitationStatus]) -> bool:
    """Tell the host, and return whether it could take it."""
    with runtime.context():
        return runtime.listener.invitations_changed(changes)


def note_notified(runtime: Runtime, changes: Sequence[InvitationStatus]) -> None:
    """Write down that the host knows."""
    ids: dict[State, list[int]] = defaultdict(list)
    for change in changes:
        ids[change.state].append(change.invitation_id)
    with runtime.engine.begin() as connection:
        settlements.mark_notified(connection, ids)


def notify_overdue_changes(runtime: Runtime) -> int:
    """Tell the host what it should have heard long ago: drains die, and hosts raise. Returns how many."""
    told = 0
    if runtime.listener.wants_changes:
        for _round in range(ROUNDS):
            changes = _take_overdue(runtime)
            if not changes or not notify_host(runtime, changes):
                break
            note_notified(runtime, changes)
            told += len(changes)
    return told


def _take_overdue(runtime: Runtime) -> list[InvitationStatus]:
    """Return the changes that wait longest, put off for all: neither other workers nor this one tell them meanwhile.

    A host that raises hears of the same ones again only after a while.
    """
    with runtime.engine.begin() as connection:
        now = read_clock(connection)
        overdue = select(Invitation.id).where(Invitation.untold_since < now - OVERDUE)
        oldest = overdue.order_by(Invitation.untold_since).limit(AT_A_TIME).with_for_update(skip_locked=True)
        taken = [
            invitation_id
            for some in in_chunks(connection.scalars(oldest).all())
            for invitation_id in _put_off(connection, some, now)
        ]
    with runtime.engine.connect() as connection:
        return list(statuses_by_id(connection, taken))


def _put_off(connection: Connection, ids: Sequence[int], now: datetime) -> Sequence[int]:
    connection.execute(
        update(Invitation)
        .where(among(connection, Invitation.id, ids), Invitation.untold_since < now - OVERDUE)
        .values(untold_since=now)
    )
    return connection.scalars(
        select(Invitation.id).where(among(connection, Invitation.id, ids), Invitation.untold_since == now)
    ).all()
