"""Tables that the room `own_smtp.outbox` writes: batches, invitations, attempts, and what drains hold.

Beside it only what restores, shortens and erases writes them (`own_smtp.operations`), and
`own_smtp.delivery.bookkeeping` notes when the host was told.
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
    """Who drains a relay until when, and the pace that must outlive the drain."""

    __tablename__ = "own_smtp_lease"
    __table_args__ = (TABLE_OPTIONS,)

    relay_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    token: Mapped[int] = mapped_column(BigInteger, default=0)
    """The id of the present drain's journal: one that stalled and came back knows by it that another took over."""
    owner: Mapped[str | None] = mapped_column(String(120))
    expires_at: Mapped[datetime | None]
    """`None` means that nobody drains the relay."""
    drained_at: Mapped[datetime | None]
    """When it was last given back."""
    wake_at: Mapped[datetime | None]
    """Before this nothing may be sent."""
    fallback_since: Mapped[datetime | None]
    """Since when the platform's own mail has had to take over; `None` once the relay took a message again."""
    failures: Mapped[int] = mapped_column(default=0)
    """Consecutive failures to get a usable connection."""
    failing_since: Mapped[datetime | None]
    """When the first of them was."""
    pace: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What `own_smtp.relays.rate_limits` must know after a restart."""
    last_success_at: Mapped[datetime | None]
    last_error_at: Mapped[datetime | None]
    last_error: Mapped[str | None] = mapped_column(String(600))
    error_cause: Mapped[str | None] = mapped_column(String(60))
    """Stage and codes of the last error: the words of the same one differ from time to time."""
    error_count: Mapped[int] = mapped_column(default=0, server_default="0")
    """How often in a row that error came."""
    error_since: Mapped[datetime | None]
    """When it first came."""
    facts: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """What the last conversation showed of server and TLS, as `own_smtp.smtp.server_info` stores it."""
    certificate_until: Mapped[datetime | None]
    """Until when the server's certificate is valid; `None` where there is none, or it is not known."""
    drains: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    """How many drains there have been."""
    drain_seconds: Mapped[float] = mapped_column(default=0.0, server_default="0")
    """How long they took together."""


class Journal(Base):
    """A drain whose claims are not all settled, and the machine that has its journal file.

    The id is the drain's fencing token: it only ever grows, in SQLite too.
    """

    __tablename__ = "own_smtp_journal"
    __table_args__ = ({"sqlite_autoincrement": True, **TABLE_OPTIONS},)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)
    machine: Mapped[str] = mapped_column(String(64))
    """Names the journal folder, not the host: a folder that moves keeps its name."""
    name: Mapped[str] = mapped_column(String(32))
    """The file's name without its ending, random: folders may be shared, and databases be made anew."""
    boot: Mapped[str] = mapped_column(String(64))
    """The kernel's boot id: after a reboot the file may miss what was written last."""
    route: Mapped[str] = mapped_column(String(12), default=Route.RELAY)
    opened_at: Mapped[datetime] = mapped_column(server_default=db_now())


class Batch(Base):
    """The invitations of one "send": what they share.."""

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
    """Confirmations, tests and single resends overtake everything else."""
    idempotency_key: Mapped[str | None] = mapped_column(String(255))
    content: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    """As `own_smtp.messages.contents` stores it; `None` once it was deleted after its retention."""
    message_key: Mapped[str] = mapped_column(String(32))
    """Random; every Message-ID of the batch is made from it."""
    message_domain: Mapped[str] = mapped_column(String(255))
    """The right-hand side of every Message-ID: the sender's domain at the time of sending."""
    fallback_at: Mapped[datetime | None] = mapped_column(index=True)
    """From when on the platform's own mail may take over; `None` means never."""
    expires_at: Mapped[datetime | None]
    """When the host wants to give up; `None` means after the platform's retry horizon."""
    state: Mapped[str] = mapped_column(String(20), default=BatchState.OPEN)
    taken_count: Mapped[int] = mapped_column(default=0)
    """Invitations that were taken."""
    refused_count: Mapped[int] = mapped_column(default=0)
    """Invitations that were not taken."""
    created_by: Mapped[str | None] = mapped_column(HostId)
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    purged_at: Mapped[datetime | None]
    """When its content and all values of its invitations were gone; `None` until then."""
    shortened_at: Mapped[datetime | None]
    """When the addresses of all its recipients were shortened; `None` until then."""


