"""A tenant's mail servers: found, read as a drain needs them, paused and resumed. Nothing here commits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol, cast

from sqlalchemy import Connection, CursorResult, Row, RowMapping, Update, select, update
from sqlalchemy.orm import Session

from own_smtp import audit
from own_smtp.audit import AuditAction
from own_smtp.clock import db_now
from own_smtp.errors import NotFoundError
from own_smtp.hooks.events import RelayChange
from own_smtp.models import Relay
from own_smtp.profiles import Credentials, Identity, Limits, RelayProfile
from own_smtp.secrets import Vault
from own_smtp.states import PauseReason, RelayState, Security

PASSWORD_FIELD = "relay.password"
"""What a stored password is bound to, beside its tenant."""

VOUCHED_FOR = ("host", "port", "security", "username", "envelope_sender", "sender_address", "fingerprint")
"""What a confirmation link vouches for. A change of any of them locks the relay again."""

NOT_PAUSED: dict[str, Any] = {"pause_reason": None, "pause_text": None, "paused_at": None, "probe_at": None}
"""The columns of a relay that is not paused."""


def load_profile(connection: Connection, relay_id: int, vault: Vault) -> RelayProfile | None:
    """Read one relay. `None` when it does not exist or was deleted.

    Raises `SecretError` when its password cannot be decrypted with the configured keys.
    """
    found = connection.execute(
        select(Relay.__table__).where(Relay.id == relay_id, Relay.deleted_at.is_(None))
    ).mappings()
    row = found.one_or_none()
    return profile_of(row, vault) if row else None


def profile_of(row: RowMapping, vault: Vault) -> RelayProfile:
    """Turn a row of the relay table into what a conversation must know."""
    return RelayProfile(
        relay_id=row["id"],
        tenant_id=row["tenant_id"],
        label=row["label"],
        host=row["host"],
        port=row["port"],
        security=Security(row["security"]),
        credentials=_credentials(row, vault),
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
    """Return how fast the tenant lets a relay be used."""
    return _limits({column.key: getattr(relay, column.key) for column in Relay.__table__.columns})


def pause(
    where: Connection | Session,
    relay_id: int,
    reason: PauseReason,
    text: str,
    probe_at: datetime | None,
    *,
    user_id: str | None = None,
) -> bool:
    """Stop an active relay; its invitations wait.

    Return whether that is news, so that its owner is told once: not when it was paused already, nor when it was only
    trying again (see `probe`) and stops for the same reason. `text` is the server's reply with its codes, our own
    words, or a person's note. `probe_at` says when it is tried again by itself; `None`: it waits for a person.
    """
    before = where.execute(select(Relay.pause_reason, Relay.paused_at).where(Relay.id == relay_id)).first()
    is_same = before is not None and before.pause_reason == reason
    changed = _move(
        where,
        update(Relay).where(Relay.id == relay_id, Relay.state == RelayState.ACTIVE, Relay.deleted_at.is_(None)),
        state=RelayState.PAUSED,
        pause_reason=reason,
        pause_text=text[:600],
        paused_at=before.paused_at if before is not None and is_same else db_now(),
        probe_at=probe_at,
    )
    if changed and not is_same:
        _record_move(where, relay_id, AuditAction.RELAY_PAUSED, user_id, {"reason": (None, str(reason))})
    return changed and not is_same


def probe(where: Connection | Session, relay_id: int) -> bool:
    """Let a paused relay try again without calling it mended: the reason stays until a message was accepted."""
    return _move(
        where,
        update(Relay).where(Relay.id == relay_id, Relay.state == RelayState.PAUSED, Relay.deleted_at.is_(None)),
        state=RelayState.ACTIVE,
        probe_at=None,
    )


def pass_probe(where: Connection | Session, relay_id: int) -> bool:
    """A message was accepted: forget why the relay was paused. Return whether there was something to forget."""
    passed = where.execute(
        update(Relay)
        .where(Relay.id == relay_id, Relay.state == RelayState.ACTIVE, Relay.pause_reason.is_not(None))
        .values(**NOT_PAUSED)
    )
    if cast("CursorResult[Any]", passed).rowcount == 0:
        return False
    _record_move(where, relay_id, AuditAction.RELAY_RESUMED, None, {})
    return True


def resume(where: Connection | Session, relay_id: int, *, user_id: str | None = None) -> bool:
    """Let a paused relay send again. Return whether it was paused before."""
    changed = _move(
        where,
        update(Relay).where(Relay.id == relay_id, Relay.state == RelayState.PAUSED, Relay.deleted_at.is_(None)),
        state=RelayState.ACTIVE,
        **NOT_PAUSED,
    )
    if changed:
        _record_move(where, relay_id, AuditAction.RELAY_RESUMED, user_id, {})
    return changed


def _move(where: Connection | Session, statement: Update, **values: Any) -> bool:
    # The revision tells a running drain to look again.
    result = where.execute(statement.values(revision=Relay.revision + 1, **values))
    return cast("CursorResult[Any]", result).rowcount == 1


def _record_move(
    where: Connection | Session, relay_id: int, action: AuditAction, user_id: str | None, changes: audit.Changes
) -> None:
    tenant_id = where.execute(select(Relay.tenant_id).where(Relay.id == relay_id)).scalar_one()
    audit.record(where, action, tenant_id=tenant_id, user_id=user_id, relay_id=relay_id, changes=changes)


def get(session: Session, tenant_id: str, relay_id: int) -> Relay:
    """Return the tenant's relay.

    Raises `NotFoundError` when there is none with this id, when it was deleted, and when it is another tenant's: the
    three look the same from outside.
    """
    relay = session.get(Relay, relay_id)
    if relay is None or relay.tenant_id != tenant_id or relay.deleted_at is not None:
        raise NotFoundError(f"There is no relay {relay_id}.")
    return relay


def listed(session: Session, tenant_id: str) -> Sequence[Relay]:
    """Return the tenant's relays, the default first, then by label."""
    return session.scalars(
        select(Relay)
        .where(Relay.tenant_id == tenant_id, Relay.deleted_at.is_(None))
        .order_by(Relay.is_default.desc(), Relay.label, Relay.id)
    ).all()


def change_of(relay: Relay | Row[Any]) -> RelayChange:
    """Return what the host is told of the relay's state, after the commit, when a person brought it about."""
    return RelayChange(
        relay_id=relay.id,
        tenant_id=relay.tenant_id,
        label=relay.label,
        state=relay.state,
        reason=relay.pause_text or None,
        pause_reason=relay.pause_reason,
        address=relay.sender_address,
    )


class Vouched(Protocol):
    """Anything with the settings that a confirmation link vouches for: a relay, or a draft of one."""

    @property
    def envelope_sender(self) -> str | None: ...
    @property
    def sender_address(self) -> str: ...


def configuration_of(relay: Vouched) -> str:
    """Return the SHA-256, in hex, of what a confirmation link vouches for."""
    vouched = [getattr(relay, name) for name in VOUCHED_FOR]
    vouched[VOUCHED_FOR.index("envelope_sender")] = relay.envelope_sender or relay.sender_address
    return hashlib.sha256(json.dumps(vouched).encode()).hexdigest()
