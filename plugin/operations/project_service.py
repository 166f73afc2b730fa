"""Acts on a project: choose its route, and settle invitations that wait for the previous one."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from own_smtp.current import Extension
from own_smtp.operations.acts import Acting, act
from own_smtp.outbox import reroute
from own_smtp.outbox.reroute import Scope
from own_smtp.relays import project_routes, store


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingChoice:
    """How to settle invitations that wait for a closing route: by default they stay."""

    target_id: int | None = None
    """The relay to move them to."""
    cancels: bool = False

    @property
    def is_final(self) -> bool:
        """Whether no invitation waits for the old route afterwards."""
        return self.cancels or self.target_id is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routed:
    """The result of a choice of route."""

    is_new: bool
    settled: int
    """How many waiting invitations were moved or cancelled."""


def settle_waiting(connection: Connection, scope: Scope, choice: WaitingChoice, *, user_id: str) -> int:
    """Move, cancel or keep waiting invitations; return the number moved or cancelled. Raises `ConflictError`."""
    if choice.target_id is not None:
        return reroute.move_waiting(connection, scope, choice.target_id, user_id=user_id)
    return reroute.cancel_waiting(connection, scope, user_id=user_id) if choice.cancels else 0


def choose_route(
    extension: Extension,
    acting: Acting,
    project_id: str,
    relay_id: int | None,
    *,
    fallback_after: int | None = None,
    choice: WaitingChoice | None = None,
) -> Routed:
    """Route a project's invitations through a relay, or the platform (`None`), and settle waiting ones.

    Raises `NotFoundError` when the tenant has no such relay, and `ConflictError` when waiting invitations cannot be
    moved now.
    """
    scope = Scope(tenant_id=acting.tenant_id, project_id=project_id)
    with act(extension, acting.tenant_id) as session:
        settled = settle_waiting(session.connection(), scope, choice, user_id=acting.user_id) if choice else 0
        relay = store.lock_relay(session, acting.tenant_id, relay_id) if relay_id is not None else None
        is_new = project_routes.choose_route(
            session, acting.tenant_id, project_id, relay, user_id=acting.user_id, fallback_after=fallback_after
        )
    if choice is not None and choice.target_id is not None:
        extension.enqueue_drain(choice.target_id)
    return Routed(is_new=is_new, settled=settled)
