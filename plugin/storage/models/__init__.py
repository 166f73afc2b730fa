"""The tables, one file for each room that writes them. Each file names the other writers."""

from __future__ import annotations

from own_smtp.storage.models.base import LARGEST_ID, TABLE_OPTIONS, Base, BigId, Blob, HostId
from own_smtp.storage.models.common import AuditEntry, Counter, PeriodicTask
from own_smtp.storage.models.operations import Alert, Forgetting, Notice, Shortened
from own_smtp.storage.models.outbox import (
    NOTIFY_PENDING,
    Attempt,
    Batch,
    BatchFile,
    BatchTotals,
    HourlyStat,
    Invitation,
    Journal,
    Lease,
)
from own_smtp.storage.models.relays import (
    Confirmation,
    PolicyValue,
    ProjectRoute,
    Relay,
    RelayTest,
    Suggestion,
    TenantLimit,
)

__all__ = [
    "LARGEST_ID",
    "NOTIFY_PENDING",
    "TABLE_OPTIONS",
    "Alert",
    "Attempt",
    "AuditEntry",
    "Base",
    "Batch",
    "BatchFile",
    "BatchTotals",
    "BigId",
    "Blob",
    "Confirmation",
    "Counter",
    "Forgetting",
    "HostId",
    "HourlyStat",
    "Invitation",
    "Journal",
    "Lease",
    "Notice",
    "PeriodicTask",
    "PolicyValue",
    "ProjectRoute",
    "Relay",
    "RelayTest",
    "Shortened",
    "Suggestion",
    "TenantLimit",
]
