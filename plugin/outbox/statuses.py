"""The status of each invitation, for hooks, pages and exports. Read only, without texts for people."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, func, select
from sqlalchemy.orm import Session

from own_smtp.hooks.events import InvitationStatus, StatusFilter
from own_smtp.messages.compiler import message_id
from own_smtp.outbox.query import CHUNK, LogScope, Position, batches, conditions, walk
from own_smtp.states import State
from own_smtp.storage.models import Attempt, Batch, Invitation

COLUMNS = ("id", "batch_id", "reference", "address", "state", "changed_at", "next_attempt_at", "attempts", "route")


def with_last_attempt() -> Select[Any]:
    """Return the query for invitations with their batch and their last attempt, if there is one."""
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


def statuses_of_project(tenant_id: str, project_id: str) -> Select[Any]:
    """Return the query for the invitations of one project."""
    return with_last_attempt().where(Batch.tenant_id == tenant_id, Batch.project_id == project_id)


def statuses_by_id(where: Connection | Session, invitation_ids: Sequence[int]) -> Iterator[InvitationStatus]:
    """Yield the statuses of these invitations, in the order of their ids."""
    for ids in chunks(sorted(invitation_ids)):
        query = with_last_attempt().where(Invitation.id.in_(ids)).order_by(Invitation.id)
        yield from map(_status, where.execute(query).mappings().all())


def invitation_statuses(
    where: Connection | Session,
    tenant_id: str,
    project_id: str,
    references: Sequence[str] | None = None,
    wanted: StatusFilter | None = None,
) -> Iterator[InvitationStatus]:
    """Yield the statuses of the project's invitations, newest batch first, read in chunks.

    `references` restricts the result; `None` means all. `wanted` restricts it further, and sets order and starting
    point. Raises `ValueError` for an invalid position or reply.
    """
    scope, narrowed = LogScope(tenant_id=tenant_id, project_ids=frozenset({project_id})), wanted or StatusFilter()
    if references is not None:
        yield from islice(_among(where, scope, narrowed, references), narrowed.limit)
        return
    positions = islice(walk(where, scope, narrowed), narrowed.limit)
    while chunk := list(islice(positions, CHUNK)):
        yield from statuses_at(where, [position.id for position in chunk])


def _among(
    where: Connection | Session, scope: LogScope, wanted: StatusFilter, references: Sequence[str]
) -> Iterator[InvitationStatus]:
    """Yield the statuses of invitations with these references, searched in each batch."""
    if wanted.after:
        raise ValueError("References can't be combined with paging: pass the references of one page.")
    for batch_id in batches(where, scope, wanted):
        query = with_last_attempt().where(Invitation.batch_id == batch_id, *conditions(wanted))
        for chunk in chunks(references):
            rows = where.execute(query.where(Invitation.reference.in_(chunk)).order_by(Invitation.id)).mappings()
            yield from map(_status, rows.all())


def statuses_at(where: Connection | Session, ids: Sequence[int]) -> Iterator[InvitationStatus]:
    """Return the statuses of these invitations, in the order of `ids`."""
    rows = {row["id"]: row for row in where.execute(with_last_attempt().where(Invitation.id.in_(ids))).mappings()}
    return (_status(rows[id_]) for id_ in ids if id_ in rows)


def chunks(items: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """Split items into chunks for one statement each."""
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
        position=str(Position(row["batch_id"], row["next_attempt_at"], row["id"])),
    )
