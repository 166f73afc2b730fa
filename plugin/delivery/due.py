"""Which relays have something that may be sent now, and nobody who sends it."""

from __future__ import annotations

from sqlalchemy import exists, or_, select

from own_smtp.runtime import Runtime
from own_smtp.states import BatchState, RelayState, Route, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Batch, Invitation, Lease, Relay


def find_due(runtime: Runtime, most: int) -> list[int]:
    """Return relays with invitations that may be sent now and that nobody drains, those served longest ago first."""
    with runtime.engine.connect() as connection:
        now = read_clock(connection)
        due = exists().where(
            Batch.relay_id == Relay.id,
            Batch.state == BatchState.OPEN,
            Invitation.batch_id == Batch.id,
            Invitation.state == State.QUEUED,
            Invitation.next_attempt_at <= now,
        )
        free = or_(Lease.expires_at.is_(None), Lease.expires_at < now)
        rested = or_(Lease.wake_at.is_(None), Lease.wake_at <= now)
        return list(
            connection.scalars(
                select(Relay.id)
                .outerjoin(Lease, Lease.relay_id == Relay.id)
                .where(Relay.state == RelayState.ACTIVE, Relay.deleted_at.is_(None), free, rested, due)
                .order_by(Lease.drained_at.is_not(None), Lease.drained_at, Relay.id)
                .limit(most)
            )
        )


def find_fallbacks(runtime: Runtime, most: int) -> list[int]:
    """Return relays with invitations that are left to the platform's own mail by now and that nobody drains."""
    with runtime.engine.connect() as connection:
        now = read_clock(connection)
        waiting = exists().where(
            Invitation.batch_id == Batch.id,
            Invitation.state == State.QUEUED,
            or_(Invitation.route != Route.PLATFORM, Invitation.next_attempt_at <= now),
        )
        free = or_(Lease.expires_at.is_(None), Lease.expires_at < now)
        return list(
            connection.scalars(
                select(Batch.relay_id)
                .distinct()
                .outerjoin(Lease, Lease.relay_id == Batch.relay_id)
                .where(Batch.fallback_at <= now, Batch.state == BatchState.OPEN, free, waiting)
                .limit(most)
            )
        )
