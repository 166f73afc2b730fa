"""The platform's policy: the operator's configuration, and the changes that administrators made on the policy page.

Three rules limit the abuse of the page. Settings in the configuration are fixed. Networks can be opened only if the
configuration allows it (`OWN_SMTP_POLICY_PAGE`). And even then the page never opens loopback, link-local and the
addresses of clouds' metadata services, which give out credentials. The rules apply when a value is read, not only when
it is stored: a stricter configuration takes effect with the first drain.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

from sqlalchemy import Connection, delete, select, update
from sqlalchemy.orm import Session

from own_smtp.settings import Network, PolicyPage, Settings, key_of, read_value
from own_smtp.states import PauseReason, RelayState
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import db_now
from own_smtp.storage.models import PolicyValue, Relay

NETWORK = ("allowed_ports", "allowed_networks", "allow_plaintext")
EDITABLE = (
    "allowed_tenants",
    "relays_per_tenant",
    "ceiling_connections",
    "ceiling_per_second",
    "confirmation_rule",
    "test_recipients",
    "keep_content",
    "keep_recipients",
    *NETWORK,
)
"""The settings that the page may change at all, in its order."""

EVERYBODY = "*"
"""Stands for all tenants in the audit log."""

PREPARED = "prepared_tenants"
"""The name of an extra row beside the settings: the tenants chosen while all are allowed, for a later restriction."""

PRIVATE: tuple[Network, ...] = tuple(
    ip_network(network) for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
"""Networks that an administrator may open (RFC 1918, RFC 4193). Only the configuration opens others."""
CLOUD = ip_network("fd00:ec2::/32")
"""An exception inside them: a cloud's metadata service, which gives out credentials."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The operator's settings, and the limits of administrators' changes."""

    settings: Settings
    """As configured."""
    fixed: frozenset[str]
    """The names of settings in the configuration, which the page cannot change."""

    @classmethod
    def of(cls, settings: Settings, config: Mapping[str, Any]) -> Policy:
        """Return the policy for a Flask configuration."""
        return cls(settings, frozenset(name for name in EDITABLE if key_of(name) in config))

    def may_edit(self, name: str) -> bool:
        """Return whether the page may change a setting. Unless it may open networks, it can only remove ports."""
        if name not in EDITABLE or name in self.fixed or self.settings.policy_page is PolicyPage.SHOW:
            return False
        return name not in NETWORK or name == "allowed_ports" or self.settings.policy_page is PolicyPage.NETWORK

    def in_force(self, where: Connection | Session) -> Settings:
        """Return the current settings."""
        rows = where.execute(select(PolicyValue.name, PolicyValue.value))
        values = {row.name: read_value(row.name, row.value) for row in rows if self.may_edit(row.name)}
        return replace(self.settings, **{name: self.bounded(name, value) for name, value in values.items()})

    def chosen(self, where: Connection | Session) -> frozenset[str]:
        """Return the allowed tenants; while all are allowed, those that are prepared for a restriction."""
        allowed = self.in_force(where).allowed_tenants
        if allowed is not None:
            return allowed
        prepared = where.execute(select(PolicyValue.value).where(PolicyValue.name == PREPARED)).scalar()
        return frozenset(prepared or ())

    def bounded(self, name: str, value: Any) -> Any:
        """Restrict a value to what the page may set, for a setting that it may change."""
        if name == "allowed_ports" and self.settings.policy_page is not PolicyPage.NETWORK:
            return value & self.settings.allowed_ports
        if name == "allowed_networks":
            return tuple(network for network in value if may_open(network))
        return value

    def change(self, session: Session, values: Mapping[str, Any], *, user_id: str) -> bool:
        """Apply these values, and return whether anything changed. Relays that the policy had refused are retried.

        Values that the page may not change are ignored. Nothing here commits.
        """
        now = self.in_force(session)
        wanted = {name: self.bounded(name, value) for name, value in values.items() if self.may_edit(name)}
        names = [name for name, value in wanted.items() if getattr(now, name) != value]
        if not names:
            return False
        changes: dict[str, tuple[Any, Any]] = {}
        for name in names:
            changes.update(_logged(name, getattr(now, name), wanted[name]))
            _store(session, name, wanted[name], user_id, unless=getattr(self.settings, name))
        if "allowed_tenants" in names:
            kept = now.allowed_tenants if wanted["allowed_tenants"] is None else None
            _store(session, PREPARED, kept, user_id, unless=None)
        session.flush()
        _let_try_again(session)
        audit.record(session, AuditAction.POLICY_CHANGED, tenant_id=audit.PLATFORM, user_id=user_id, changes=changes)
        return True

    def choose(
        self, session: Session, *, add: AbstractSet[str] = frozenset(), remove: AbstractSet[str] = frozenset(), by: str
    ) -> bool:
        """Add and remove allowed tenants, and return whether anything changed.

        It takes effect at once if only chosen tenants are allowed; while all are, it is stored for a later restriction.
        `by` is the person's id. Nothing here commits.
        """
        now = self.chosen(session)
        wanted = (now | add) - remove
        if wanted == now or not self.may_edit("allowed_tenants"):
            return False
        if self.in_force(session).allowed_tenants is not None:
            return self.change(session, {"allowed_tenants": wanted}, user_id=by)
        _store(session, PREPARED, wanted, by, unless=frozenset())
        session.flush()
        changes = _logged("allowed_tenants", now, wanted)
        audit.record(session, AuditAction.POLICY_CHANGED, tenant_id=audit.PLATFORM, user_id=by, changes=changes)
        return True


def _store(session: Session, name: str, value: Any, user_id: str, *, unless: Any) -> None:
    """Store a value; no row if it equals `unless`, the value without one."""
    session.execute(delete(PolicyValue).where(PolicyValue.name == name))
    if value != unless:
        session.add(PolicyValue(name=name, value=stored(value), changed_by=user_id, changed_at=db_now()))


def may_open(network: Network) -> bool:
    """Return whether an administrator may allow relays in a network that is not public."""
    return any(_contains(private, network) for private in PRIVATE) and not network.overlaps(CLOUD)


def _contains(outer: Network, inner: Network) -> bool:
    return outer.version == inner.version and outer.prefixlen <= inner.prefixlen and inner.network_address in outer


def stored(value: Any) -> Any:
    """Return a setting as JSON-compatible values: sets and networks as lists, durations as seconds."""
    if isinstance(value, frozenset):
        return sorted(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, tuple):
        return [str(item) for item in value]
    return value


def _logged(name: str, before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Return the audit log's form of a change; for lists of tenants only the added and removed ones."""
    if name != "allowed_tenants":
        return {name: (stored(before), stored(after))}
    if before is None or after is None:
        return {name: (_listed(before), _listed(after))}
    moved = {"tenants_added": after - before, "tenants_removed": before - after}
    return {key: (None, stored(tenants)) for key, tenants in moved.items() if tenants}


def _listed(tenants: frozenset[str] | None) -> Any:
    return EVERYBODY if tenants is None else stored(tenants)


def _let_try_again(session: Session) -> None:
    """Retry relays that the policy had refused. Those still not allowed are paused again without a second notice."""
    refused = (PauseReason.FORBIDDEN, PauseReason.NOT_ALLOWED)
    session.execute(
        update(Relay).where(Relay.state == RelayState.PAUSED, Relay.pause_reason.in_(refused)).values(probe_at=db_now())
    )
