"""The tables. They have metadata of their own, so that the host's migrations never see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.mysql import LONGBLOB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from own_smtp.clock import UTCDateTime, db_now
from own_smtp.states import BatchState, RelayState, RelayTestState, Route, Security, State

# SQLite counts up only an INTEGER PRIMARY KEY by itself.
BigId = BigInteger().with_variant(Integer, "sqlite")

LARGEST_ID = 2**63 - 1
"""No database counts further, and SQLite takes no larger number even to look for it."""
Blob = LargeBinary().with_variant(LONGBLOB, "mysql", "mariadb")
HostId = String(255)

# Without the binary collation MariaDB takes `Abc` and `abc` for the same reference and one invitation is lost.
TABLE_OPTIONS = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}


class Base(DeclarativeBase):
    """The root of all tables of Own SMTP."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime(), float: Double()}  # noqa: RUF012 -- read by SQLAlchemy, never changed


class Relay(Base):
    """One mail server of a tenant: where it is, who sends, how fast. Written by `own_smtp.relays` only."""

    __tablename__ = "own_smtp_relay"
    __table_args__ = (Index(None, "tenant_id", "deleted_at"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    label: Mapped[str] = mapped_column(String(100))
    description: Mapped[str] = mapped_column(String(1000), default="")
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int]
    security: Mapped[str] = mapped_column(String(20), default=Security.STARTTLS)
    username: Mapped[str | None] = mapped_column(String(320))
    """`None` means without authentication."""
    password: Mapped[str | None] = mapped_column(Text)
    """Encrypted by `own_smtp.secrets`."""
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the one certificate to trust, in hex; `None` means those that the system's authorities vouch for."""
    sender_address: Mapped[str] = mapped_column(String(320))
    sender_name: Mapped[str] = mapped_column(String(200), default="")
    reply_to: Mapped[str | None] = mapped_column(String(320))
    envelope_sender: Mapped[str | None] = mapped_column(String(320))
    """`None` means the sender address."""
    confirmation_address: Mapped[str | None] = mapped_column(String(320))
    """`None` means the sender address."""
    ehlo_name: Mapped[str | None] = mapped_column(String(255))
    """`None` means the worker's own host name."""
    max_connections: Mapped[int] = mapped_column(default=4)
    messages_per_connection: Mapped[int | None]
    min_interval: Mapped[float | None]
    """Least time between two messages, in seconds."""
    jitter: Mapped[float] = mapped_column(default=0.0)
    """By how much the spacing may grow at random, as a share of it."""
    per_second: Mapped[float | None]
    per_minute: Mapped[int | None]
    per_hour: Mapped[int | None]
    per_day: Mapped[int | None]
    sending_windows: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    """When it may send, as `{"days": [0..6], "start": "08:00", "end": "18:00"}`; `None` means always."""
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    """The IANA zone of the sending windows."""
    state: Mapped[str] = mapped_column(String(20), default=RelayState.UNCONFIRMED)
    pause_reason: Mapped[str | None] = mapped_column(String(40))
    pause_text: Mapped[str | None] = mapped_column(String(600))
    """The server's own words with its codes, our own without any, or a person's note."""
    paused_at: Mapped[datetime | None]
    probe_at: Mapped[datetime | None]
    """When a paused relay is tried again by itself; `None` means that it waits for a person."""
    confirmed_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(default=1)
    """Counts changes that a running drain must notice."""
    is_default: Mapped[bool] = mapped_column(default=False)
    """Whether the tenant's projects are offered this relay first."""
    preset: Mapped[str | None] = mapped_column(String(40))
    """The provider whose preset filled the form."""
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    updated_at: Mapped[datetime] = mapped_column(server_default=db_now(), onupdate=db_now())
    deleted_at: Mapped[datetime | None]


class Confirmation(Base):
    """One link mailed to prove that a relay works and that its sender agrees. Written by `own_smtp.relays` only."""

    __tablename__ = "own_smtp_confirmation"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    """SHA-256 of the token, in hex. The token is made when the mail is: until then there is none."""
    configuration: Mapped[str] = mapped_column(String(64))
    """SHA-256 of what the link vouches for: a relay that changed since is not activated by it."""
    address: Mapped[str] = mapped_column(String(320))
    requested_by: Mapped[str | None] = mapped_column(HostId)
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    superseded_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=db_now())
    """When the mail is to be sent, or sent again; `None` means that nothing more is tried."""
    sent_at: Mapped[datetime | None]
    """When the relay accepted the mail."""
    server: Mapped[str | None] = mapped_column(String(300))
    stage: Mapped[str | None] = mapped_column(String(12))
    """Where the last attempt failed; `None` when none did."""
    code: Mapped[int | None] = mapped_column(SmallInteger)
    enhanced: Mapped[str | None] = mapped_column(String(12))
    pause_reason: Mapped[str | None] = mapped_column(String(40))
    error: Mapped[str | None] = mapped_column(String(600))
    """Why the mail could not be sent, in the server's own words."""


