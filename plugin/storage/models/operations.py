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
    """The keyed hash of a recipient whose address was shortened..

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
