"""Tables that the room `own_smtp.storage` writes: the audit log, periodic tasks, counters."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Index,
    String,
)
from sqlalchemy.orm import Mapped, mapped_column

from own_smtp.storage.clock import db_now
from own_smtp.storage.models.base import TABLE_OPTIONS, Base, BigId, HostId


class AuditEntry(Base):
    """One entry of the audit log: who changed what, and when. Secrets appear only as `changed`."""

    __tablename__ = "own_smtp_audit"
    __table_args__ = (Index(None, "tenant_id", "id"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=db_now())
    tenant_id: Mapped[str] = mapped_column(HostId)
    user_id: Mapped[str | None] = mapped_column(HostId)
    """`None` means Own SMTP itself."""
    action: Mapped[str] = mapped_column(String(40))
    relay_id: Mapped[int | None] = mapped_column(BigInteger)
    project_id: Mapped[str | None] = mapped_column(HostId)
    details: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """Field name to `[from, to]`."""


class PeriodicTask(Base):
    """A task that one dispatcher runs at a time for all machines. The row decides which one."""

    __tablename__ = "own_smtp_errand"
    __table_args__ = (TABLE_OPTIONS,)

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    due_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    """When it was last begun."""


class Counter(Base):
    """A number that only grows, for metrics that no other table has."""

    __tablename__ = "own_smtp_counter"
    __table_args__ = (TABLE_OPTIONS,)

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    label: Mapped[str] = mapped_column(String(60), primary_key=True, default="")
    value: Mapped[float] = mapped_column(default=0.0)