class RelayTest(Base):
    """Settings as somebody typed them, tried before they are saved. Written by `own_smtp.relay_tests` only.

    Rows live for an hour: so long they count against the limits, and the typed values can be saved.
    """

    __tablename__ = "own_smtp_test"
    __table_args__ = (Index(None, "tenant_id", "created_at"), Index(None, "host", "port", "created_at"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    requested_by: Mapped[str] = mapped_column(HostId)
    """Only this person sees it."""
    relay_id: Mapped[int | None] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)
    """The relay that the settings are for; `None` means a new one."""
    host: Mapped[str] = mapped_column(String(255))
    port: Mapped[int]
    settings: Mapped[str | None] = mapped_column(Text)
    """What was typed, password included, encrypted by `own_smtp.secrets`; `None` once it was saved."""
    saves: Mapped[bool] = mapped_column(default=False)
    """Whether the settings are saved by themselves when the test is passed."""
    state: Mapped[str] = mapped_column(String(12), default=RelayTestState.WAITING)
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    saved_at: Mapped[datetime | None]
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """The steps that went well, in their order, each with its facts and how long it took."""
    transcript: Mapped[list[list[str]]] = mapped_column(JSON, default=list)
    """What was said, command and reply, without credentials."""
    certificate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """What the server showed, as `own_smtp.certificates` stores it."""
    stage: Mapped[str | None] = mapped_column(String(12))
    """Where it failed; `None` when it did not."""
    code: Mapped[int | None] = mapped_column(SmallInteger)
    enhanced: Mapped[str | None] = mapped_column(String(12))
    pause_reason: Mapped[str | None] = mapped_column(String(40))
    error: Mapped[str | None] = mapped_column(String(600))
    """Why, in the server's own words."""


class Lease(Base):
    """Who drains a relay until when, and the pace that must outlive the drain. Written by `own_smtp.ledger` only."""

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
    """What `own_smtp.pace` must know after a restart."""
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
    """What the last conversation showed of server and TLS, as `own_smtp.facts` stores it."""
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


class ProjectRoute(Base):
    """How the invitations of one project leave."""

    __tablename__ = "own_smtp_project"
    __table_args__ = (UniqueConstraint("tenant_id", "project_id"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    project_id: Mapped[str] = mapped_column(HostId)
    relay_id: Mapped[int | None] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="SET NULL"), index=True)
    """`None` means the platform's own mail."""
    fallback_after: Mapped[int | None]
    """Seconds until the platform's mail may take over; `None` means never."""
    changed_by: Mapped[str | None] = mapped_column(HostId)
    changed_at: Mapped[datetime] = mapped_column(server_default=db_now(), onupdate=db_now())


class Suggestion(Base):
    """For whom a relay is suggested beside the tenant's default: one person, or one project."""

    __tablename__ = "own_smtp_suggestion"
    __table_args__ = (UniqueConstraint("tenant_id", "kind", "subject"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    kind: Mapped[str] = mapped_column(String(10))
    """`user` or `project`."""
    subject: Mapped[str] = mapped_column(HostId)
    """The host's id of the person or project: each has one relay at most."""
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)


class Batch(Base):
    """The invitations of one "send": what they share. Written by `own_smtp.outbox` only."""

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
    """As `own_smtp.contents` stores it; `None` once it was deleted after its retention."""
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


class BatchCounts(Base):
    """How many of a batch's invitations ended how. Kept by `own_smtp.counts`, because counting a million takes long."""

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


class Tally(Base):
    """How many attempts of an hour came to what: the figures behind charts and rates. Kept by `own_smtp.counts`."""

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
    """One message to one recipient. Its state is written by `own_smtp.outbox` and `own_smtp.ledger` only."""

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
    """Content or a whole message of its own, as `own_smtp.contents` stores it."""
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
    of all that a message costs it. `own_smtp.outbox` deletes both together."""
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


class PolicyValue(Base):
    """One setting that an administrator changed on the policy page. Written by `own_smtp.policy` only."""

    __tablename__ = "own_smtp_policy"
    __table_args__ = (TABLE_OPTIONS,)

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    """A field of `own_smtp.config.Settings`, or `own_smtp.policy.PREPARED`."""
    value: Mapped[Any] = mapped_column(JSON)
    """As the configuration would have it; JSON's `null` is a value, too."""
    changed_by: Mapped[str] = mapped_column(HostId)
    changed_at: Mapped[datetime] = mapped_column(server_default=db_now(), onupdate=db_now())


class AuditEntry(Base):
    """Who changed what, when. Secrets appear only as `changed`."""

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


class Shortened(Base):
    """The keyed hash of a recipient whose address was shortened. Written by `own_smtp.retention` only.

    A table of its own, so that finding a person again costs nothing where invitations are sent.
    """

    __tablename__ = "own_smtp_shortened"
    __table_args__ = (Index(None, "digest"), TABLE_OPTIONS)

    invitation_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_invitation.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    digest: Mapped[str] = mapped_column(String(64))
    """As `Vault.digests` makes it of tenant and address."""


class Forgetting(Base):
    """An invitation that a drain has in hand and whose recipient is to be forgotten when it comes back."""

    __tablename__ = "own_smtp_forgetting"
    __table_args__ = (TABLE_OPTIONS,)

    invitation_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_invitation.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )


class Alert(Base):
    """Something that is wrong with a relay at present, and whether its owner was told."""

    __tablename__ = "own_smtp_alert"
    __table_args__ = (UniqueConstraint("relay_id", "cause"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"))
    cause: Mapped[str] = mapped_column(String(20))
    raised_at: Mapped[datetime] = mapped_column(server_default=db_now())
    taken_at: Mapped[datetime | None]
    """When somebody last began to tell it: nobody else does for a while."""
    told_at: Mapped[datetime | None]
    """`None` means that it is to be told."""


class Notice(Base):
    """News of a relay that a drain brought about: written together with that, and deleted when it was told."""

    __tablename__ = "own_smtp_notice"
    __table_args__ = (TABLE_OPTIONS,)

    relay_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    taken_at: Mapped[datetime]
    """When somebody last began to tell it: nobody else does for a while."""


class Errand(Base):
    """Something that one of all the dispatchers does at a time. The row is what they agree by."""

    __tablename__ = "own_smtp_errand"
    __table_args__ = (TABLE_OPTIONS,)

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    due_at: Mapped[datetime]
    taken_at: Mapped[datetime | None]
    """When it was last done, or begun."""


class Counter(Base):
    """A number that only grows, for metrics: what no other table keeps."""

    __tablename__ = "own_smtp_counter"
    __table_args__ = (TABLE_OPTIONS,)

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    label: Mapped[str] = mapped_column(String(60), primary_key=True, default="")
    value: Mapped[float] = mapped_column(default=0.0)
