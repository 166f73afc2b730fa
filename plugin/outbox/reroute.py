"""Moves waiting invitations to another relay, or cancels them, for example before a relay is deleted.

Every function takes a connection inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, select, update

from own_smtp.errors import ConflictError, NotFoundError
from own_smtp.i18n import gettext
from own_smtp.outbox import actions
from own_smtp.outbox.leases import lock_leases
from own_smtp.states import UNFINISHED, WAITING, State
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.models import Batch, Invitation, Relay


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The waiting invitations concerned: those of a relay, of a project, or of one project at one relay."""

    tenant_id: str
    relay_id: int | None = None
    """`None` means all relays."""
    project_id: str | None = None
    """`None` means all projects."""

    def batches(self) -> list[ColumnElement[bool]]:
        """Return the conditions for their batches."""
        where = [Batch.tenant_id == self.tenant_id, Batch.state.in_(UNFINISHED)]
        if self.relay_id is not None:
            where.append(Batch.relay_id == self.relay_id)
        if self.project_id is not None:
            where.append(Batch.project_id == self.project_id)
        return where


def count_elsewhere(connection: Connection, scope: Scope, relay_id: int | None) -> int:
    """Return how many of them wait for relays other than `relay_id`; `None` counts all."""
    where = scope.batches()
    if relay_id is not None:
        where.append(Batch.relay_id != relay_id)
    return _count(connection, list(connection.scalars(select(Batch.id).where(*where))), WAITING)


def move_waiting(connection: Connection, scope: Scope, target_id: int, *, user_id: str) -> int:
    """Move waiting invitations to the tenant's relay `target_id`; return their number.

    Whole batches move, and keep their Message-IDs. Raises `ConflictError` while a drain is sending one of their
    invitations, because only that drain can settle it. Raises `NotFoundError` if there is no such target.
    """
    where = [*scope.batches(), Batch.relay_id != target_id]
    lock_leases(connection, [target_id, *_relays_of(connection, where)])
    _check_target(connection, scope.tenant_id, target_id)
    batches = list(connection.scalars(select(Batch.id).where(*where).order_by(Batch.id).with_for_update()))
    if _count(connection, batches, [State.SENDING]):
        raise ConflictError(
            gettext("Some of these invitations are being sent at this moment. Pause the server, then try again.")
        )
    moved = _count(connection, batches, [State.QUEUED])
    connection.execute(update(Batch).where(Batch.id.in_(batches)).values(relay_id=target_id))
    changes = {"invitations": (None, moved), "relay": (scope.relay_id, target_id)}
    _record(connection, AuditAction.INVITATIONS_MOVED, scope, user_id, changes)
    return moved


def cancel_waiting(connection: Connection, scope: Scope, *, user_id: str) -> int:
    """Cancel waiting invitations; return their number.

    Invitations that a drain has claimed are still sent; those that it could not send are cancelled afterwards.
    """
    where = scope.batches()
    lock_leases(connection, _relays_of(connection, where))
    batches = list(connection.scalars(select(Batch.id).where(*where).order_by(Batch.id)))
    cancelled = sum(actions.cancel_batch(connection, batch_id) for batch_id in batches)
    _record(connection, AuditAction.INVITATIONS_CANCELLED, scope, user_id, {"invitations": (None, cancelled)})
    return cancelled


def _check_target(connection: Connection, tenant_id: str, target_id: int) -> None:
    query = select(Relay.id).where(Relay.id == target_id, Relay.tenant_id == tenant_id, Relay.deleted_at.is_(None))
    # Locked, so that it is not deleted before the batches have moved.
    if connection.execute(query.with_for_update()).first() is None:
        raise NotFoundError(f"There is no relay {target_id}.")


def _relays_of(connection: Connection, where: list[ColumnElement[bool]]) -> list[int]:
    return list(connection.scalars(select(Batch.relay_id).where(*where).distinct()))


def _count(connection: Connection, batches: list[int], states: Iterable[State]) -> int:
    found = select(func.count()).where(Invitation.batch_id.in_(batches), Invitation.state.in_(list(states)))
    return connection.scalar(found) or 0


def _record(
    connection: Connection, action: AuditAction, scope: Scope, user_id: str, changes: dict[str, tuple[Any, Any]]
) -> None:
    audit.record(
        connection,
        action,
        tenant_id=scope.tenant_id,
        user_id=user_id,
        relay_id=scope.relay_id,
        project_id=scope.project_id,
        changes=changes,
    )
