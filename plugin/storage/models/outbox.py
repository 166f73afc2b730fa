"""Tables that the room `own_smtp.outbox` writes: batches, invitations, attempts, leases and journals.

Other writers: `own_smtp.operations` (after a restore, retention, erasure), and `own_smtp.delivery.bookkeeping`, which
records that the host was notified.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from own_smtp.states import BatchState, Route, State
from own_smtp.storage.clock import db_now
from own_smtp.storage.models.base import TABLE_OPTIONS, Base, BigId, Blob, HostId


class Lease(Base):
    """A drain's lease of a relay, and the state of the relay's limits, which must outlive the drain."""

    __tablename__ = "own_smtp_lease"
    __table_args__ = (TABLE_OPTIONS,)

    relay_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    token: Mapped[int] = mapped_column(BigInteger, default=0)
    """Fencing token: the id of the current drain's journal, by which a stalled drain notices that another took over."""
    owner: Mapped[str | None] = mapped_column(String(120))
    expires_at: Mapped[datetime | None]
    """`None` means that no drain has the relay."""
    drained_at: Mapped[datetime | None]
    """When the lease was last released."""
    wake_at: Mapped[datetime | None]
    """Nothing may be sent before this time."""
    fallback_since: Mapped[datetime | None]
    """Since when the platform's mail service sends instead; `None` once the relay has accepted a message again."""
    failures: Mapped[int] = mapped_column(default=0)
    """Consecutive failures to get a usable connection."""
    failing_since: Mapped[datetime | None]
    """When the first of them was."""
    pace: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """The state that `own_smtp.relays.rate_limits` needs after a restart."""
    last_success_at: Mapped[datetime | None]
    last_error_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(String(600))
    error_cause: Mapped[str | None] = mapped_column(String(60))
    """Stage and codes of the last error, by which errors are compared: the text of the same error may vary."""
    error_count: Mapped[int] = mapped_column(default=0, server_default="0")
    """Consecutive occurrences of that error."""
    error_since: Mapped[datetime | None]
    """When the first of them was."""
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """Server and TLS as of the last session, in the form of `own_smtp.smtp.server_info`."""
    certificate_until: Mapped[datetime | None]
    """When the server's certificate expires; `None` if there is none, or it is not known."""
    drains: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """The number of drains so far."""
    drain_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """Their total duration, in seconds."""


class Journal(Base):
    """A drain with unsettled claims, and the machine that has its journal file.

    The id is the drain's fencing token: it always grows, in SQLite too.
    """

    __tablename__ = "own_smtp_journal"
    __table_args__ = ({"sqlite_autoincrement": True, **TABLE_OPTIONS},)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)
    machine: Mapped[str] = mapped_column(String(64))
    """The id of the journal folder, not of the host: a folder that is moved keeps it."""
    name: Mapped[str] = mapped_column(String(32))
    """The file's name without its extension, random: folders may be shared, and databases recreated."""
    boot: Mapped[str] = mapped_column(String(64))
    """The kernel's boot id: after a reboot the file's last entries may be missing."""
    route: Mapped[str] = mapped_column(String(12), default=Route.RELAY)
    opened_at: Mapped[datetime] = mapped_column(server_default=db_now())


