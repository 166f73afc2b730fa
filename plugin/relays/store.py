"""Loads and locks a tenant's mail servers, as rows and as profiles for drains. Nothing here commits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Connection, Row, RowMapping, select
from sqlalchemy.orm import Session

from own_smtp.errors import NotFoundError
from own_smtp.hooks.events import RelayChange
from own_smtp.smtp.values import Credentials, Identity, Limits, RelayProfile
from own_smtp.states import Security
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import Relay

PASSWORD_FIELD = "relay.password"
"""The field that a stored password is bound to, beside its tenant."""

CONFIRMED_FIELDS = ("host", "port", "security", "username", "envelope_sender", "sender_address", "fingerprint")
"""The settings that a confirmation covers. After a change of any of them the relay must be confirmed again."""


def load_profile(connection: Connection, relay_id: int, vault: Vault) -> RelayProfile | None:
    """Return the profile of a relay. `None` if it does not exist or was deleted.

    Raises `SecretError` if its password cannot be decrypted with the configured keys.
    """
    found = connection.execute(
        select(Relay.__table__).where(Relay.id == relay_id, Relay.deleted_at.is_(None))
    ).mappings()
    row = found.one_or_none()
    return profile_of(row, vault) if row else None


def profile_of(row: RowMapping, vault: Vault) -> RelayProfile:
    """Return the profile of a row of the relay table."""
    return _profile(row, _credentials(row, vault))


def profile_without_secret(relay: Relay) -> RelayProfile:
    """Return a relay's profile without credentials, which web processes need not decrypt."""
    return _profile(_columns_of(relay), None)


def _profile(row: Mapping[Any, Any], credentials: Credentials | None) -> RelayProfile:
    return RelayProfile(
        relay_id=row["id"],
        tenant_id=row["tenant_id"],
        label=row["label"],
        host=row["host"],
        port=row["port"],
        security=Security(row["security"]),
        credentials=credentials,
        fingerprint=row["fingerprint"],
        identity=Identity(address=row["sender_address"], name=row["sender_name"], reply_to=row["reply_to"]),
        envelope_sender=row["envelope_sender"] or row["sender_address"],
        ehlo_name=row["ehlo_name"],
        limits=_limits(row),
        revision=row["revision"],
    )


def _credentials(row: RowMapping, vault: Vault) -> Credentials | None:
    if row["username"] is None:
        return None
    password = vault.decrypt(row["password"] or "", tenant_id=row["tenant_id"], field=PASSWORD_FIELD)
    return Credentials(username=row["username"], password=password)


def _limits(row: Mapping[Any, Any]) -> Limits:
    return Limits(
        max_connections=row["max_connections"],
        messages_per_connection=row["messages_per_connection"],
        min_interval=row["min_interval"],
        jitter=row["jitter"],
        per_second=row["per_second"],
        per_minute=row["per_minute"],
        per_hour=row["per_hour"],
        per_day=row["per_day"],
        sending_windows=tuple(row["sending_windows"] or ()),
        timezone=row["timezone"],
    )


def limits_of(relay: Relay) -> Limits:
    """Return the tenant's limits for a relay."""
    return _limits(_columns_of(relay))


def _columns_of(relay: Relay) -> dict[str, Any]:
    return {column.key: getattr(relay, column.key) for column in Relay.__table__.columns}


def get_relay(session: Session, tenant_id: str, relay_id: int) -> Relay:
    """Return the tenant's relay.

    Raises `NotFoundError` if there is none with this id, if it was deleted, and if it is another tenant's: the three
    cases are indistinguishable from outside.
    """
    relay = session.get(Relay, relay_id)
    if relay is None or relay.tenant_id != tenant_id or relay.deleted_at is not None:
        raise NotFoundError(f"There is no relay {relay_id}.")
    return relay


def list_relays(session: Session, tenant_id: str) -> Sequence[Relay]:
    """Return the tenant's relays, the default first, then by label."""
    return session.scalars(
        select(Relay)
        .where(Relay.tenant_id == tenant_id, Relay.deleted_at.is_(None))
        .order_by(Relay.is_default.desc(), Relay.label, Relay.id)
    ).all()


def lock_relay(session: Session, tenant_id: str, relay_id: int, *, for_deletion: bool = False) -> Relay:
    """Lock a tenant's relay until the transaction ends, and return its current state.

    Raises `NotFoundError`. Call it before its confirmations and tests are locked, and after leases. `for_deletion` also
    waits for transactions that are adding batches to the relay.
    """
    query = select(Relay).where(Relay.id == relay_id, Relay.tenant_id == tenant_id, Relay.deleted_at.is_(None))
    # FOR NO KEY UPDATE: foreign-key checks do not wait for an edit, nor does an edit wait for a long "send".
    locked = query.with_for_update(key_share=not for_deletion).execution_options(populate_existing=True)
    relay = session.scalars(locked).one_or_none()
    if relay is None:
        raise NotFoundError(f"There is no relay {relay_id}.")
    return relay


def tenant_of(session: Session, relay_id: int) -> str:
    """Return the tenant of a relay, for callers who may act on all tenants. Raises `NotFoundError`."""
    tenant_id = session.scalar(select(Relay.tenant_id).where(Relay.id == relay_id, Relay.deleted_at.is_(None)))
    if tenant_id is None:
        raise NotFoundError(f"There is no mail server {relay_id}.")
    return tenant_id


def change_of(relay: Relay | Row[Any]) -> RelayChange:
    """Return the host's notification of a relay's state that a person changed, to be sent after the commit."""
    return RelayChange(
        relay_id=relay.id,
        tenant_id=relay.tenant_id,
        label=relay.label,
        state=relay.state,
        reason=relay.pause_text or None,
        pause_reason=relay.pause_reason,
        address=relay.saved_by_address,
    )


class Confirmable(Protocol):
    """An object with the settings that a confirmation covers: a relay, or a draft of one."""

    @property
    def envelope_sender(self) -> str | None: ...
    @property
    def sender_address(self) -> str: ...


def configuration_of(relay: Confirmable) -> str:
    """Return the SHA-256, in hex, of the settings that a confirmation covers."""
    confirmed = [getattr(relay, name) for name in CONFIRMED_FIELDS]
    confirmed[CONFIRMED_FIELDS.index("envelope_sender")] = relay.envelope_sender or relay.sender_address
    return hashlib.sha256(json.dumps(confirmed).encode()).hexdigest()
