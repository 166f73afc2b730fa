"""Turns claimed invitations into messages: each batch's content is read and compiled once per drain.

In two steps. What is personal is encoded where the database is read (`Addresser`); it is put into the rest, which may
be large, only when the message leaves (`Composer`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from own_smtp.contents import load_content, load_override
from own_smtp.errors import ContentError
from own_smtp.hooks.events import Attachment
from own_smtp.ledger import Claimed
from own_smtp.messages import CompiledContent, Frame, Personal, compile_content, compose_whole, message_id
from own_smtp.models import Batch, BatchFile
from own_smtp.profiles import Envelope, Identity, RelayProfile

MOST_KEPT = 50
"""Batches whose compiled content is kept at a time."""


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What the invitations of a batch share, but for the content."""

    tenant_id: str
    project_id: str
    message_key: str
    message_domain: str
    expires_at: float | None
    """When the host gives up, in seconds since 1970."""
    problem: str
    """Why the content cannot become a message; empty when it can."""

    def message_id(self, invitation_id: int) -> str:
        """Return the Message-ID, the same in every attempt."""
        return message_id(self.message_key, invitation_id, self.message_domain)


class Learned(NamedTuple):
    """What a composer must know of a batch."""

    info: BatchInfo
    frame: Frame | None
    """`None` when the content cannot become a message."""


class Letter(NamedTuple):
    """An invitation that may be sent now, with all that is personal in it."""

    id: int
    batch_id: int
    address: str
    attempts: int
    first_failure_at: datetime | None
    parts: list[bytes]
    """What `Personal.render` returned."""
    own: Claimed | None = None
    """The invitation itself when it has a content of its own: that is composed only when it leaves."""
    problem: str = ""
    """Why it cannot become a message."""


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

    def write(self, claimed: Claimed) -> Letter:
        """Encode what is personal in an invitation."""
        facts = (claimed.id, claimed.batch_id, claimed.address, claimed.attempts, claimed.first_failure_at)
        if claimed.override is not None:
            return Letter(*facts, [], own=claimed)
        info, personal = self._batches[claimed.batch_id]
        if personal is None:
            return Letter(*facts, [], problem=info.problem)
        identity, values = info.message_id(claimed.id), claimed.values or {}
        try:
            parts = personal.render(address=claimed.address, name=claimed.name, values=values, message_id=identity)
        except ContentError as error:
            return Letter(*facts, [], problem=str(error))
        return Letter(*facts, parts)


class Composer:
    """Composes for one relay, without a database."""

    def __init__(self, profile: RelayProfile) -> None:
        self._profile = profile
        self._batches: dict[int, Learned] = {}

    @property
    def known(self) -> frozenset[int]:
        """The batches that need not be read again."""
        return frozenset(self._batches)

    def learn(self, batches: Mapping[int, Learned]) -> None:
        """Take what an `Addresser` has read."""
        self._batches |= batches

    def forget(self, in_use: AbstractSet[int]) -> None:
        """Keep memory bounded: let go of batches that nothing is in hand of, those first that were learned first."""
        for batch_id in [key for key in self._batches if key not in in_use][: max(0, len(self._batches) - MOST_KEPT)]:
            del self._batches[batch_id]

    def batch(self, batch_id: int) -> BatchInfo:
        """Return what was learned."""
        return self._batches[batch_id].info

    def compose(self, letter: Letter, date: str) -> Envelope:
        """Return the message in its envelope. Raises `ContentError` when it cannot be made."""
        info, frame = self._batches[letter.batch_id]
        if letter.problem:
            raise ContentError(letter.problem)
        if letter.own is not None:
            data = self._compose_own(letter.own, info, date)
        elif frame is not None:
            data = frame.join(letter.parts, date)
        else:
            raise ContentError(info.problem)
        return Envelope(
            self._profile.envelope_sender, letter.address, data, f"{info.message_key}.{letter.id}", letter.id
        )

    def _compose_own(self, claimed: Claimed, info: BatchInfo, date: str) -> bytes:
        address, name, identity = claimed.address, claimed.name, info.message_id(claimed.id)
        own = load_override(claimed.override or {})
        if isinstance(own, bytes):
            return compose_whole(
                own, self._profile.identity, address=address, name=name, message_id=identity, date=date
            )
        compiled = compile_content(own, self._profile.identity)
        return compiled.compose(address=address, name=name, values=claimed.values or {}, message_id=identity, date=date)


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
