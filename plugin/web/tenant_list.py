"""The platform's tenants for its administrators: all of them, the selected ones, and the others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.orm import Session

from own_smtp.current import extension
from own_smtp.hooks.events import Tenant
from own_smtp.reporting import relay_lists
from own_smtp.web.access import current_actor

MOST_UNNAMED = 2000
"""Limit on tenants that have servers here but are not listed by the host."""
PAGE = 50
"""Tenants on one page."""


class TenantFilter(StrEnum):
    """Which tenants of the list are shown."""

    ALL = "all"
    CHOSEN = "chosen"
    OTHERS = "others"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantQuery:
    """A search for tenants."""

    text: str = ""
    """Part of the name or of the id."""
    show: TenantFilter = TenantFilter.ALL
    page: int = 1
    """From 1; a number beyond the end means the last page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantLine:
    """One tenant in the list."""

    tenant: Tenant
    is_chosen: bool
    servers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantList:
    """One page of the list."""

    wanted: TenantQuery
    lines: list[TenantLine]
    pages: int
    counts: Mapping[TenantFilter, int]
    """The number of tenants for each choice of the filter, within the same search."""


def every(session: Session, chosen: Collection[str] = ()) -> list[Tenant]:
    """Return the tenants that the host lists, else those with servers here; `chosen` ones are always included."""
    host = extension().host
    named = list(host.all_tenants())
    known = {tenant.tenant_id for tenant in named}
    others = [*sorted(chosen), *relay_lists.tenants(session, MOST_UNNAMED), current_actor().tenant_id]
    missing = [host.tenant(tenant_id) for tenant_id in dict.fromkeys(others) if tenant_id not in known]
    return named + sorted(missing, key=lambda tenant: tenant.name.casefold())


def find_tenants(
    session: Session, tenants: Collection[Tenant], chosen: Collection[str], wanted: TenantQuery
) -> TenantList:
    """Return one page of the tenants that match, in the given order."""
    listed = [tenant for tenant in tenants if tenant.tenant_id in chosen]
    others = [tenant for tenant in tenants if tenant.tenant_id not in chosen]
    parts = {TenantFilter.ALL: tenants, TenantFilter.CHOSEN: listed, TenantFilter.OTHERS: others}
    text = wanted.text.casefold()
    found = [item for item in parts[wanted.show] if text in item.name.casefold() or text in item.tenant_id.casefold()]
    pages = max(1, -(-len(found) // PAGE))
    page = min(wanted.page, pages)
    shown = found[(page - 1) * PAGE : page * PAGE]
    servers = relay_lists.count_by_tenant(session, [tenant.tenant_id for tenant in shown])
    return TenantList(
        wanted=TenantQuery(text=wanted.text, show=wanted.show, page=page),
        lines=[
            TenantLine(tenant=item, is_chosen=item.tenant_id in chosen, servers=servers.get(item.tenant_id, 0))
            for item in shown
        ],
        pages=pages,
        counts={show: len(part) for show, part in parts.items()},
    )
