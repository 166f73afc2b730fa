"""Tables that the room `own_smtp.relays` writes: mail servers and their use.

The only other writer is `own_smtp.operations.erasure`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    ForeignKey,
    Index,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    literal_column,
)
from sqlalchemy.orm import Mapped, mapped_column

from own_smtp.states import RelayState, RelayTestState, Security
from own_smtp.storage.clock import db_now
from own_smtp.storage.models.base import TABLE_OPTIONS, Base, BigId, HostId


class Relay(Base):
    """One mail server of a tenant: address, credentials, sender and limits."""

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
    """Encrypted by `own_smtp.storage.encryption`."""
    fingerprint: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the one trusted certificate, in hex; `None` means the system's certificate authorities."""
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
    """Minimum time between two messages, in seconds."""
    jitter: Mapped[float] = mapped_column(default=0.0)
    """Random extension of each interval, as a fraction of it at most."""
    per_second: Mapped[float | None]
    per_minute: Mapped[int | None]
    per_hour: Mapped[int | None]
    per_day: Mapped[int | None]
    sending_windows: Mapped[list[dict[str, Any]] | None] = mapped_column(JSON)
    """The hours in which it may send, as `{"days": [0..6], "start": "08:00", "end": "18:00"}`; `None` means always."""
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")
    """The IANA zone of the sending windows."""
    state: Mapped[str] = mapped_column(String(20), default=RelayState.UNCONFIRMED)
    pause_reason: Mapped[str | None] = mapped_column(String(40))
    pause_text: Mapped[str | None] = mapped_column(String(600))
    """The server's reply with its codes, our own text without any, or a person's note."""
    paused_at: Mapped[datetime | None]
    probe_at: Mapped[datetime | None]
    """When a paused relay is retried automatically; `None` means that only a person resumes it."""
    confirmed_at: Mapped[datetime | None]
    revision: Mapped[int] = mapped_column(default=1, onupdate=literal_column("revision + 1"))
    """Counts changes that a running drain must notice. The database increments it with every update: it never falls."""
    is_default: Mapped[bool] = mapped_column(default=False)
    """Whether this relay is suggested to all projects of the tenant."""
    preset: Mapped[str | None] = mapped_column(String(40))
    """The provider whose preset filled the form."""
    saved_by: Mapped[str | None] = mapped_column(HostId)
    """The person who last saved it on a page."""
    saved_by_address: Mapped[str | None] = mapped_column(String(320))
    """That person's own address as given by the host then: the default recipient of notices about the relay."""
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    updated_at: Mapped[datetime] = mapped_column(server_default=db_now(), onupdate=db_now())
    deleted_at: Mapped[datetime | None]


class Confirmation(Base):
    """One mailed link that proves that a relay works and that its sender agrees."""

    __tablename__ = "own_smtp_confirmation"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)
    token_hash: Mapped[str | None] = mapped_column(String(64), unique=True)
    """SHA-256 of the token, in hex. The token is created together with the mail; until then it is `None`."""
    configuration: Mapped[str] = mapped_column(String(64))
    """SHA-256 of the settings that the link confirms: after a change of them it does not activate the relay."""
    address: Mapped[str] = mapped_column(String(320))
    requested_by: Mapped[str | None] = mapped_column(HostId)
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    superseded_at: Mapped[datetime | None]
    attempts: Mapped[int] = mapped_column(SmallInteger, default=0)
    next_attempt_at: Mapped[datetime | None] = mapped_column(server_default=db_now())
    """When the mail must be sent, or sent again; `None` means that there is no further attempt."""
    sent_at: Mapped[datetime | None]
    """When the relay accepted the mail."""
    server: Mapped[str | None] = mapped_column(String(300))
    stage: Mapped[str | None] = mapped_column(String(12))
    """The stage in which the last attempt failed; `None` if none did."""
    code: Mapped[int | None] = mapped_column(SmallInteger)
    enhanced: Mapped[str | None] = mapped_column(String(12))
    pause_reason: Mapped[str | None] = mapped_column(String(40))
    error: Mapped[str | None] = mapped_column(String(600))
    """Why the mail could not be sent: the text of the server's reply."""


