"""The effects of a change on a relay's state, password and audit log."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import select

from own_smtp.errors import ConflictError
from own_smtp.relays import edits, lifecycle, store
from own_smtp.states import PauseReason, RelayState
from own_smtp.storage.models import AuditEntry
from tests.web.drafts import PASSWORD, add_relay, draft


@pytest.mark.parametrize(
    "changes",
    [
        {"host": "other.example"},
        {"port": 465},
        {"security": "implicit"},
        {"username": "other"},
        {"username": None},
        {"sender_address": "other@acme.example"},
        {"envelope_sender": "bounces@acme.example"},
        {"fingerprint": "ab" * 32},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_change_of_confirmed_settings_needs_a_new_confirmation(db_session, thin, changes):
    """A confirmation covers exactly this server, account and sender."""
    relay = add_relay(db_session, thin, active=True)
    assert edits.change(db_session, thin.vault, relay, draft(**changes), user_id="alice")
    assert relay.state == RelayState.UNCONFIRMED


@pytest.mark.parametrize(
    "changes", [{"label": "New"}, {"per_minute": 5}, {"reply_to": "x@acme.example"}, {"password": "new"}]
)
def test_other_changes_leave_it_active(db_session, thin, changes):
    """A new name, limit or password needs no new link, but a running drain notices it."""
    relay = add_relay(db_session, thin, active=True)
    before = relay.revision
    assert not edits.change(db_session, thin.vault, relay, draft(**changes), user_id="alice")
    assert (relay.state, relay.revision) == (RelayState.ACTIVE, before + 1)


@pytest.mark.parametrize(
    "changes", [{"host": "evil.example"}, {"port": 2525}, {"security": "implicit"}, {"username": "other"}]
)
def test_a_stored_password_never_reaches_another_server(db_session, thin, changes):
    """Server, port, encryption and username cannot be changed without typing the password again."""
    relay = add_relay(db_session, thin)
    aimed = draft(password=None, **changes)
    assert edits.needs_password(relay, aimed)
    with pytest.raises(ConflictError):
        edits.change(db_session, thin.vault, relay, aimed, user_id="alice")


def test_an_empty_password_means_unchanged(db_session, thin):
    """Changing the label alone keeps the stored password."""
    relay = add_relay(db_session, thin)
    edits.change(db_session, thin.vault, relay, draft(label="New", password=None), user_id="alice")
    profile = store.load_profile(db_session.connection(), relay.id, thin.vault)
    assert profile.credentials.password == PASSWORD


def test_a_new_password_resumes_a_relay_paused_for_the_old_one(db_session, thin):
    """The person solved the server's complaint, so sending continues."""
    relay = add_relay(db_session, thin, active=True)
    lifecycle.pause(db_session, relay.id, PauseReason.CREDENTIALS, "535 no", None)
    db_session.refresh(relay)
    edits.change(db_session, thin.vault, relay, draft(password="new"), user_id="alice")
    assert (relay.state, relay.pause_reason) == (RelayState.ACTIVE, None)


def test_switching_authentication_off_deletes_the_password(db_session, thin):
    """Unused passwords are not kept."""
    relay = add_relay(db_session, thin)
    edits.change(db_session, thin.vault, relay, draft(username=None, password=None), user_id="alice")
    assert relay.password is None


def test_the_audit_log_has_the_changes_but_no_secret(db_session, thin):
    """An entry has each field with its values before and after; for a password only that it changed."""
    relay = add_relay(db_session, thin)
    edits.change(db_session, thin.vault, relay, draft(host="new.example", password="n3w"), user_id="alice")
    details = db_session.scalars(select(AuditEntry.details).order_by(AuditEntry.id)).all()
    assert details[-1] == {"host": ["mail.acme.example", "new.example"], "password": ["changed", "changed"]}
    assert PASSWORD not in json.dumps(details)
    assert "n3w" not in json.dumps(details)


def test_no_change_writes_no_entry(db_session, thin):
    """Saving a form without a change writes neither an entry nor a new revision."""
    relay = add_relay(db_session, thin)
    before = relay.revision, len(db_session.scalars(select(AuditEntry.id)).all())
    edits.change(db_session, thin.vault, relay, draft(password=None), user_id="alice")
    assert (relay.revision, len(db_session.scalars(select(AuditEntry.id)).all())) == before


def test_a_tenant_has_one_default(db_session, thin):
    """Making a relay the default removes that from the previous one."""
    first = add_relay(db_session, thin, is_default=True)
    second = add_relay(db_session, thin, is_default=True)
    db_session.expire_all()
    assert (first.is_default, second.is_default) == (False, True)


def test_the_number_of_relays_has_a_ceiling(db_session, thin):
    """The platform's limit applies to each tenant."""
    add_relay(db_session, thin)
    with pytest.raises(ConflictError, match="No more than 1"):
        edits.create(db_session, thin.vault, "acme", draft(), user_id="alice", ceiling=1)
