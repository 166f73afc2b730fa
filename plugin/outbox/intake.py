"""Adds a host's batch to the outbox: reads it once, in chunks, in the host's transaction. Nothing here commits."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from own_smtp.errors import ContentError, NotFoundError
from own_smtp.hooks.events import Attachment, InvitationBatch, LocalRefusal, Receipt
from own_smtp.hooks.events import Invitation as Invited
from own_smtp.messages.contents import store_content, store_name, store_override, store_values
from own_smtp.outbox.leases import inserted_id
from own_smtp.outbox.totals import open_counts
from own_smtp.smtp.addresses import domain_of, parse_address
from own_smtp.smtp.values import RelayProfile
from own_smtp.states import BatchState, Route, State
from own_smtp.storage.bulk import insert_or_pass
from own_smtp.storage.clock import read_clock
from own_smtp.storage.engine import begin_savepoint
from own_smtp.storage.models import Batch, BatchFile, Invitation, Relay

CHUNK = 1000
"""Invitations written at a time, so that memory stays flat."""

MAX_REFUSALS_SHOWN = 1000


@dataclass(slots=True)
class _Intake:
    """Reads a host's invitations once, in chunks, and counts those that are refused."""

    refused: list[LocalRefusal] = field(default_factory=list)
    refused_count: int = 0
    written_count: int = 0

    def rows(self, batch_id: int, invitations: Iterable[Invited], now: datetime) -> Iterator[list[dict[str, Any]]]:
        if not isinstance(invitations, Iterable):
            raise ContentError(f"`invitations` must be an iterable of Invitation, not {type(invitations).__name__}.")
        source = iter(invitations)
        while chunk := list(islice(source, CHUNK)):
            rows = [row for item in chunk if (row := self._row(batch_id, item, now)) is not None]
            self.written_count += len(rows)
            if rows:
                yield rows

    def _row(self, batch_id: int, item: Invited, now: datetime) -> dict[str, Any] | None:
        if not isinstance(item, Invited):
            raise ContentError(f"`invitations` must hold Invitation, not {type(item).__name__}.")
        try:
            return invitation_row(batch_id, item, now)
        except ContentError as error:
            self.refused_count += 1
            if len(self.refused) < MAX_REFUSALS_SHOWN:
                self.refused.append(LocalRefusal(reference=item.reference, address=item.address, reason=str(error)))
            return None


def invitation_row(batch_id: int, item: Invited, now: datetime) -> dict[str, Any]:
    """Return the columns of a new invitation. Raises `ContentError` if no server could deliver it."""
    return {
        "batch_id": batch_id,
        "reference": checked_id(item.reference),
        "address": parse_address(item.address),
        "name": store_name(item.name),
        "values": store_values(item.values) or None,
        "override": store_override(item),
        "state": State.QUEUED,
        "attempts": 0,
        "route": Route.RELAY,
        "changed_at": now,
        "next_attempt_at": now,
    }


def checked_id(text: object, what: str = "A reference", longest: int = 255) -> str:
    """Return a host's id, or raise `ContentError` if it is ambiguous (such as outer spaces) or can't be stored."""
    if not isinstance(text, str):
        raise ContentError(f"{what} must be text, not {type(text).__name__}.")
    if not text or len(text) > longest or text != text.strip():
        raise ContentError(f"{what} must have 1 to {longest} characters and no white space around it.")
    if not text.isprintable():
        raise ContentError(f"{what} must not contain control characters or halves of characters (lone surrogates).")
    return text


def checked_moment(moment: object, what: str) -> datetime | None:
    """Return a host's time, or raise `ContentError` if it has no time zone."""
    if moment is None:
        return None
    if not isinstance(moment, datetime):
        raise ContentError(f"{what} must be a datetime with a time zone, not {type(moment).__name__}.")
    if moment.utcoffset() is None:
        raise ContentError(f"{what} must have a time zone, as `datetime.now(UTC)` has.")
    return moment


def add(
    connection: Connection,
    batch: InvitationBatch,
    profile: RelayProfile,
    *,
    fallback_after: int | None,
    is_urgent: bool = False,
) -> Receipt:
    """Add a batch and its invitations to the outbox.

    Invitations with the same reference are added once; a repeated idempotency key adds nothing. Raises `ContentError`
    if the content cannot become a message, or an id cannot be stored. After any exception, also one of the host's
    generator, nothing of the batch is left: half of it must not be sent if the host commits nevertheless. An urgent
    batch is sent before the relay's other batches. Raises `NotFoundError` if the relay was deleted meanwhile; it cannot
    be deleted until the host's transaction ends.
    """
    stored, files = store_content(batch.content)
    columns = _batch_columns(batch, profile, stored, _fallback_at(connection, fallback_after))
    columns["is_urgent"] = is_urgent
    with begin_savepoint(connection):
        return _add(connection, batch, columns, files)


