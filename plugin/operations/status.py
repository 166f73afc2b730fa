"""Status of the platform for operators: relays, waiting invitations, drains, leftovers of crashed ones. Read only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, case, func, select

from own_smtp.states import UNFINISHED, WAITING, RelayState, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Batch, Invitation, Journal, Lease, Relay


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayStatus:
    """One relay with work or a problem."""

    relay_id: int
    tenant_id: str
    label: str
    state: str
    pause_reason: str | None
    queued: int
    sending: int
    waiting_since: datetime | None
    """Time of the oldest batch with waiting invitations."""
    drained_by: str | None
    """The machine that drains it now."""
    wake_at: datetime | None
    failures: int
    last_error: str | None

    @property
    def needs_attention(self) -> bool:
        """Whether invitations wait for a person's help."""
        return bool(self.queued + self.sending) and (self.state != RelayState.ACTIVE or self.failures > 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformStatus:
    """The whole platform at one moment, by the database's clock."""

    at: datetime
    relays: list[RelayStatus]
    open_journals: int
    """Running drains, and crashed ones that are not recovered yet."""
    untold: int
    """Status changes that the host has not received yet."""


_RELAY = (Relay.id, Relay.tenant_id, Relay.label, Relay.state, Relay.pause_reason)


def read_status(connection: Connection) -> PlatformStatus:
    """Return the platform's status. Waiting invitations are counted by index, however many were sent before."""
    now = read_clock(connection)
    counts = {row.relay_id: row for row in _count_waiting(connection)}
    rows = connection.execute(
        select(*_RELAY, Lease.owner, Lease.expires_at, Lease.wake_at, Lease.failures, Lease.last_error)
        .outerjoin(Lease, Lease.relay_id == Relay.id)
        .where(Relay.deleted_at.is_(None))
        .order_by(Relay.id)
    )
    return PlatformStatus(
        at=now,
        relays=[_relay_status(row, counts.get(row.id), now) for row in rows],
        open_journals=connection.scalars(select(func.count()).select_from(Journal)).one(),
        untold=connection.scalars(
            select(func.count()).select_from(Invitation).where(Invitation.untold_since.is_not(None))
        ).one(),
    )


def _count_waiting(connection: Connection) -> Iterable[Row[Any]]:
    is_queued = Invitation.state == State.QUEUED
    return connection.execute(
        select(
            Batch.relay_id,
            func.sum(case((is_queued, 1), else_=0)).label("queued"),
            func.sum(case((is_queued, 0), else_=1)).label("sending"),
            func.min(Batch.created_at).label("since"),
        )
        .join(Invitation, Invitation.batch_id == Batch.id)
        .where(Batch.state.in_(UNFINISHED), Invitation.state.in_(WAITING))
        .group_by(Batch.relay_id)
    ).all()


def _relay_status(row: Any, waiting: Row[Any] | None, now: datetime) -> RelayStatus:
    is_drained = row.expires_at is not None and row.expires_at > now
    return RelayStatus(
        relay_id=row.id,
        tenant_id=row.tenant_id,
        label=row.label,
        state=row.state,
        pause_reason=row.pause_reason,
        queued=int(waiting.queued) if waiting else 0,
        sending=int(waiting.sending) if waiting else 0,
        waiting_since=waiting.since if waiting else None,
        drained_by=row.owner if is_drained else None,
        wake_at=row.wake_at,
        failures=row.failures or 0,
        last_error=row.last_error,
    )
