"""The tables, by the room that alone may write them."""

from __future__ import annotations

from own_smtp.storage.models.base import LARGEST_ID, TABLE_OPTIONS, Base, BigId, Blob, HostId
from own_smtp.storage.models.common import AuditEntry, Counter, Errand
from own_smtp.storage.models.operations import Alert, Forgetting, Notice, Shortened
from own_smtp.storage.models.outbox import (
    UNTOLD,
    Attempt,
    Batch,
    BatchCounts,
    BatchFile,
    Invitation,
    Journal,
    Lease,
    Tally,
)
from own_smtp.storage.models.relays import Confirmation, PolicyValue, ProjectRoute, Relay, RelayTest, Suggestion

__all__ = [
    "LARGEST_ID",
    "TABLE_OPTIONS",
    "UNTOLD",
    "Alert",
    "Attempt",
    "AuditEntry",
    "Base",
    "Batch",
    "BatchCounts",
    "BatchFile",
    "BigId",
    "Blob",
    "Confirmation",
    "Counter",
    "Errand",
    "Forgetting",
    "HostId",
    "Invitation",
    "Journal",
    "Lease",
    "Notice",
    "PolicyValue",
    "ProjectRoute",
    "Relay",
    "RelayTest",
    "Shortened",
    "Suggestion",
    "Tally",
]