class RelayTest(Base):
    """A connection test of settings before they are saved.

    Rows exist for an hour: meanwhile they count against the limits, and the settings can be saved.
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
    """The typed settings with the password, encrypted by `own_smtp.storage.encryption`; `None` once they were saved."""
    saves: Mapped[bool] = mapped_column(default=False)
    """Whether the settings are saved automatically when the test is passed."""
    state: Mapped[str] = mapped_column(String(12), default=RelayTestState.WAITING)
    created_at: Mapped[datetime] = mapped_column(server_default=db_now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    saved_at: Mapped[datetime | None]
    steps: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    """The completed steps in their order, each with its facts and its duration."""
    transcript: Mapped[list[list[str]]] = mapped_column(JSON, default=list)
    """Pairs of command and reply, without credentials."""
    certificate: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    """The server's certificate, in the form of `own_smtp.smtp.certificates`."""
    stage: Mapped[str | None] = mapped_column(String(12))
    """The stage in which it failed; `None` if it did not."""
    code: Mapped[int | None] = mapped_column(SmallInteger)
    enhanced: Mapped[str | None] = mapped_column(String(12))
    pause_reason: Mapped[str | None] = mapped_column(String(40))
    error: Mapped[str | None] = mapped_column(String(600))
    """Why: the text of the server's reply."""


class ProjectRoute(Base):
    """The relay of one project's invitations, and its fallback."""

    __tablename__ = "own_smtp_project"
    __table_args__ = (UniqueConstraint("tenant_id", "project_id"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    project_id: Mapped[str] = mapped_column(HostId)
    relay_id: Mapped[int | None] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="SET NULL"), index=True)
    """`None` means the platform's mail service."""
    fallback_after: Mapped[int | None]
    """Seconds until the platform's mail service may send instead; `None` means never."""
    changed_by: Mapped[str | None] = mapped_column(HostId)
    changed_at: Mapped[datetime] = mapped_column(server_default=db_now(), onupdate=db_now())


class Suggestion(Base):
    """One person or project that a relay is suggested to, beside the tenant's default."""

    __tablename__ = "own_smtp_suggestion"
    __table_args__ = (UniqueConstraint("tenant_id", "kind", "subject"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    tenant_id: Mapped[str] = mapped_column(HostId)
    kind: Mapped[str] = mapped_column(String(10))
    """`user` or `project`."""
    subject: Mapped[str] = mapped_column(HostId)
    """The host's id of the person or project: each has one relay at most."""
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), index=True)


class TenantLimit(Base):
    """How often a tenant did one kind of act in the current period; the row is locked during counting."""

    __tablename__ = "own_smtp_limit"
    __table_args__ = (TABLE_OPTIONS,)

    tenant_id: Mapped[str] = mapped_column(HostId, primary_key=True)
    kind: Mapped[str] = mapped_column(String(60), primary_key=True)
    """The kind of act; `own_smtp.relays.tenant_limits.ACTS` is only a lock, and counts nothing."""
    since: Mapped[datetime | None]
    """The beginning of the period."""
    used: Mapped[int] = mapped_column(default=0)


class PolicyValue(Base):
    """One setting that an administrator changed on the policy page."""

    __tablename__ = "own_smtp_policy"
    __table_args__ = (TABLE_OPTIONS,)

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    """A field of `own_smtp.settings.Settings`, or `own_smtp.relays.policy.PREPARED`."""
    value: Mapped[Any] = mapped_column(JSON)
    """In the form of the configuration; JSON's `null` is a value, too."""
    changed_by: Mapped[str] = mapped_column(HostId)
    changed_at: Mapped[datetime] = mapped_column(server_default=db_now(), onupdate=db_now())
