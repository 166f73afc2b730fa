"""Turns claimed invitations into messages: each batch's content is read and compiled once per drain.

In two steps. What is personal is encoded where the database is read (`Addresser`); it is put into the rest, which may
be large, only when the message leaves (`Composer`).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from own_smtp.delivery.contract import AddressedInvitation, BatchInfo, Learned
from own_smtp.errors import ContentError
from own_smtp.messages.compiler import compile_content, compose_whole
from own_smtp.messages.contents import load_override
from own_smtp.outbox.values import Claimed
from own_smtp.smtp.values import Envelope, RelayProfile

MOST_KEPT = 50
"""Batches whose compiled content is kept at a time."""


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

    def compose(self, letter: AddressedInvitation, date: str) -> Envelope:
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
