"""The platform's tables: tenants, people, surveys, participants, sends and responses."""

from __future__ import annotations

import secrets
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from survey_host.base import Base, now

TABLE_OPTIONS = {"mysql_charset": "utf8mb4", "mysql_collate": "utf8mb4_bin", "mysql_engine": "InnoDB"}
LANGUAGES = {"en": "English", "de": "Deutsch"}


class Role(StrEnum):
    """A person's permissions."""

    PLATFORM_ADMIN = "platform_admin"
    """Everything, in every tenant."""
    TENANT_ADMIN = "tenant_admin"
    """Everything in one tenant, including its people and settings."""
    SURVEY_MANAGER = "survey_manager"
    """Surveys of one tenant: questions, participants, sends, responses."""


class Kind(StrEnum):
    """The kinds of mails to participants."""

    INVITATION = "invitation"
    REMINDER = "reminder"


class QuestionKind(StrEnum):
    """The kinds of answers to a question."""

    TEXT = "text"
    SINGLE = "single"
    MULTIPLE = "multiple"
    SCALE = "scale"


class MailState(StrEnum):
    """The platform's own states of a participant's last mail; plugins report further ones."""

    QUEUED = "queued"
    """Claimed by a send: waiting, here or in the plugin that accepted it."""
    SENDING = "sending"
    """Handed to a mail server that has not replied yet."""
    SENT = "sent"
    """Accepted by the platform's own mail server."""
    NOT_TAKEN = "not_taken"
    """Refused at once; the reason is stored."""
    UNKNOWN = "unknown"
    """The connection was lost before the platform's mail server replied: it may have been sent."""


def _token() -> str:
    return secrets.token_urlsafe(16)


class Tenant(Base):
    """A customer of the platform."""

    __tablename__ = "tenant"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(120), unique=True)
    language: Mapped[str] = mapped_column(String(10), default="en")
    timezone: Mapped[str] = mapped_column(String(64), default="UTC")


class Account(Base):
    """A person who signs in."""

    __tablename__ = "account"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int | None] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"))
    """`None` for platform administrators only."""
    role: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(120))
    email: Mapped[str] = mapped_column(String(254), unique=True)
    """In lower case."""
    language: Mapped[str] = mapped_column(String(10), default="en")
    password_hash: Mapped[str] = mapped_column(String(255))
    is_active: Mapped[bool] = mapped_column(default=True)


class Survey(Base):
    """One survey of a tenant."""

    __tablename__ = "survey"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(primary_key=True)
    tenant_id: Mapped[int] = mapped_column(ForeignKey("tenant.id", ondelete="CASCADE"), index=True)
    title: Mapped[str] = mapped_column(String(200))
    welcome: Mapped[str] = mapped_column(Text, default="")
    thanks: Mapped[str] = mapped_column(Text, default="")
    language: Mapped[str] = mapped_column(String(10), default="en")
    """The language for participants in whose language there is no text."""
    closes_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)
    tenant: Mapped[Tenant] = relationship()
    questions: Mapped[list[Question]] = relationship(
        order_by="Question.position, Question.id", cascade="all, delete-orphan", passive_deletes=True
    )

    @property
    def is_closed(self) -> bool:
        """Whether it accepts no more responses."""
        return self.closes_at is not None and self.closes_at <= now()


class Question(Base):
    """One question of a survey."""

    __tablename__ = "question"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(primary_key=True)
    survey_id: Mapped[int] = mapped_column(ForeignKey("survey.id", ondelete="CASCADE"), index=True)
    position: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(String(1000))
    options: Mapped[list[str]] = mapped_column(JSON, default=list)
    """The choices; for a scale the labels of its two ends."""
    points: Mapped[int] = mapped_column(default=5)
    """The number of steps of a scale."""
    is_required: Mapped[bool] = mapped_column(default=False)