class Batch(Base):
    """The common data of the invitations of one "send"."""

    __tablename__ = "own_smtp_batch"
    __table_args__ = (
        UniqueConstraint("tenant_id", "project_id", "idempotency_key"),
        Index(None, "relay_id", "state"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    project_id: Mapped[str] = mapped_column(HostId)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id"))
    kind: Mapped[str] = mapped_column(String(40))
    is_urgent: Mapped[bool] = mapped_column(default=False)
    """Whether it is sent before other batches, such as a test mail."""
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    content: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """In the form of `own_smtp.messages.contents`; `None` once it was deleted after its retention period."""
    message_key: Mapped[str] = mapped_column(String(32))
    """Random; a part of every Message-ID of the batch."""
    message_domain: Mapped[str] = mapped_column(String(255))
    """The right-hand side of every Message-ID: the sender's domain at the time of sending."""
    fallback_at: Mapped[datetime | None] = mapped_column(index=True)
    """When the platform's mail service may begin to send instead; `None` means never."""
    expires_at: Mapped[datetime | None]
    """When the host's deadline is; `None` means that only the platform's retry horizon applies."""
    state: Mapped[str] = mapped_column(String(20), default=BatchState.OPEN)
    taken_count: Mapped[int] = mapped_column(default=0)
    """Invitations added to the outbox."""
    refused_count: Mapped[int] = mapped_column(default=0)
    """Invitations refused at intake."""
    created_by: Mapped[str | None] = mapped_column(HostId)
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    purged_at: Mapped[datetime | None]
    """When its content and all values of its invitations were deleted; `None` until then."""
    shortened_at: Mapped[datetime | None]
    """When the addresses of all its recipients were shortened; `None` until then."""


class BatchTotals(Base):
    """A batch's invitations by final state, maintained by `own_smtp.outbox.totals`: counting a million takes long."""

    __tablename__ = "own_smtp_batch_counts"
    __table_args__ = (TABLE_OPTIONS,)

    batch_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_batch.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    accepted: Mapped[int] = mapped_column(default=0)
    refused: Mapped[int] = mapped_column(default=0)
    failed: Mapped[int] = mapped_column(default=0)
    unknown: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[int] = mapped_column(default=0)
    by_platform: Mapped[int] = mapped_column(default=0)
    """The accepted invitations that the platform's mail service sent."""


class BatchFile(Base):
    """An attachment, in a separate table so that reading a batch does not read its files."""

    __tablename__ = "own_smtp_batch_file"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_batch.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(255))
    content_id: Mapped[str | None] = mapped_column(String(255))
    data: Mapped[bytes] = mapped_column(Blob)


NOTIFY_PENDING = "untold_since IS NOT NULL"


class Invitation(Base):
    """One message to one recipient."""

    __tablename__ = "own_smtp_invitation"
    __table_args__ = (
        UniqueConstraint("batch_id", "reference"),
        Index(None, "batch_id", "state", "next_attempt_at", "id"),
        # Nearly all hosts are notified at once: where the database supports it, the index contains only pending rows.
        Index(None, "untold_since", sqlite_where=text(NOTIFY_PENDING), postgresql_where=text(NOTIFY_PENDING)),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_batch.id", ondelete="CASCADE"))
    reference: Mapped[str] = mapped_column(HostId)
    address: Mapped[str] = mapped_column(String(320))
    name: Mapped[str] = mapped_column(String(255), default="")
    values: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """The placeholders' values; `None` once they were deleted after their retention period."""
    override: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Its own content or whole message, in the form of `own_smtp.messages.contents`."""
    state: Mapped[str] = mapped_column(String(12), default=State.QUEUED)
    changed_at: Mapped[datetime] = mapped_column(server_default=db_now())
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=db_now())
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    first_failure_at: Mapped[datetime | None]
    """When it first failed temporarily; the retry horizon begins then."""
    token: Mapped[int | None] = mapped_column(BigInteger)
    """The token of the drain that claimed it; only that drain, or its recovery, may settle it."""
    route: Mapped[str] = mapped_column(String(12), default=Route.RELAY)
    untold_since: Mapped[datetime | None]
    """Since when the host's notification of the current state is pending; `None` if the host was notified."""


class Attempt(Base):
    """One attempt at one invitation, for the delivery log."""

    __tablename__ = "own_smtp_attempt"
    __table_args__ = (Index(None, "invitation_id"), Index(None, "relay_id", "at"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    invitation_id: Mapped[int] = mapped_column(BigId)
    """No foreign key: databases would look up and lock the invitation for each attempt, which is a fifth of the total
    cost of a message in PostgreSQL. `own_smtp.operations.erasure` deletes both together."""
    relay_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12))
    """The invitation's state after this attempt."""
    route: Mapped[str] = mapped_column(String(12), default=Route.RELAY)
    stage: Mapped[str] = mapped_column(String(12))
    code: Mapped[int | None] = mapped_column(SmallInteger)
    enhanced: Mapped[str | None] = mapped_column(String(12))
    text: Mapped[str] = mapped_column(String(500), default="")
    """The text of the server's reply, control characters removed; our own text if there was none."""
    server: Mapped[str | None] = mapped_column(String(300))
    """The server's host name and connected address."""


class HourlyStat(Base):
    """Attempts by hour, state and reply code, for charts and rates, maintained by `own_smtp.outbox.totals`."""

    __tablename__ = "own_smtp_tally"
    __table_args__ = (Index(None, "batch_id"), TABLE_OPTIONS)

    relay_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    """The beginning of the hour."""
    batch_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_batch.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    state: Mapped[str] = mapped_column(String(12), primary_key=True)
    """The invitations' state after these attempts."""
    code: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """The reply's code; 0 if there was no reply."""
    count: Mapped[int] = mapped_column(default=0)
