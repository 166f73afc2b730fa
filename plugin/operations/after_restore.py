"""Repair after a restored backup: invitations that are waiting in it may have been sent since.

Run it only while no worker runs. The platform cannot know what was sent, so those become `unknown`, and a person
decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, Engine, delete, insert, literal, select, update

from own_smtp.outbox.leases import lock_leases
from own_smtp.outbox.totals import move
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.states import UNFINISHED, WAITING, BatchState, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, Invitation, Journal, Lease

RESTORED = "The platform's database was restored from a backup: it may have been sent since that was made."


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkedUnknown:
    """Numbers of what a restore put in doubt."""

    batches: int
    invitations: int


def mark_waiting_unknown(engine: Engine) -> MarkedUnknown:
    """Mark all waiting invitations `unknown`, finish their batches, and release the leases of dead drains.

    Each batch is a transaction: after an error, call it again.
    """
    with engine.begin() as connection:
        connection.execute(delete(Journal))
        connection.execute(update(Lease).values(token=0, owner=None, expires_at=None))
    with engine.connect() as connection:
        waiting = select(Invitation.batch_id).where(Invitation.state.in_(WAITING)).distinct()
        batches = connection.execute(
            select(Batch.id, Batch.relay_id)
            .where(Batch.state.in_(UNFINISHED) | Batch.id.in_(waiting))
            .order_by(Batch.id)
        ).all()
    doubted = 0
    for batch in batches:
        with engine.begin() as connection:
            lock_leases(connection, [batch.relay_id])
            doubted += _mark_batch(connection, batch.id, batch.relay_id)
    return MarkedUnknown(batches=len(batches), invitations=doubted)


def _mark_batch(connection: Connection, batch_id: int, relay_id: int) -> int:
    now = read_clock(connection)
    columns = {"relay_id": relay_id, "at": now, "state": State.UNKNOWN, "stage": Stage.MESSAGE, "text": RESTORED}
    constants = (literal(value, Attempt.__table__.c[name].type) for name, value in columns.items())
    waits = (Invitation.batch_id == batch_id, Invitation.state.in_(WAITING))
    rows = select(Invitation.id, Invitation.route, *constants).where(*waits)
    connection.execute(insert(Attempt).from_select(["invitation_id", "route", *columns], rows))
    doubted = connection.execute(
        update(Invitation).where(*waits).values(state=State.UNKNOWN, token=None, changed_at=now, untold_since=now)
    ).rowcount
    move(connection, batch_id, {State.UNKNOWN: doubted})
    connection.execute(
        update(Batch).where(Batch.id == batch_id, Batch.state.in_(UNFINISHED)).values(state=BatchState.DONE)
    )
    return doubted
