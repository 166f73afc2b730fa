"""The audit log: the only writer of its entries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert
from sqlalchemy.orm import Session

from own_smtp.storage.models import AuditEntry

Changes = Mapping[str, tuple[Any, Any]]

PLATFORM = ""
"""Replaces the tenant's id in entries that concern all tenants. No tenant has this id."""

OPERATOR = ""
"""Replaces the user's id in entries of an operator at the command line. No user has this id."""

SECRET = "changed"
"""Replaces the value of a secret."""


class AuditAction(StrEnum):
    """The kinds of entries."""

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
    """Add an entry in the current transaction.

    `user_id` is `None` for actions of Own SMTP itself, and `OPERATOR` for those at the command line. `changes` maps
    each changed field to its values before and after; pass `SECRET` for both values of a secret.
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
    """Return the fields that differ, each with its values before and after."""
    return {name: (before.get(name), value) for name, value in after.items() if before.get(name) != value}
