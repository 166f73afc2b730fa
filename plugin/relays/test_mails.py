"""Test mails: one message with a fixed text, sent like invitations but before them. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from flask_babel import force_locale
from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError, LimitError, SecretError
from own_smtp.hooks.events import Content, Invitation, InvitationBatch, InvitationStatus, Tenant
from own_smtp.i18n import gettext
from own_smtp.outbox import actions
from own_smtp.outbox.statuses import statuses_by_id
from own_smtp.relays import store
from own_smtp.relays.own_mails import write_mail
from own_smtp.settings import Settings
from own_smtp.states import TEST_PROJECT, RelayState
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import read_clock
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import Batch, Relay
from own_smtp.storage.models import Invitation as InvitationRow

KIND = "test"

PATIENCE = timedelta(hours=1)
"""A test mail that could not be sent within this time fails."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestMail:
    """The newest test mail of a person through a relay."""

    sent_at: datetime
    """When it was requested."""
    status: InvitationStatus


def may_go_to(settings: Settings, own: str, address: str) -> bool:
    """Whether a test mail may go to `address`: the acting person's `own`, or one that the platform allows."""
    wanted = address.lower()
    domain = f"@{wanted.rpartition('@')[2]}"
    return wanted == own.lower() or any(entry in {"*", wanted, domain} for entry in settings.test_recipients)


def content_for(relay: Relay, tenant: Tenant, *, platform: str, person: str) -> Content:
    """Return the mail's content in the tenant's language, in the form that recipients get."""
    with force_locale(tenant.locale):
        subject = gettext("Test mail through %(host)s", host=relay.host)
        return write_mail("test", subject, relay=relay, tenant=tenant, platform=platform, person=person)


def send(
    session: Session, vault: Vault, settings: Settings, relay: Relay, content: Content, *, recipient: str, user_id: str
) -> None:
    """Add a test mail to the outbox. Call it after `lock_tenant`; commit, then enqueue a drain.

    Raises `ConflictError` unless the relay is active, and `LimitError` if the tenant or the person has sent too many
    within an hour.
    """
    if relay.state != RelayState.ACTIVE:
        raise ConflictError(gettext("A test mail needs a server that is active."))
    now = read_clock(session.connection())
    sent = (Batch.tenant_id == relay.tenant_id, Batch.created_at > now - timedelta(hours=1))
    is_over = _count(session, *sent) >= settings.test_mails_per_tenant
    if is_over or _count(session, *sent, Batch.created_by == user_id) >= settings.test_mails_per_person:
        raise LimitError(gettext("Too many test mails within an hour. Try again later."))
    try:
        profile = store.load_profile(session.connection(), relay.id, vault)
    except SecretError as error:
        raise ConflictError(gettext("The stored password cannot be read any more.")) from error
    assert profile is not None
    batch = InvitationBatch(
        tenant_id=relay.tenant_id,
        project_id=TEST_PROJECT,
        content=content,
        invitations=[Invitation(reference=KIND, address=recipient)],
        kind=KIND,
        created_by=user_id,
        expires_at=now + PATIENCE,
    )
    receipt = actions.add(session.connection(), batch, profile, fallback_after=None, is_urgent=True)
    for refusal in receipt.refused:
        raise ConflictError(refusal.reason)
    audit.record(
        session,
        AuditAction.TEST_MAIL_SENT,
        tenant_id=relay.tenant_id,
        user_id=user_id,
        relay_id=relay.id,
        changes={"address": (None, recipient)},
    )


def newest(session: Session, relay: Relay, user_id: str) -> TestMail | None:
    """Return the person's newest test mail through the relay, with its status; `None` if there is none."""
    row = session.execute(
        select(InvitationRow.id, Batch.created_at)
        .join(Batch, Batch.id == InvitationRow.batch_id)
        .where(
            Batch.relay_id == relay.id,
            Batch.tenant_id == relay.tenant_id,
            Batch.project_id == TEST_PROJECT,
            Batch.created_by == user_id,
        )
        .order_by(Batch.id.desc())
        .limit(1)
    ).one_or_none()
    if row is None:
        return None
    [status] = statuses_by_id(session, [row.id])
    return TestMail(sent_at=row.created_at, status=status)


def _count(session: Session, *where: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count(Batch.id)).where(Batch.project_id == TEST_PROJECT, *where)).one()
