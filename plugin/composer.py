"""Turns claimed invitations into envelopes: each batch's content is read and compiled once per drain."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from own_smtp.contents import load_content, load_override
from own_smtp.errors import ContentError
from own_smtp.hooks.events import Attachment
from own_smtp.ledger import Claimed
from own_smtp.messages import CompiledContent, compile_content, compose_whole, message_id
from own_smtp.models import Batch, BatchFile
from own_smtp.profiles import Envelope, Identity, RelayProfile

MOST_KEPT = 50
"""Batches whose compiled content is kept at a time."""


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What the invitations of a batch share, compiled for one sender."""

    tenant_id: str
    project_id: str
    message_key: str
    message_domain: str
    expires_at: float | None
    """When the host gives up, in seconds since 1970."""
    compiled: CompiledContent | None
    """`None` when the content cannot become a message: `problem` says why."""
    problem: str = ""


class Composer:
    """Composes for one relay, without a database."""

    def __init__(self, profile: RelayProfile) -> None:
        self._profile = profile
        self._batches: dict[int, BatchInfo] = {}

    @property
    def known(self) -> frozenset[int]:
        """The batches that need not be read again."""
        return frozenset(self._batches)

    def learn(self, batches: Mapping[int, BatchInfo]) -> None:
        """Take what `read_batch` returned."""
        self._batches |= batches

    def forget(self, in_use: AbstractSet[int]) -> None:
        """Keep memory bounded: let go of batches that nothing is in hand of, those first that were learned first."""
        for batch_id in [key for key in self._batches if key not in in_use][: max(0, len(self._batches) - MOST_KEPT)]:
            del self._batches[batch_id]

    def batch(self, batch_id: int) -> BatchInfo:
        """Return what was learned."""
        return self._batches[batch_id]

    def compose(self, claimed: Claimed, date: str) -> Envelope:
        """Return the message in its envelope. Raises `ContentError` when it cannot be made."""
        batch = self._batches[claimed.batch_id]
        return Envelope(
            sender=self._profile.envelope_sender,
            recipient=claimed.address,
            data=self._data(claimed, batch, date),
            envelope_id=f"{batch.message_key}.{claimed.id}",
            invitation_id=claimed.id,
        )

    def _data(self, claimed: Claimed, batch: BatchInfo, date: str) -> bytes:
        identity = message_id(batch.message_key, claimed.id, batch.message_domain)
        compiled = batch.compiled
        if claimed.override is not None:
            own = load_override(claimed.override)
            if isinstance(own, bytes):
                return compose_whole(
                    own,
                    self._profile.identity,
                    address=claimed.address,
                    name=claimed.name,
                    message_id=identity,
                    date=date,
                )
            compiled = compile_content(own, self._profile.identity)
        if compiled is None:
            raise ContentError(batch.problem)
        return compiled.compose(
            address=claimed.address, name=claimed.name, values=claimed.values or {}, message_id=identity, date=date
        )


def read_batch(connection: Connection, batch_id: int, identity: Identity) -> BatchInfo:
    """Read what the invitations of a batch share, and compile its content for a sender."""
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
    return BatchInfo(
        tenant_id=row.tenant_id,
        project_id=row.project_id,
        message_key=row.message_key,
        message_domain=row.message_domain,
        expires_at=row.expires_at.timestamp() if row.expires_at else None,
        compiled=compiled,
        problem=problem,
    )


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
