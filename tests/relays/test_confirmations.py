"""Confirmation links: recipients, effects, and the delivery of their mails."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from own_smtp.errors import LimitError
from own_smtp.relays import confirmations, edits
from own_smtp.relays.confirmations import HOURLY_CEILING, PERSONAL_CEILING, LinkState, MailState
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Confirmation, Relay
from tests.web.drafts import add_relay, draft, is_active, send_mail


@pytest.fixture
def relay(db_session, thin) -> Relay:
    relay = add_relay(db_session, thin)
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    db_session.commit()
    return relay


def _state(session, relay):
    return confirmations.mail_state(confirmations.latest(session, relay.id), read_clock(session.connection()))


def test_the_link_activates_the_relay_once(db_session, relay):
    """The first use of the link activates the relay; the second shows that it was used."""
    token = new_token()
    send_mail(db_session, relay, token)
    assert not is_active(db_session, relay.id)
    assert confirmations.confirm(db_session, token)[0] is LinkState.VALID
    assert is_active(db_session, relay.id)
    assert confirmations.confirm(db_session, token)[0] is LinkState.USED


def test_opening_the_link_changes_nothing(db_session, relay):
    """A mail scanner that opens the link has no effect."""
    token = new_token()
    send_mail(db_session, relay, token)
    for _ in range(3):
        assert confirmations.look_up(db_session, token)[0] is LinkState.VALID
    assert not is_active(db_session, relay.id)


def test_the_token_is_stored_hashed_only(db_session, relay):
    """Access to the database is not enough to confirm a relay."""
    token = new_token()
    confirmation = send_mail(db_session, relay, token)
    assert token not in str(vars(confirmation))
    assert len(confirmation.token_hash) == 64


def test_a_link_expires(db_session, relay):
    """After its lifetime a link is expired, and activates nothing."""
    token = new_token()
    confirmation = send_mail(db_session, relay, token)
    confirmation.expires_at = read_clock(db_session.connection()) - timedelta(seconds=1)
    assert confirmations.confirm(db_session, token)[0] is LinkState.EXPIRED
    assert not is_active(db_session, relay.id)


def test_a_link_for_another_configuration_is_superseded(db_session, thin, relay):
    """A link confirms the settings that it was sent through, not later ones."""
    token = new_token()
    send_mail(db_session, relay, token)
    edits.change(db_session, thin.vault, relay, draft(host="evil.example"), user_id="mallory")
    assert confirmations.confirm(db_session, token)[0] is LinkState.SUPERSEDED
    assert not is_active(db_session, relay.id)


def test_a_newer_mail_supersedes_the_older_link(db_session, thin, relay):
    """Only the link of the newest mail is valid."""
    old, new = new_token(), new_token()
    send_mail(db_session, relay, old)
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    send_mail(db_session, relay, new)
    assert confirmations.look_up(db_session, old)[0] is LinkState.SUPERSEDED
    assert confirmations.look_up(db_session, new)[0] is LinkState.VALID


def test_a_deleted_relay_cannot_be_confirmed(db_session, thin, relay):
    """The link of a deleted relay is superseded."""
    token = new_token()
    send_mail(db_session, relay, token)
    edits.delete(db_session, relay, user_id="alice")
    assert confirmations.confirm(db_session, token)[0] is LinkState.SUPERSEDED


@pytest.mark.parametrize("token", ["", "x", "None", "0" * 43, "\x00", "é" * 40])
def test_an_invented_token_is_unknown(db_session, relay, token):
    """Only a mailed token is valid, also while no token was created yet."""
    assert confirmations.look_up(db_session, token) == (LinkState.UNKNOWN, None)


def test_one_worker_sends_a_mail(db_session, relay):
    """Of two workers that claim the same mail only one gets it."""
    [waiting] = confirmations.unsent(db_session)
    assert confirmations.claim_mail(db_session, waiting.id, new_token()) is not None
    assert confirmations.claim_mail(db_session, waiting.id, new_token()) is None
    assert confirmations.unsent(db_session) == []
    assert _state(db_session, relay) is MailState.SENDING


def test_a_sent_mail_is_not_sent_again(db_session, relay):
    """A mail that the server accepted is finished."""
    send_mail(db_session, relay, new_token())
    assert confirmations.unsent(db_session) == []
    assert _state(db_session, relay) is MailState.SENT


def test_a_temporary_failure_is_retried(db_session, relay):
    """Greylisting gets a second attempt later."""
    greylisted = Outcome(state=State.QUEUED, stage=Stage.RCPT, reply=Reply(code=450, text="Greylisted"))
    confirmation = send_mail(db_session, relay, new_token(), greylisted)
    assert _state(db_session, relay) is MailState.RETRYING
    assert confirmation.next_attempt_at > read_clock(db_session.connection())
    assert confirmations.unsent(db_session) == []
    db_session.execute(update(Confirmation).values(next_attempt_at=confirmation.created_at))
    assert [task.id for task in confirmations.unsent(db_session)] == [confirmation.id]


def test_a_reply_about_the_settings_is_not_retried(db_session, relay):
    """A wrong password needs a person; another attempt could lock the account."""
    refused = Outcome(
        state=State.QUEUED, stage=Stage.AUTH, reply=Reply(code=535, text="No"), pause=PauseReason.CREDENTIALS
    )
    send_mail(db_session, relay, new_token(), refused)
    assert _state(db_session, relay) is MailState.FAILED


def test_a_tenants_mails_are_limited(db_session, thin, relay):
    """Repeated requests for mails end at an hourly limit."""
    for number in range(HOURLY_CEILING - 1):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id=f"user {number % 3}")
    with pytest.raises(LimitError):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob")


def test_a_person_leaves_some_mails_to_colleagues(db_session, thin, relay):
    """One person's limit is below the tenant's."""
    for _ in range(PERSONAL_CEILING - 1):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    with pytest.raises(LimitError):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob")
