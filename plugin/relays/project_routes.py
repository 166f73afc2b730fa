"""The choice of a relay for a project: its only writer."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import ProjectRoute, Relay


def find_route(session: Session, tenant_id: str, project_id: str) -> ProjectRoute | None:
    """Return the project's choice; `None` if none was made, which means the platform's mail service."""
    return session.scalars(
        select(ProjectRoute).where(ProjectRoute.tenant_id == tenant_id, ProjectRoute.project_id == project_id)
    ).one_or_none()


def list_routes(session: Session, tenant_id: str) -> dict[str, ProjectRoute]:
    """Return the tenant's choices by project id."""
    routes = session.scalars(select(ProjectRoute).where(ProjectRoute.tenant_id == tenant_id))
    return {route.project_id: route for route in routes}


def using(session: Session, relay_id: int) -> Sequence[ProjectRoute]:
    """Return the choices of this relay."""
    return session.scalars(select(ProjectRoute).where(ProjectRoute.relay_id == relay_id)).all()


def relay_of(session: Session, tenant_id: str, project_id: str) -> Relay | None:
    """Return the relay of the project's invitations; `None` means the platform's mail service."""
    return session.scalars(
        select(Relay)
        .join(ProjectRoute, ProjectRoute.relay_id == Relay.id)
        .where(
            ProjectRoute.tenant_id == tenant_id,
            ProjectRoute.project_id == project_id,
            Relay.tenant_id == tenant_id,
            Relay.deleted_at.is_(None),
        )
    ).one_or_none()


def choose_route(
    session: Session,
    tenant_id: str,
    project_id: str,
    relay: Relay | None,
    *,
    user_id: str,
    fallback_after: int | None = None,
) -> bool:
    """Send the project's invitations through `relay`, or (`None`) the platform. Return whether anything changed.

    After `fallback_after` seconds the platform may send invitations that the relay did not accept; `None` means never.
    It applies to later sends. The relay must be the tenant's own: take it from `store.get_relay`.
    """
    route = find_route(session, tenant_id, project_id)
    before = {"relay": route.relay_id, "fallback_after": route.fallback_after} if route else {}
    after = {"relay": relay.id if relay else None, "fallback_after": fallback_after if relay else None}
    changes = audit.differences(before, after)
    if not changes:
        return False
    if route is None:
        route = ProjectRoute(tenant_id=tenant_id, project_id=project_id)
        session.add(route)
    route.relay_id, route.fallback_after = after["relay"], after["fallback_after"]
    route.changed_by = user_id
    route.changed_at = read_clock(session.connection())
    session.flush()
    audit.record(
        session,
        AuditAction.PROJECT_ROUTED,
        tenant_id=tenant_id,
        user_id=user_id,
        relay_id=after["relay"],
        project_id=project_id,
        changes=changes,
    )
    return True
