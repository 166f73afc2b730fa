"""Profiles and states of relays, on each database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from own_smtp.errors import NotFoundError, SecretError
from own_smtp.relays import edits, lifecycle, store
from own_smtp.states import PauseReason, RelayState
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import AuditEntry, Relay
from tests.web.drafts import PASSWORD, draft

VAULT = Vault.from_keys([generate_key("tests")])


@pytest.fixture
def session(migrated):
    with Session(migrated) as session:
        yield session


@pytest.fixture
def relay(session) -> Relay:
    relay = edits.create(session, VAULT, "acme", draft(per_minute=30, jitter=0.2), user_id="alice", ceiling=9)
    lifecycle.activate(session, relay, user_id=None)
    session.commit()
    return relay


def test_a_profile_has_everything_that_a_session_needs(session, relay):
    """The typed values become a drain's frozen values, with the password decrypted and hidden from `repr`."""
    profile = store.load_profile(session.connection(), relay.id, VAULT)
    assert profile is not None
    assert (profile.host, profile.port, profile.credentials.password) == ("mail.acme.example", 587, PASSWORD)
    assert (profile.envelope_sender, profile.limits.per_minute, profile.limits.jitter) == (
        "surveys@acme.example",
        30,
        0.2,
    )
    assert PASSWORD not in repr(profile)


def test_a_deleted_relay_has_no_profile_and_no_password(session, relay):
    """A drain gets nothing for a deleted relay, whose password is deleted from the database."""
    edits.delete(session, relay, user_id="alice")
    assert store.load_profile(session.connection(), relay.id, VAULT) is None
    assert session.scalar(select(Relay.password).where(Relay.id == relay.id)) is None


def test_a_password_of_another_key_is_an_error_that_shows_nothing(session, relay):
    """A drain learns that the password cannot be decrypted; the error contains no secret."""
    with pytest.raises(SecretError) as caught:
        store.load_profile(session.connection(), relay.id, Vault.from_keys([generate_key("other")]))
    assert PASSWORD not in str(caught.value)


def test_only_the_first_pause_counts(session, relay):
    """Of two drains that pause a relay only one gets `True`, so its owner is notified once."""
    probe = datetime(2030, 1, 1, tzinfo=UTC)
    assert lifecycle.pause(session.connection(), relay.id, PauseReason.QUOTA, "452 enough", probe)
    assert not lifecycle.pause(session.connection(), relay.id, PauseReason.QUOTA, "452 enough", probe)
    session.expire_all()
    assert (relay.state, relay.pause_reason, relay.pause_text, relay.probe_at) == (
        RelayState.PAUSED,
        PauseReason.QUOTA,
        "452 enough",
        probe,
    )


def test_resuming_clears_the_pause_and_moves_the_revision(session, relay):
    """A resumed relay is active without pause data, and a running drain notices by the revision."""
    before = relay.revision
    lifecycle.pause(session.connection(), relay.id, PauseReason.PERSON, "", None)
    assert lifecycle.resume(session.connection(), relay.id)
    assert not lifecycle.resume(session.connection(), relay.id)
    session.expire_all()
    assert (relay.state, relay.pause_reason, relay.paused_at, relay.revision) == (
        RelayState.ACTIVE,
        None,
        None,
        before + 2,
    )


def test_pause_and_resume_are_in_the_audit_log(session, relay):
    """The entries name who did it: a person by id, Own SMTP itself by `None`."""
    lifecycle.pause(session, relay.id, PauseReason.SENDER, "550 no", None)
    lifecycle.resume(session, relay.id, user_id="alice")
    log = session.execute(select(AuditEntry.action, AuditEntry.user_id).order_by(AuditEntry.id)).all()
    assert [tuple(line) for line in log[-2:]] == [("relay_paused", None), ("relay_resumed", "alice")]


def test_an_unconfirmed_relay_cannot_be_paused_or_resumed(session, relay):
    """Neither a drain nor a person can circumvent the confirmation by a pause."""
    edits.change(session, VAULT, relay, draft(sender_address="new@acme.example"), user_id="alice")
    assert not lifecycle.pause(session, relay.id, PauseReason.PERSON, "", None)
    assert not lifecycle.resume(session, relay.id)
    assert relay.state == RelayState.UNCONFIRMED


def test_a_relay_of_another_tenant_is_not_found(session, relay):
    """Another tenant's relay and a missing one are indistinguishable."""
    assert store.get_relay(session, "acme", relay.id) is relay
    for tenant_id, relay_id in (("evil", relay.id), ("acme", relay.id + 1)):
        with pytest.raises(NotFoundError):
            store.get_relay(session, tenant_id, relay_id)
