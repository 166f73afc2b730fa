"""Create, change, confirm and delete a tenant's mail server. Nothing here commits."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import delete as sql_delete
from sqlalchemy import update
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError
from own_smtp.i18n import gettext
from own_smtp.outbox import actions
from own_smtp.relays import confirmations
from own_smtp.relays.lifecycle import NOT_PAUSED, _require_confirmation, _set
from own_smtp.relays.store import PASSWORD_FIELD, configuration_of, list_relays
from own_smtp.states import PauseReason, RelayState, Security
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import read_clock
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import ProjectRoute, Relay, RelayTest, Suggestion

GUARDS_PASSWORD = ("host", "port", "security", "username")
"""A change of any of them requires the password again, so that a stored one never reaches another person's server."""

SOLVED_BY_PASSWORD = frozenset({PauseReason.CREDENTIALS, PauseReason.SECRET_UNREADABLE})


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayDraft:
    """A person's settings for a relay, checked field by field by the form."""

    label: str
    host: str
    port: int
    security: Security
    username: str | None
    """`None` means without authentication."""
    password: str | None = field(default=None, repr=False)
    """`None` means unchanged."""
    sender_address: str
    sender_name: str = ""
    reply_to: str | None = None
    envelope_sender: str | None = None
    confirmation_address: str | None = None
    ehlo_name: str | None = None
    description: str = ""
    fingerprint: str | None = None
    preset: str | None = None
    max_connections: int = 4
    messages_per_connection: int | None = None
    min_interval: float | None = None
    jitter: float = 0.0
    per_second: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    sending_windows: list[dict[str, Any]] | None = None
    timezone: str = "UTC"
    is_default: bool = False


RELAY_FIELDS = tuple(name for name in RelayDraft.__slots__ if name != "password")


def needs_password(relay: Relay | None, draft: RelayDraft) -> bool:
    """Return whether the password must be typed before the draft can be saved."""
    if draft.username is None or draft.password is not None:
        return False
    if relay is None or relay.password is None:
        return True
    return any(getattr(relay, name) != getattr(draft, name) for name in GUARDS_PASSWORD)


def is_password_only(relay: Relay, draft: RelayDraft) -> bool:
    """Return whether the draft gives a confirmed relay a new password without a new confirmation."""
    is_confirmed = relay.state in {RelayState.ACTIVE, RelayState.PAUSED}
    return is_confirmed and draft.password is not None and configuration_of(relay) == configuration_of(draft)


def create(
    session: Session,
    vault: Vault,
    tenant_id: str,
    draft: RelayDraft,
    *,
    user_id: str,
    ceiling: int,
    address: str | None = None,
) -> Relay:
    """Add an unconfirmed relay. Call it after `lock_tenant`.

    `address` is the person's own, for notices about the relay. Raises `ConflictError` if the tenant has `ceiling`
    relays already.
    """
    if len(list_relays(session, tenant_id)) >= ceiling:
        raise ConflictError(gettext("No more than %(number)s mail servers are possible here.", number=ceiling))
    relay = Relay(
        tenant_id=tenant_id,
        state=RelayState.UNCONFIRMED,
        revision=1,
        saved_by=user_id,
        saved_by_address=address,
    )
    session.add(relay)
    changes = _apply(vault, relay, draft)
    session.flush()
    _keep_one_default(session, relay)
    audit.record(
        session,
        AuditAction.RELAY_CREATED,
        tenant_id=tenant_id,
        user_id=user_id,
        relay_id=relay.id,
        changes={name: change for name, change in changes.items() if change[1] not in (None, "", False)},
    )
    return relay


def change(
    session: Session, vault: Vault, relay: Relay, draft: RelayDraft, *, user_id: str, address: str | None = None
) -> bool:
    """Change a relay. Return whether it needs new confirmation mails now. Call it after `lock_relay`.

    `address` is the person's own, for notices about the relay; `None` keeps the previous recipient. A new password
    resumes a relay that was paused because of the old one. Raises `ConflictError` if the draft needs the password and
    has none (see `needs_password`).
    """
    if needs_password(relay, draft):
        raise ConflictError(
            gettext("Type the password again: the server, its port, its encryption or the user changed.")
        )
    before = configuration_of(relay)
    changes = _apply(vault, relay, draft)
    if not changes:
        return False
    if address is not None:
        _set(relay, saved_by=user_id, saved_by_address=address)
    if configuration_of(relay) != before:
        _require_confirmation(relay)
    # A changed address for an open confirmation is a correction: the link in the wrong mailbox must stop working.
    needs_mail = relay.state == RelayState.UNCONFIRMED and (
        configuration_of(relay) != before or "confirmation_address" in changes
    )
    if needs_mail:
        confirmations.withdraw(session, relay.id)
    elif "password" in changes and relay.state == RelayState.PAUSED and relay.pause_reason in SOLVED_BY_PASSWORD:
        _set(relay, state=RelayState.ACTIVE, **NOT_PAUSED)
    session.flush()
    _keep_one_default(session, relay)
    audit.record(
        session,
        AuditAction.RELAY_CHANGED,
        tenant_id=relay.tenant_id,
        user_id=user_id,
        relay_id=relay.id,
        changes=changes,
    )
    return needs_mail


def delete(session: Session, relay: Relay, *, user_id: str) -> None:
    """Delete a relay, its password and the settings of its tests. Call it after `lock_relay`.

    Its row stays for the log; its projects use the platform's mail service again. Its waiting invitations fail. Waits
    for sends that are not committed yet (see `own_smtp.outbox.intake.hold_relay`); locks the lease before the relay.
    """
    _set(relay, deleted_at=read_clock(session.connection()), password=None, is_default=False, saved_by_address=None)
    session.execute(update(ProjectRoute).where(ProjectRoute.relay_id == relay.id).values(relay_id=None))
    session.execute(sql_delete(Suggestion).where(Suggestion.relay_id == relay.id))
    # The rows stay: deleting relays must not circumvent the limits of tests.
    session.execute(update(RelayTest).where(RelayTest.relay_id == relay.id).values(settings=None, transcript=[]))
    session.flush()
    actions.end_deleted(session.connection(), relay.id)
    audit.record(session, AuditAction.RELAY_DELETED, tenant_id=relay.tenant_id, user_id=user_id, relay_id=relay.id)


def _apply(vault: Vault, relay: Relay, draft: RelayDraft) -> dict[str, tuple[Any, Any]]:
    """Write the draft into the relay, and return the changes."""
    after = {name: value for name, value in asdict(draft).items() if name != "password"}
    changes: dict[str, tuple[Any, Any]] = audit.differences(
        {name: getattr(relay, name) for name in RELAY_FIELDS}, after
    )
    _set(relay, **{name: after[name] for name in changes})
    if draft.username is None:
        relay.password = None
    elif draft.password is not None:
        relay.password = vault.encrypt(draft.password, tenant_id=relay.tenant_id, field=PASSWORD_FIELD)
        changes["password"] = (audit.SECRET, audit.SECRET)
    return changes


def make_default(session: Session, relay: Relay, *, is_default: bool) -> bool:
    """Make a relay the tenant's only default, or end that. Return whether anything changed."""
    if relay.is_default == is_default:
        return False
    relay.is_default = is_default
    session.flush()
    _keep_one_default(session, relay)
    return True


def _keep_one_default(session: Session, relay: Relay) -> None:
    if not relay.is_default:
        return
    others = (Relay.tenant_id == relay.tenant_id, Relay.id != relay.id, Relay.is_default)
    session.execute(update(Relay).where(*others).values(is_default=False))
