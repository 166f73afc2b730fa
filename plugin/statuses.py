"""What is known of each invitation, read only, without a text in it: for hooks, pages and exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, func, select
from sqlalchemy.orm import Session

from own_smtp.hooks.events import InvitationStatus
from own_smtp.messages import message_id
from own_smtp.models import Attempt, Batch, Invitation
from own_smtp.states import State

CHUNK = 500
"""Invitations read at a time where all of them are."""

COLUMNS = ("id", "batch_id", "reference", "address", "state", "changed_at", "attempts", "route")


def with_last_attempt() -> Select[Any]:
    """Return the query for invitations with their batch and, where there is one, their last attempt."""
    last = (
        select(func.max(Attempt.id))
        .where(Attempt.invitation_id == Invitation.id)
        .correlate(Invitation)
        .scalar_subquery()
    )
    return (
        select(
            *(getattr(Invitation, name) for name in COLUMNS),
            Batch.tenant_id,
            Batch.project_id,
            Batch.message_key,
            Batch.message_domain,
            Attempt.stage,
            Attempt.code,
            Attempt.enhanced,
            Attempt.text,
        )
        .join(Batch, Batch.id == Invitation.batch_id)
        .outerjoin(Attempt, and_(Attempt.invitation_id == Invitation.id, Attempt.id == last))
    )


def of_project(tenant_id: str, project_id: str) -> Select[Any]:
    """Return the query for the invitations of one project."""
    return with_last_attempt().where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)


def statuses_by_id(where: Connection | Session, invitation_ids: Sequence[int]) -> Iterator[InvitationStatus]:
    """Yield what is known of these invitations, in the order of their ids."""
    for ids in _chunks(sorted(invitation_ids)):
        query = with_last_attempt().where(Invitation.id.in_(ids)).order_by(Invitation.id)
        yield from map(_status, where.execute(query).mappings().all())


def invitation_statuses(
    where: Connection | Session, tenant_id: str, project_id: str, references: Sequence[str] | None = None
) -> Iterator[InvitationStatus]:
    """Yield what is known of the project's invitations, newest batch first, read in chunks.

    `references` narrows the answer; `None` means all.
    """
    batches = where.scalars(
        select(Batch.id).where(Batch.tenant_id == tenant_id, Batch.project_id == project_id).order_by(Batch.id.desc())
    ).all()
    for batch_id in batches:
        query = of_project(tenant_id, project_id).where(Invitation.batch_id == batch_id)
        for narrowed in _narrowed(query, references):
            yield from _stream(where, narrowed)


def _narrowed(query: Select[Any], references: Sequence[str] | None) -> Iterator[Select[Any]]:
    if references is None:
        yield query
    else:
        yield from (query.where(Invitation.reference.in_(chunk)) for chunk in _chunks(references))


def _stream(where: Connection | Session, query: Select[Any]) -> Iterator[InvitationStatus]:
    """Read by keyset: a project may hold a million invitations."""
    seen = 0
    ordered = query.order_by(Invitation.id).limit(CHUNK)
    while rows := where.execute(ordered.where(Invitation.id > seen)).mappings().all():
        yield from map(_status, rows)
        seen = rows[-1]["id"]


def _chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    return (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))


def _status(row: RowMapping) -> InvitationStatus:
    return InvitationStatus(
        tenant_id=row["tenant_id"],
        project_id=row["project_id"],
        batch_id=row["batch_id"],
        invitation_id=row["id"],
        reference=row["reference"],
        address=row["address"],
        state=State(row["state"]),
        changed_at=row["changed_at"],
        attempts=row["attempts"],
        message_id=message_id(row["message_key"], row["id"], row["message_domain"]),
        stage=row["stage"],
        reply_code=row["code"],
        enhanced_code=row["enhanced"],
        reply_text=row["text"],
        route=row["route"],
    )
