"""Lists of relays with state and health, searched and paginated: of one tenant, and of the whole platform."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select
from sqlalchemy.orm import Session

from own_smtp.outbox.totals import waiting_of_relays
from own_smtp.smtp.redaction import mask_addresses
from own_smtp.states import UNFINISHED, RelayState
from own_smtp.storage.models import Batch, Lease, Relay

PAGE = 25
"""Relays on one page."""


class HealthFilter(StrEnum):
    """The health of a relay by its deliveries, whether it is paused or not."""

    NEW = "new"
    """Nothing has been sent through it yet."""
    HEALTHY = "healthy"
    FAILING = "failing"
    """There is no usable connection, or the last event was an error."""


class RelayStateFilter(StrEnum):
    """Filter of a list of relays by state."""

    ALL = "all"
    ATTENTION = "attention"
    """Paused or failing."""
    UNCONFIRMED = "unconfirmed"
    ACTIVE = "active"
    PAUSED = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLine:
    """One relay in a list."""

    relay: Relay
    failing_since: datetime | None = None
    fallback_since: datetime | None = None
    last_success_at: datetime | None = None
    last_error_at: datetime | None = None
    last_error: str | None = None
    waiting: int = 0

    @property
    def health(self) -> HealthFilter:
        """Whether its server accepts mail."""
        if self.failing_since is not None:
            return HealthFilter.FAILING
        if self.last_error_at is not None and (
            self.last_success_at is None or self.last_error_at > self.last_success_at
        ):
            return HealthFilter.FAILING
        return HealthFilter.NEW if self.last_success_at is None else HealthFilter.HEALTHY

    @property
    def shown_error(self) -> str:
        """The last error without addresses: a server's reply may name a recipient."""
        return mask_addresses(self.last_error or "")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayQuery:
    """A search for relays."""

    tenant_id: str | None
    """`None` means every tenant."""
    text: str = ""
    """Matches part of the label, the server's name, the sender address or the tenant's id."""
    tenants: Collection[str] = ()
    """Ids of tenants whose name matches the text: only the host knows their names."""
    show: RelayStateFilter = RelayStateFilter.ALL
    page: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayList:
    """One page of a list."""

    wanted: RelayQuery
    lines: list[RelayLine]
    found: int
    """The number of relays on all pages."""
    counts: Mapping[RelayStateFilter, int] = field(default_factory=dict)
    """The number of relays for each choice of the state filter, within the same search."""

    @property
    def pages(self) -> int:
        """The number of pages; at least one."""
        return max(1, -(-self.found // PAGE))


_FAILS = or_(
    Lease.failing_since.is_not(None),
    and_(
        Lease.last_error_at.is_not(None),
        or_(Lease.last_success_at.is_(None), Lease.last_error_at > Lease.last_success_at),
    ),
)
_SHOWN: dict[RelayStateFilter, ColumnElement[bool]] = {
    RelayStateFilter.ATTENTION: or_(Relay.state == RelayState.PAUSED, and_(Relay.state == RelayState.ACTIVE, _FAILS)),
    RelayStateFilter.UNCONFIRMED: Relay.state == RelayState.UNCONFIRMED,
    RelayStateFilter.ACTIVE: Relay.state == RelayState.ACTIVE,
    RelayStateFilter.PAUSED: Relay.state == RelayState.PAUSED,
}


def find_relays(session: Session, wanted: RelayQuery) -> RelayList:
    """Return the relays that match: the tenant's default first, then by tenant and label."""
    conditions = [*_of(wanted.tenant_id), *_matching(wanted)]
    if wanted.show in _SHOWN:
        conditions.append(_SHOWN[wanted.show])
    found = session.scalar(_joined(select(func.count(Relay.id))).where(*conditions)) or 0
    query = _joined(select(Relay, Lease)).where(*conditions).order_by(*_order(wanted))
    rows = session.execute(query.limit(PAGE).offset((wanted.page - 1) * PAGE)).all()
    waiting = _waiting(session, [relay.id for relay, _lease in rows])
    lines = [_line(relay, lease, waiting.get(relay.id, 0)) for relay, lease in rows]
    return RelayList(wanted=wanted, lines=lines, found=found, counts=_counts(session, wanted.tenant_id))


def _order(wanted: RelayQuery) -> list[Any]:
    by_label: list[Any] = [func.lower(Relay.label), Relay.id]
    return [Relay.is_default.desc(), *by_label] if wanted.tenant_id is not None else [Relay.tenant_id, *by_label]


def _joined(query: Any) -> Any:
    return query.select_from(Relay).outerjoin(Lease, Lease.relay_id == Relay.id)


def _of(tenant_id: str | None) -> list[ColumnElement[bool]]:
    present: list[ColumnElement[bool]] = [Relay.deleted_at.is_(None)]
    return present if tenant_id is None else [*present, Relay.tenant_id == tenant_id]


def _matching(wanted: RelayQuery) -> list[ColumnElement[bool]]:
    if not wanted.text:
        return []
    columns = (Relay.label, Relay.host, Relay.sender_address, Relay.description, Relay.tenant_id)
    hits = [func.lower(column).contains(wanted.text.lower(), autoescape=True) for column in columns]
    return [or_(*hits, Relay.tenant_id.in_(wanted.tenants))]


def _counts(session: Session, tenant_id: str | None) -> dict[RelayStateFilter, int]:
    """Count the relays for each choice in one query."""
    sums = [func.sum(case((condition, 1), else_=0)).label(show) for show, condition in _SHOWN.items()]
    row = session.execute(
        _joined(select(func.count(Relay.id).label(RelayStateFilter.ALL), *sums)).where(*_of(tenant_id))
    ).one()
    return {show: int(getattr(row, show) or 0) for show in RelayStateFilter}


def _waiting(session: Session, relay_ids: list[int]) -> dict[int, int]:
    is_unfinished = Batch.state.in_(UNFINISHED)
    return waiting_of_relays(session, Batch.relay_id.in_(relay_ids), is_unfinished)


def _line(relay: Relay, lease: Lease | None, waiting: int) -> RelayLine:
    if lease is None:
        return RelayLine(relay=relay, waiting=waiting)
    return RelayLine(
        relay=relay,
        failing_since=lease.failing_since,
        fallback_since=lease.fallback_since,
        last_success_at=lease.last_success_at,
        last_error_at=lease.last_error_at,
        last_error=lease.last_error,
        waiting=waiting,
    )


def failing(session: Session, tenant_id: str) -> set[int]:
    """Return the ids of a tenant's failing relays."""
    return set(session.scalars(_joined(select(Relay.id)).where(*_of(tenant_id), _FAILS)))


def tenants(session: Session, most: int) -> list[str]:
    """Return the ids of tenants with relays, `most` at most."""
    query = select(Relay.tenant_id).where(Relay.deleted_at.is_(None)).distinct().order_by(Relay.tenant_id)
    return list(session.scalars(query.limit(most)))


def count_by_tenant(session: Session, tenant_ids: Collection[str]) -> dict[str, int]:
    """Return how many relays each of these tenants has; tenants without relays are left out."""
    query = select(Relay.tenant_id, func.count()).where(Relay.deleted_at.is_(None), Relay.tenant_id.in_(tenant_ids))
    rows = session.execute(query.group_by(Relay.tenant_id)).all()
    return {row.tenant_id: row[1] for row in rows}
