"""Relays for tests."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from own_smtp.relays import confirmations, edits, lifecycle
from own_smtp.relays.edits import RelayDraft
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import RelayState, Security, State
from own_smtp.storage.clock import db_now
from own_smtp.storage.models import Confirmation, Relay
from tests.web.app import ThinExtension

PASSWORD = "canary-7hG2qLp9"
ACCEPTED = Outcome(state=State.ACCEPTED, stage=Stage.MESSAGE, reply=Reply(code=250, text="queued as 4F2A"))

TYPED = {
    "label": "Company mail",
    "host": "mail.acme.example",
    "security": "starttls",
    "auth": "y",
    "username": "surveys",
    "password": PASSWORD,
    "sender_address": "surveys@acme.example",
    "sender_name": "Acme Surveys",
}
"""The input of the relay form."""


def draft(**changes: Any) -> RelayDraft:
    values: dict[str, Any] = {
        "label": "Company mail",
        "host": "mail.acme.example",
        "port": 587,
        "security": Security.STARTTLS,
        "username": "surveys",
        "password": PASSWORD,
        "sender_address": "surveys@acme.example",
    }
    return RelayDraft(**(values | changes))


def add_relay(
    session: Session, thin: ThinExtension, *, tenant_id: str = "acme", active: bool = False, **changes: Any
) -> Relay:
    relay = edits.create(session, thin.vault, tenant_id, draft(**changes), user_id="alice", ceiling=200)
    if active:
        lifecycle.activate(session, relay, user_id=None)
    session.commit()
    return relay


def send_mail(session: Session, relay: Relay, token: str, outcome: Outcome = ACCEPTED) -> Confirmation:
    """Run a worker that sends the relay's confirmation mail with this token."""
    waiting = confirmations.latest(session, relay.id)
    assert waiting is not None
    session.execute(update(Confirmation).where(Confirmation.id == waiting.id).values(next_attempt_at=db_now()))
    confirmation = confirmations.claim_mail(session, waiting.id, token)
    assert confirmation is not None
    confirmations.settle_mail(session, confirmation, outcome)
    session.commit()
    return confirmation


def is_active(session: Session, relay_id: int) -> bool:
    session.expire_all()
    return session.get_one(Relay, relay_id).state == RelayState.ACTIVE
