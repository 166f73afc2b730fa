"""Encryption keys in use, and re-encryption of stored secrets with the first key."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, select, update

from own_smtp.errors import SecretError
from own_smtp.relays.dry_runs import SETTINGS_FIELD
from own_smtp.relays.store import PASSWORD_FIELD
from own_smtp.storage.encryption import Vault, key_id_of
from own_smtp.storage.models import Relay, RelayTest, Shortened

AT_A_TIME = 100
"""How many secrets are re-encrypted in one transaction."""


@dataclass(frozen=True, slots=True)
class KeyUse:
    """One key, and how many secrets need it."""

    key_id: str
    secrets: int
    is_configured: bool
    is_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeysInUse:
    """The keys that stored secrets need."""

    keys: tuple[KeyUse, ...]
    """The configured keys in their order, then the missing ones."""
    damaged: int
    """Secrets in an unknown format: no key decrypts them."""
    are_recipients_hashed: bool
    """Whether there are shortened recipients. Their keyed hashes do not tell which key made them, and cannot be made
    anew.
    """

    @property
    def old(self) -> int:
        """How many secrets need a configured key other than the first."""
        return sum(key.secrets for key in self.keys if key.is_configured and not key.is_first)

    @property
    def lost(self) -> int:
        """How many secrets no configured key can decrypt."""
        return self.damaged + sum(key.secrets for key in self.keys if not key.is_configured)


@dataclass(frozen=True, slots=True)
class _Place:
    """A column with secrets, and the field name that they are bound to."""

    model: Any
    name: str
    field: str

    @property
    def column(self) -> Any:
        return getattr(self.model, self.name)


_PLACES = (_Place(Relay, "password", PASSWORD_FIELD), _Place(RelayTest, "settings", SETTINGS_FIELD))
"""All columns with secrets."""


def keys_in_use(connection: Connection, vault: Vault) -> KeysInUse:
    """Count the secrets by the key that encrypted them. Nothing is decrypted."""
    counts: Counter[str | None] = Counter()
    for place in _PLACES:
        stored = connection.scalars(select(place.column).where(place.column.is_not(None)))
        counts.update(map(_key_of, stored))
    missing = sorted(key_id for key_id in counts if key_id is not None and key_id not in vault.key_ids)
    return KeysInUse(
        keys=tuple(
            KeyUse(key_id, counts[key_id], is_configured=key_id in vault.key_ids, is_first=key_id == vault.key_ids[0])
            for key_id in (*vault.key_ids, *missing)
        ),
        damaged=counts[None],
        are_recipients_hashed=connection.scalar(select(Shortened.invitation_id).limit(1)) is not None,
    )


def reencrypt(engine: Engine, vault: Vault) -> int:
    """Re-encrypt secrets of older keys with the first key; return their number.

    Secrets that cannot be decrypted stay as they are. A secret that is changed at the same moment keeps its new value.
    """
    return sum(count for place in _PLACES for count in _in_steps(engine, vault, place))


def _in_steps(engine: Engine, vault: Vault, place: _Place) -> Iterator[int]:
    last = 0
    while True:
        with engine.begin() as connection:
            query = select(place.model.id, place.model.tenant_id, place.column.label("stored"))
            some = query.where(place.column.is_not(None), place.model.id > last).order_by(place.model.id)
            rows = connection.execute(some.limit(AT_A_TIME)).all()
            count = sum(_renew(connection, vault, place, row) for row in rows)
        if not rows:
            return
        yield count
        last = rows[-1].id


def _renew(connection: Connection, vault: Vault, place: _Place, row: Row[Any]) -> int:
    """Re-encrypt one secret, and return 1; 0 if it needs no change, cannot be decrypted, or was just changed."""
    bound_to = {"tenant_id": row.tenant_id, "field": place.field}
    try:
        if not vault.needs_rotation(row.stored):
            return 0
        values = {place.name: vault.encrypt(vault.decrypt(row.stored, **bound_to), **bound_to)}
    except SecretError:
        return 0
    # Not a change by a person: columns that count or date updates keep their values.
    for column in place.model.__table__.c:
        if column.onupdate is not None:
            values[column.name] = column
    is_same = (place.model.id == row.id, place.column == row.stored)
    return connection.execute(update(place.model).where(*is_same).values(values)).rowcount


def _key_of(stored: str) -> str | None:
    try:
        return key_id_of(stored)
    except SecretError:
        return None
