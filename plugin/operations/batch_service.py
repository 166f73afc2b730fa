"""Acts on a batch: pause, resume, cancel and send again, with an audit entry and a drain enqueued."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from own_smtp.current import Extension
from own_smtp.errors import NotFoundError
from own_smtp.operations.acts import Acting, act
from own_smtp.outbox import actions, bulk_actions
from own_smtp.outbox.bulk_actions import Deed, Done, Selection
from own_smtp.states import State
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.models import Batch


def tenant_of(extension: Extension, batch_id: int) -> str:
    """Return the batch's tenant, for callers that may act on every tenant. Raises `NotFoundError`."""
    tenant_id = extension.db.session().scalar(select(Batch.tenant_id).where(Batch.id == batch_id))
    if tenant_id is None:
        raise NotFoundError(f"There is no batch {batch_id}.")
    return tenant_id


def pause(extension: Extension, acting: Acting, batch_id: int) -> None:
    """Pause a batch; its waiting invitations stay queued. Raises `ConflictError` when it is not being sent."""
    _act(extension, acting, batch_id, AuditAction.BATCH_PAUSED, change=actions.pause_batch)


def resume(extension: Extension, acting: Acting, batch_id: int) -> None:
    """Resume a paused batch. Raises `ConflictError` when it is not paused."""
    _act(extension, acting, batch_id, AuditAction.BATCH_RESUMED, change=actions.resume_batch)


def cancel(extension: Extension, acting: Acting, batch_id: int) -> int:
    """Cancel a batch's waiting invitations; return their number."""
    return _act(extension, acting, batch_id, AuditAction.BATCH_CANCELLED, change=actions.cancel_batch) or 0


def retry(extension: Extension, acting: Acting, batch_id: int, states: Sequence[State]) -> int:
    """Queue the invitations in these final states again; return their number. Raises `ConflictError`.

    For `unknown` the caller must have warned a person that copies may arrive.
    """

    def queue_again(connection: Connection, batch_id: int) -> int:
        return actions.retry(connection, batch_id, states)

    details = {"states": (None, sorted(states))}
    return _act(extension, acting, batch_id, AuditAction.BATCH_RETRIED, change=queue_again, details=details) or 0


def perform(extension: Extension, acting: Acting, deed: Deed, chosen: Selection) -> Done:
    """Apply a bulk action to selected invitations of several batches. See `own_smtp.outbox.bulk_actions.perform`."""
    with act(extension, acting.tenant_id) as session:
        done = bulk_actions.perform(session.connection(), deed, chosen, user_id=acting.user_id)
    for relay_id in done.relay_ids:
        extension.enqueue_drain(relay_id)
    return done


def _act(
    extension: Extension,
    acting: Acting,
    batch_id: int,
    action: AuditAction,
    *,
    change: Callable[[Connection, int], int | None],
    details: dict[str, tuple[Any, Any]] | None = None,
) -> int | None:
    with act(extension, acting.tenant_id) as session:
        number = change(session.connection(), batch_id)
        query = select(Batch.relay_id, Batch.project_id, Batch.tenant_id).where(Batch.id == batch_id)
        batch = session.execute(query).one()
        if batch.tenant_id != acting.tenant_id:
            raise NotFoundError(f"There is no batch {batch_id}.")
        counted = {} if number is None else {"invitations": (None, number)}
        audit.record(
            session,
            action,
            tenant_id=acting.tenant_id,
            user_id=acting.user_id,
            relay_id=batch.relay_id,
            project_id=batch.project_id,
            changes={"batch": (None, batch_id), **counted, **(details or {})},
        )
    extension.enqueue_drain(batch.relay_id)
    return number
