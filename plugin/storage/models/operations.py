"""Tables that the room `own_smtp.operations` writes: erasure, alerts and events of relays."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import (
    ForeignKey,
    Index,
    String,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from own_smtp.storage.clock import db_now
from own_smtp.storage.models.base import TABLE_OPTIONS, Base, BigId


class Shortened(Base):
    """The keyed hash of a recipient whose address was shortened.

    A separate table, so that sending does not pay for the search for a person.
    """

    __tablename__ = "own_smtp_shortened"
    __table_args__ = (Index(None, "digest"), TABLE_OPTIONS)

    invitation_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_invitation.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    digest: Mapped[str] = mapped_column(String(64))
    """The result of `Vault.digests` for tenant and address."""


class Forgetting(Base):
    """An invitation that a drain has claimed, and whose recipient must be erased when it is settled."""

    __tablename__ = "own_smtp_forgetting"
    __table_args__ = (TABLE_OPTIONS,)

    invitation_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_invitation.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )


class Alert(Base):
    """A current problem of a relay, and whether its owner was notified."""

    __tablename__ = "own_smtp_alert"
    __table_args__ = (UniqueConstraint("relay_id", "cause"), TABLE_OPTIONS)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    relay_id: Mapped[int] = mapped_column(ForeignKey("own_smtp_relay.id", ondelete="CASCADE"))
    cause: Mapped[str] = mapped_column(String(20))
    raised_at: Mapped[datetime] = mapped_column(server_default=db_now())
    taken_at: Mapped[datetime | None]
    """When a process last began to send the notification: no other process does for a while."""
    told_at: Mapped[datetime | None]
    """When the owner was notified; `None` means that the notification is pending."""


class Notice(Base):
    """A pending notification of a relay event that a drain caused: written together with it, deleted once sent."""

    __tablename__ = "own_smtp_notice"
    __table_args__ = (TABLE_OPTIONS,)

    relay_id: Mapped[int] = mapped_column(
        BigId, ForeignKey("own_smtp_relay.id", ondelete="CASCADE"), primary_key=True, autoincrement=False
    )
    kind: Mapped[str] = mapped_column(String(20), primary_key=True)
    taken_at: Mapped[datetime]
    """When a process last began to send the notification: no other process does for a while."""
