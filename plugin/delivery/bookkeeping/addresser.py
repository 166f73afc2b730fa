"""Reads what a drain must know of its batches, and addresses each invitation."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from typing import Any

from sqlalchemy import Connection, select

from own_smtp.delivery.contract import AddressedInvitation, BatchInfo, Learned
from own_smtp.errors import ContentError
from own_smtp.hooks.events import Attachment
from own_smtp.messages.compiler import CompiledContent, Personal, compile_content
from own_smtp.messages.contents import load_content
from own_smtp.outbox.values import Claimed
from own_smtp.smtp.values import Identity, RelayProfile
from own_smtp.storage.models import Batch, BatchFile


class Addresser:
    """Reads batches and encodes what is personal, for one relay. Needs the database."""

    def __init__(self, profile: RelayProfile) -> None:
        self._identity = profile.identity
        self._batches: dict[int, tuple[BatchInfo, Personal | None]] = {}

    def info(self, batch_id: int) -> BatchInfo:
        """Return what is known of a batch."""
        return self._batches[batch_id][0]

    def learn(self, connection: Connection, batches: Iterable[int]) -> dict[int, Learned]:
        """Read these batches."""
        learned = {}
        for batch_id in batches:
            info, compiled = _read(connection, batch_id, self._identity)
            self._batches[batch_id] = (info, compiled.personal if compiled else None)
            learned[batch_id] = Learned(info, compiled.frame if compiled else None)
        return learned

    def forget(self, in_use: AbstractSet[int]) -> None:
        """Let go of all other batches."""
        self._batches = {key: batch for key, batch in self._batches.items() if key in in_use}

    def write(self, claimed: Claimed) -> AddressedInvitation:
        """Encode what is personal in an invitation."""
        facts = (claimed.id, claimed.batch_id, claimed.address, claimed.attempts, claimed.first_failure_at)
        if claimed.override is not None:
            return AddressedInvitation(*facts, [], own=claimed)
        info, personal = self._batches[claimed.batch_id]
        if personal is None:
            return AddressedInvitation(*facts, [], problem=info.problem)
        identity, values = info.message_id(claimed.id), claimed.values or {}
        try:
            parts = personal.render(address=claimed.address, name=claimed.name, values=values, message_id=identity)
        except ContentError as error:
            return AddressedInvitation(*facts, [], problem=str(error))
        return AddressedInvitation(*facts, parts)


def _read(connection: Connection, batch_id: int, identity: Identity) -> tuple[BatchInfo, CompiledContent | None]:
    row = connection.execute(
        select(
            Batch.tenant_id,
            Batch.project_id,
            Batch.message_key,
            Batch.message_domain,
            Batch.expires_at,
            Batch.content,
        ).where(Batch.id == batch_id)
    ).one()
    compiled, problem = _compile(connection, batch_id, row.content, identity)
    info = BatchInfo(
        tenant_id=row.tenant_id,
        project_id=row.project_id,
        message_key=row.message_key,
        message_domain=row.message_domain,
        expires_at=row.expires_at.timestamp() if row.expires_at else None,
        problem=problem,
    )
    return info, compiled


def _compile(
    connection: Connection, batch_id: int, stored: dict[str, Any] | None, identity: Identity
) -> tuple[CompiledContent | None, str]:
    if stored is None:
        return None, "The content of this send was deleted after its retention."
    try:
        return compile_content(load_content(stored, _files(connection, batch_id)), identity), ""
    except ContentError as error:
        return None, str(error)


def _files(connection: Connection, batch_id: int) -> list[Attachment]:
    rows = connection.execute(
        select(BatchFile.filename, BatchFile.content_type, BatchFile.data, BatchFile.content_id)
        .where(BatchFile.batch_id == batch_id)
        .order_by(BatchFile.id)
    )
    return [
        Attachment(filename=row.filename, content_type=row.content_type, data=row.data, content_id=row.content_id)
        for row in rows
    ]