class SurveyText(Base):
    """The text of an invitation or a reminder in one language."""

    __tablename__ = "survey_text"
    __table_args__ = (UniqueConstraint("survey_id", "kind", "language"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(primary_key=True)
    survey_id: Mapped[int] = mapped_column(ForeignKey("survey.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    language: Mapped[str] = mapped_column(String(10))
    subject: Mapped[str] = mapped_column(String(250))
    text: Mapped[str] = mapped_column(Text)
    html: Mapped[str | None] = mapped_column(Text)


class SendRun(Base):
    """One click on "send", and its result."""

    __tablename__ = "send_run"
    __table_args__ = (UniqueConstraint("survey_id", "nonce"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(primary_key=True)
    survey_id: Mapped[int] = mapped_column(ForeignKey("survey.id", ondelete="CASCADE"))
    nonce: Mapped[str] = mapped_column(String(64))
    """From the form: a second post of the same form finds the first one's run."""
    kind: Mapped[str] = mapped_column(String(20))
    audience: Mapped[str] = mapped_column(String(20))
    sender: Mapped[str] = mapped_column(String(255))
    """The person's choice."""
    is_taken_over: Mapped[bool] = mapped_column(default=False)
    """Whether a plugin delivers it; otherwise the platform does."""
    batch_id: Mapped[int | None]
    """The plugin's own id of it."""
    claimed: Mapped[int] = mapped_column(default=0)
    taken: Mapped[int] = mapped_column(default=0)
    refused_count: Mapped[int] = mapped_column(default=0)
    refused: Mapped[list[dict[str, str]]] = mapped_column(JSON, default=list)
    waits_for: Mapped[str | None] = mapped_column(Text)
    finishes_at: Mapped[datetime | None]
    url: Mapped[str | None] = mapped_column(String(500))
    """The plugin's page about it."""
    problem: Mapped[str | None] = mapped_column(Text)
    """Why the platform's own sending stopped early."""
    created_by: Mapped[int | None] = mapped_column(ForeignKey("account.id", ondelete="SET NULL"))
    created_at: Mapped[datetime] = mapped_column(default=now)


class Participant(Base):
    """A person invited to a survey."""

    __tablename__ = "participant"
    __table_args__ = (
        UniqueConstraint("survey_id", "token"),
        UniqueConstraint("survey_id", "email"),
        Index(None, "survey_id", "run_id"),
        TABLE_OPTIONS,
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    survey_id: Mapped[int] = mapped_column(ForeignKey("survey.id", ondelete="CASCADE"))
    first_name: Mapped[str] = mapped_column(String(120), default="")
    last_name: Mapped[str] = mapped_column(String(120), default="")
    email: Mapped[str] = mapped_column(String(254))
    language: Mapped[str] = mapped_column(String(10), default="en")
    token: Mapped[str] = mapped_column(String(64), default=_token)
    attributes: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    invited_at: Mapped[datetime | None]
    """When the invitation was accepted, by a plugin or by the platform's mail server."""
    reminders: Mapped[int] = mapped_column(default=0)
    run_id: Mapped[int | None] = mapped_column(ForeignKey("send_run.id", ondelete="SET NULL"))
    """The send of its last mail."""
    mail_state: Mapped[str | None] = mapped_column(String(20))
    """A `MailState`, or the state that a plugin reported."""
    mail_note: Mapped[str | None] = mapped_column(Text)
    """The server's reply, or a description of the error."""
    mail_changed_at: Mapped[datetime | None]
    """When `mail_state` began, according to the plugin; older events are ignored."""
    opted_out_at: Mapped[datetime | None]
    answered_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    @property
    def name(self) -> str:
        """First and last name."""
        return f"{self.first_name} {self.last_name}".strip()


class Response(Base):
    """One participant's answers."""

    __tablename__ = "response"
    __table_args__ = (TABLE_OPTIONS,)

    id: Mapped[int] = mapped_column(primary_key=True)
    survey_id: Mapped[int] = mapped_column(ForeignKey("survey.id", ondelete="CASCADE"), index=True)
    participant_id: Mapped[int] = mapped_column(ForeignKey("participant.id", ondelete="CASCADE"), unique=True)
    """Unique: no participant answers twice, not even in two windows."""
    answers: Mapped[dict[str, Any]] = mapped_column(JSON)
    """Maps question ids to a text, a number or a list of texts."""
    submitted_at: Mapped[datetime] = mapped_column(default=now)
    participant: Mapped[Participant] = relationship()


class ImportDraft(Base):
    """An uploaded file with bad rows, stored until its owner decides on the good ones."""

    __tablename__ = "import_draft"
    __table_args__ = (UniqueConstraint("survey_id", "account_id"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(primary_key=True)
    survey_id: Mapped[int] = mapped_column(ForeignKey("survey.id", ondelete="CASCADE"))
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id", ondelete="CASCADE"))
    data: Mapped[bytes] = mapped_column(LargeBinary(2**24 - 1))