def _add(connection: Connection, batch: InvitationBatch, columns: dict[str, Any], files: list[Attachment]) -> Receipt:
    if not hold_relay(connection, columns["relay_id"]):
        raise NotFoundError(f"There is no relay {columns['relay_id']}.")
    kept = _insert_batch(connection, columns)
    if kept.message_key != columns["message_key"]:
        return Receipt(batch_id=kept.id, taken=kept.taken_count, refused_count=kept.refused_count, repeated=True)
    open_counts(connection, kept.id)
    _insert_files(connection, kept.id, files)
    intake = _Intake()
    now = read_clock(connection)
    statement = insert_or_pass(connection, Invitation, ["batch_id", "reference"])
    for rows in intake.rows(kept.id, batch.invitations, now):
        connection.execute(statement, rows)
    return _close_intake(connection, kept.id, intake)


def hold_relay(connection: Connection, relay_id: int) -> bool:
    """Prevent a relay from being deleted until the transaction ends. `False` if it was deleted already.

    The lock is that of a foreign key: in PostgreSQL only the deletion waits for it (see
    `own_smtp.relays.edits.delete`), other changes do not. In SQLite the transaction itself is the lock.
    """
    there = select(Relay.id).where(Relay.id == relay_id, Relay.deleted_at.is_(None))
    return connection.execute(there.with_for_update(read=True, key_share=True)).first() is not None


def _fallback_at(connection: Connection, fallback_after: int | None) -> datetime | None:
    return None if fallback_after is None else read_clock(connection) + timedelta(seconds=fallback_after)


def _batch_columns(
    batch: InvitationBatch, profile: RelayProfile, stored: dict[str, Any], fallback_at: datetime | None
) -> dict[str, Any]:
    key, created_by = batch.idempotency_key, batch.created_by
    return {
        "tenant_id": checked_id(batch.tenant_id, "A tenant's id"),
        "project_id": checked_id(batch.project_id, "A project's id"),
        "relay_id": profile.relay_id,
        "kind": checked_id(batch.kind, "A batch's kind", 40),
        "idempotency_key": None if key is None else checked_id(key, "An idempotency key"),
        "content": stored,
        "message_key": secrets.token_hex(12),
        "message_domain": domain_of(profile.identity.address),
        "fallback_at": fallback_at,
        "expires_at": checked_moment(batch.expires_at, "`expires_at`"),
        "created_by": None if created_by is None else checked_id(created_by, "A user's id"),
    }


def _insert_batch(connection: Connection, columns: dict[str, Any]) -> Any:
    """Return the new batch, or an existing one with the same idempotency key; `message_key` distinguishes them."""
    kept = select(Batch.id, Batch.message_key, Batch.taken_count, Batch.refused_count)
    if columns["idempotency_key"] is None:
        batch_id = inserted_id(connection, insert(Batch).values(**columns))
        return connection.execute(kept.where(Batch.id == batch_id)).one()
    keys = ("tenant_id", "project_id", "idempotency_key")
    connection.execute(insert_or_pass(connection, Batch, keys).values(**columns))
    same = (getattr(Batch, name) == columns[name] for name in keys)
    # Locked, because MariaDB would otherwise show the table as it was when the host's transaction began.
    return connection.execute(kept.where(*same).with_for_update()).one()


def _insert_files(connection: Connection, batch_id: int, files: list[Attachment]) -> None:
    rows = [
        {
            "batch_id": batch_id,
            "filename": file.filename,
            "content_type": file.content_type,
            "content_id": file.content_id,
            "data": file.data,
        }
        for file in files
    ]
    if rows:
        connection.execute(insert(BatchFile), rows)


def _close_intake(connection: Connection, batch_id: int, intake: _Intake) -> Receipt:
    # Counted in the table: databases do not report skipped duplicates in a common way.
    taken = connection.execute(
        select(func.count()).select_from(Invitation).where(Invitation.batch_id == batch_id)
    ).scalar_one()
    state = BatchState.OPEN if taken else BatchState.DONE
    connection.execute(
        update(Batch)
        .where(Batch.id == batch_id)
        .values(taken_count=taken, refused_count=intake.refused_count, state=state)
    )
    return Receipt(
        batch_id=batch_id,
        taken=taken,
        refused=tuple(intake.refused),
        refused_count=intake.refused_count,
        passed_over=intake.written_count - taken,
    )
