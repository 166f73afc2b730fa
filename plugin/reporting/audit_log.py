"""The audit log for people: sentences with names instead of ids, on a page and as CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from own_smtp.i18n import gettext, isolated
from own_smtp.reporting.audit_texts import ACTIONS, FIELDS, Names, value_text
from own_smtp.storage.audit import OPERATOR, SECRET, AuditAction
from own_smtp.storage.models import AuditEntry, Relay

PAGE = 50
"""Lines on one page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One changed field: its name and its values as text."""

    name: str
    before: str
    """The value before; empty when there was none."""
    after: str
    is_secret: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One entry."""

    entry_id: int
    at: datetime
    who: str
    what: str
    server: str
    project: str
    changes: tuple[Change, ...]


def relay_names(session: Session, tenant_id: str) -> dict[int, str]:
    """Return the labels of all the tenant's relays, including deleted ones."""
    rows = session.execute(select(Relay.id, Relay.label).where(Relay.tenant_id == tenant_id))
    return {row.id: row.label for row in rows}


def lines(session: Session, tenant_id: str, names: Names, *, before: int | None = None) -> list[AuditLine]:
    """Return the newest entries of a tenant, `PAGE` at a time. `before` is the `entry_id` of the last line seen."""
    query = select(AuditEntry).where(AuditEntry.tenant_id == tenant_id).order_by(AuditEntry.id.desc()).limit(PAGE)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    return [_line(entry, names) for entry in session.scalars(query)]


def all_lines(session: Session, tenant_id: str, names: Names) -> Iterator[AuditLine]:
    """Yield every entry of a tenant, newest first, read in pages."""
    before = None
    while page := lines(session, tenant_id, names, before=before):
        yield from page
        before = page[-1].entry_id


def _line(entry: AuditEntry, names: Names) -> AuditLine:
    return AuditLine(
        entry_id=entry.id,
        at=entry.at,
        who=_who(entry, names),
        what=str(ACTIONS.get(entry.action, entry.action)),
        server=names.relays.get(entry.relay_id, "") if entry.relay_id else "",
        project=names.projects.get(entry.project_id, entry.project_id) if entry.project_id else "",
        changes=tuple(_change(name, pair, names) for name, pair in (entry.details or {}).items()),
    )


def _who(entry: AuditEntry, names: Names) -> str:
    if entry.user_id:
        return names.name_of(entry.user_id)
    if entry.user_id == OPERATOR:
        return gettext("Operator (command line)")
    if entry.action == AuditAction.RELAY_CONFIRMED:
        return gettext("whoever followed the link")
    return gettext("by itself")


def _change(name: str, pair: Sequence[Any], names: Names) -> Change:
    return Change(
        name=str(FIELDS.get(name, name)),
        before=value_text(name, pair[0], names),
        after=value_text(name, pair[1], names),
        is_secret=name == "password" and SECRET in pair,
    )


def change_text(change: Change) -> str:
    """Describe one change in one line."""
    if change.is_secret:
        return gettext("%(name)s: changed", name=change.name)
    before, after = isolated(change.before), isolated(change.after)
    return f"{change.name}: {before} → {after or gettext('nothing')}" if before else f"{change.name}: {after}"