class BatchTotals(Base):
    """A batch's invitations by final state. Kept by `own_smtp.outbox.totals`: counting a million takes long."""

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
    """Those of the accepted that the platform's own mail took over."""


class BatchFile(Base):
    """An attachment, kept apart so that reading a batch does not read its files."""

    __tablename__ = "own_smtp_batch_file"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_batch.id", ondelete="CASCADE"), index=True)
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(255))
    content_id: Mapped[str | None] = mapped_column(String(255))
    data: Mapped[bytes] = mapped_column(Blob)


UNTOLD = "untold_since IS NOT NULL"


class Invitation(Base):
    """One message to one recipient."""

    __tablename__ = "own_smtp_invitation"
    __table_args__ = (
        UniqueConstraint("batch_id", "reference"),
        Index(None, "batch_id", "state", "next_attempt_at", "id"),
        # Nearly all are told at once: where the database can, the index holds the others only.
        Index(None, "untold_since", sqlite_where=text(UNTOLD), postgresql_where=text(UNTOLD)),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    batch_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_batch.id", ondelete="CASCADE"))
    reference: Mapped[str] = mapped_column(HostId)
    address: Mapped[str] = mapped_column(String(320))
    name: Mapped[str] = mapped_column(String(255), default="")
    values: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    """What the placeholders stand for; `None` once it was deleted after its retention."""
    override: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """Content or a whole message of its own, as `own_smtp.messages.contents` stores it."""
    state: Mapped[str] = mapped_column(String(12), default=State.QUEUED)
    changed_at: Mapped[datetime] = mapped_column(server_default=db_now())
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=db_now())
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    first_failure_at: Mapped[datetime | None]
    """When it first failed for the time being; the retry horizon counts from here."""
    token: Mapped[int | None] = mapped_column(BigInteger)
    """The token of the drain that claimed it; only that drain, or its recovery, may settle it."""
    route: Mapped[str] = mapped_column(String(12), default=Route.RELAY)
    untold_since: Mapped[datetime | None]
    """Since when the host has not been told of the present state; `None` when it has."""


class Attempt(Base):
    """One try at one invitation, for the delivery log."""

    __tablename__ = "own_smtp_attempt"
    __table_args__ = (Index(None, "invitation_id"), Index(None, "relay_id", "at"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    invitation_id: Mapped[int] = mapped_column(BigId)
    """No foreign key: databases would look up and lock the invitation for each attempt, which costs PostgreSQL a fifth
    of all that a message costs it. `own_smtp.outbox.actions` deletes both together."""
    relay_id: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(12))
    """The invitation's state after this attempt."""
    route: Mapped[str] = mapped_column(String(12), default=Route.RELAY)
    stage: Mapped[str] = mapped_column(String(12))
    code: Mapped[int | None] = mapped_column(SmallInteger)
    enhanced: Mapped[str | None] = mapped_column(String(12))
    text: Mapped[str] = mapped_column(String(500), default="")
    """The server's own words, control characters removed."""
    server: Mapped[str | None] = mapped_column(String(300))
    """Host name and address that answered."""


class HourlyStat(Base):
    """Attempts by hour, state and reply code, for charts and rates. Kept by `own_smtp.outbox.totals`."""

    __tablename__ = "own_smtp_tally"
    __table_args__ = (Index(None, "batch_id"), TABLE_OPTIONS)

    relay_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    hour: Mapped[datetime] = mapped_column(primary_key=True)
    """When the hour began."""
    batch_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_batch.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    state: Mapped[str] = mapped_column(String(12), primary_key=True)
    """The invitations' state after these attempts."""
    code: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    """The reply's code; 0 when there was no reply."""
    count: Mapped[int] = mapped_column(default=0)
