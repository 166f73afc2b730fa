"""Who changed what, when: the only writer of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert
from sqlalchemy.orm import Session

from own_smtp.storage.models import AuditEntry

Changes = Mapping[str, tuple[Any, Any]]

PLATFORM = ""
"""Stands in the log where a tenant's id would, for what concerns all of them. No tenant has this id."""

OPERATOR = ""
"""Stands in the log where a user's id would, for an operator at the command line. No user has this id."""

SECRET = "changed"
"""Stands in the log where a secret's value would."""


class AuditAction(StrEnum):
    """What can stand in the log."""

    RELAY_CREATED = "relay_created"
    RELAY_CHANGED = "relay_changed"
    RELAY_DELETED = "relay_deleted"
    RELAY_PAUSED = "relay_paused"
    RELAY_RESUMED = "relay_resumed"
    RELAY_CONFIRMED = "relay_confirmed"
    RELAY_TESTED = "relay_tested"
    CERTIFICATE_TRUSTED = "certificate_trusted"
    TEST_MAIL_SENT = "test_mail_sent"
    CONFIRMATION_REQUESTED = "confirmation_requested"
    PROJECT_ROUTED = "project_routed"
    INVITATIONS_MOVED = "invitations_moved"
    INVITATIONS_CANCELLED = "invitations_cancelled"
    BATCH_PAUSED = "batch_paused"
    BATCH_RESUMED = "batch_resumed"
    BATCH_CANCELLED = "batch_cancelled"
    BATCH_RETRIED = "batch_retried"
    PERSON_FORGOTTEN = "person_forgotten"
    POLICY_CHANGED = "policy_changed"


def record(
    where: Connection | Session,
    action: AuditAction,
    *,
    tenant_id: str,
    user_id: str | None,
    relay_id: int | None = None,
    project_id: str | None = None,
    changes: Changes | None = None,
) -> None:
    """Add an entry to the present transaction.

    `user_id` is `None` for what Own SMTP did itself, and `OPERATOR` at the command line. `changes` names each changed
    field with its value before and after; give `SECRET` for both sides of a secret.
    """
    details = {name: [before, after] for name, (before, after) in (changes or {}).items()}
    where.execute(
        insert(AuditEntry).values(
            tenant_id=tenant_id,
            user_id=user_id,
            action=action,
            relay_id=relay_id,
            project_id=project_id,
            details=details or None,
        )
    )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return what differs between two states of the same fields."""
    return {name: (before.get(name), value) for name, value in after.items() if before.get(name) != value}
