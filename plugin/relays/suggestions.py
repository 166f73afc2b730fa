"""Suggested relays for projects without a choice: by project, by person, for the whole tenant.

A suggestion only preselects a relay. Nothing is sent through it before a person saves that choice. Nothing here
commits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import case, delete, or_, select
from sqlalchemy.orm import Session

from own_smtp.relays import edits
from own_smtp.states import RelayState
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.models import Relay, Suggestion


class SuggestionKind(StrEnum):
    """The kinds of subjects that a relay is suggested to, beside the whole tenant."""

    USER = "user"
    PROJECT = "project"


@dataclass(slots=True)
class Subjects:
    """The people and projects that a relay is suggested to, by the host's ids."""

    users: list[str] = field(default_factory=list)
    projects: list[str] = field(default_factory=list)

    def of(self, kind: str) -> list[str]:
        """Return the ids of one kind."""
        return self.users if kind == SuggestionKind.USER else self.projects


def by_relay(session: Session, tenant_id: str) -> dict[int, Subjects]:
    """Return the subjects of each suggested relay of the tenant; other relays have empty subjects (a `defaultdict`)."""
    found: dict[int, Subjects] = defaultdict(Subjects)
    query = select(Suggestion).where(Suggestion.tenant_id == tenant_id).order_by(Suggestion.id)
    for suggestion in session.scalars(query):
        found[suggestion.relay_id].of(suggestion.kind).append(suggestion.subject)
    return found


def suggested(session: Session, tenant_id: str, project_id: str, user_id: str) -> Relay | None:
    """Return the relay to preselect for a project: the project's, else the acting person's, else the tenant's default.

    Only confirmed relays are suggested. `None` means that the platform's mail service stays selected.
    """
    rank = case((Suggestion.kind == SuggestionKind.PROJECT, 0), (Suggestion.kind == SuggestionKind.USER, 1), else_=2)
    fits = or_(
        (Suggestion.kind == SuggestionKind.PROJECT) & (Suggestion.subject == project_id),
        (Suggestion.kind == SuggestionKind.USER) & (Suggestion.subject == user_id),
    )
    return session.scalars(
        select(Relay)
        .outerjoin(Suggestion, (Suggestion.relay_id == Relay.id) & fits)
        .where(
            Relay.tenant_id == tenant_id,
            Relay.deleted_at.is_(None),
            Relay.state != RelayState.UNCONFIRMED,
            or_(Suggestion.id.is_not(None), Relay.is_default),
        )
        .order_by(rank, Relay.id)
        .limit(1)
    ).one_or_none()


def choose_suggestions(
    session: Session,
    relay: Relay,
    *,
    everybody: bool,
    users: Collection[str],
    projects: Collection[str],
    user_id: str,
) -> bool:
    """Suggest a relay to the whole tenant or not, and to these people and projects. Return whether anything changed.

    Each person and project, and the tenant, has one relay at most: the previous one loses its suggestion.
    """
    before = by_relay(session, relay.tenant_id)[relay.id]
    wanted = {SuggestionKind.USER: sorted(users), SuggestionKind.PROJECT: sorted(projects)}
    changes: dict[str, tuple[Any, Any]] = {
        f"suggested_{kind}s": (sorted(before.of(kind)), subjects)
        for kind, subjects in wanted.items()
        if sorted(before.of(kind)) != subjects
    }
    if edits.make_default(session, relay, is_default=everybody):
        changes["is_default"] = (not everybody, everybody)
    if not changes:
        return False
    session.execute(delete(Suggestion).where(Suggestion.relay_id == relay.id))
    for kind, subjects in wanted.items():
        _take(session, relay, kind, subjects)
    session.flush()
    audit.record(
        session,
        AuditAction.RELAY_CHANGED,
        tenant_id=relay.tenant_id,
        user_id=user_id,
        relay_id=relay.id,
        changes=changes,
    )
    return True


def _take(session: Session, relay: Relay, kind: SuggestionKind, subjects: Collection[str]) -> None:
    session.execute(
        delete(Suggestion).where(
            Suggestion.tenant_id == relay.tenant_id, Suggestion.kind == kind, Suggestion.subject.in_(subjects)
        )
    )
    for subject in subjects:
        session.add(Suggestion(tenant_id=relay.tenant_id, kind=kind, subject=subject, relay_id=relay.id))
