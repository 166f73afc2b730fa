"""Which mails a confirmation sends and which links count: one relay's never for another, none for ever."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError, LimitError
from own_smtp.relays import confirmations
from own_smtp.relays.confirmations import HOURLY_CEILING, PERSONAL_CEILING, RETRIES, LinkState, MailState
from own_smtp.smtp.replies.outcomes import Stage, interrupted
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Confirmation, Relay
from tests.web.app import ThinExtension
from tests.web.drafts import add_relay, is_active, send_mail

LATER = Outcome(state=State.QUEUED, stage=Stage.RCPT, reply=Reply(code=450, text="Greylisted"))
REFUSED = Outcome(state=State.REFUSED, stage=Stage.RCPT, reply=Reply(code=550, text="Nobody here"))
HOUR = timedelta(hours=1)


@pytest.fixture
def make_relay(db_session: Session, thin: ThinExtension) -> Callable[..., Relay]:
    """Make relays that wait for their confirmation."""

    def make(**values: Any) -> Relay:
        relay = add_relay(db_session, thin, **values)
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
        db_session.commit()
        return relay

    return make


def put_back(session: Session, relay: Relay, by: timedelta) -> None:
    """Let a relay's mails have been asked for so much earlier."""
    for confirmation in session.scalars(select(Confirmation).where(Confirmation.relay_id == relay.id)):
        confirmation.created_at -= by
    session.commit()


def mail_state(session: Session, relay: Relay) -> MailState:
    found = confirmations.latest(session, relay.id)
    assert found is not None
    return confirmations.mail_state(found, read_clock(session.connection()))


def only_unsent(session: Session) -> int:
    """Return the one confirmation whose mail is due."""
    (task,) = confirmations.unsent(session)
    return task.id


def due_now(session: Session, confirmation_id: int) -> None:
    now = read_clock(session.connection())
    row = update(Confirmation).where(Confirmation.id == confirmation_id)
    session.execute(row.values(next_attempt_at=now - timedelta(seconds=1)))


# Links


def test_a_link_confirms_its_own_relay_only(db_session, make_relay):
    """Whatever waits for other relays' links neither helps nor hinders."""
    first, second, third = (make_relay() for _relay in range(3))
    tokens = [new_token() for _relay in range(3)]
    for relay, token in zip((first, second, third), tokens, strict=True):
        send_mail(db_session, relay, token)
    assert confirmations.confirm(db_session, tokens[1])[0] is LinkState.VALID
    assert [is_active(db_session, relay.id) for relay in (first, second, third)] == [False, True, False]
    assert confirmations.look_up(db_session, tokens[0])[0] is LinkState.VALID
    assert confirmations.look_up(db_session, tokens[2])[0] is LinkState.VALID


@pytest.mark.parametrize("state", ["paused", "active"])
def test_a_link_wakes_no_relay_that_waits_for_none(db_session, make_relay, state):
    """A paused relay stays paused, whoever finds an old link that nobody followed."""
    relay = make_relay()
    token = new_token()
    send_mail(db_session, relay, token)
    relay.state = state
    db_session.commit()
    assert confirmations.confirm(db_session, token)[0] is LinkState.SUPERSEDED
    db_session.refresh(relay)
    assert relay.state == state


def test_withdrawn_links_are_void_and_others_are_not(db_session, make_relay):
    """The followed ones, too; another relay's mail still goes out and its link still counts."""
    relay, other = make_relay(), make_relay()
    token, others = new_token(), new_token()
    send_mail(db_session, relay, token)
    send_mail(db_session, other, others)
    confirmations.withdraw(db_session, relay.id)
    assert confirmations.look_up(db_session, token)[0] is LinkState.SUPERSEDED
    assert confirmations.look_up(db_session, others)[0] is LinkState.VALID
    assert confirmations.open_addresses(db_session, relay.id) == ()
    assert len(confirmations.open_addresses(db_session, other.id)) == 1


def test_a_new_mail_leaves_other_relays_links_alone(db_session, thin, make_relay):
    """It replaces the mails before it of its own relay."""
    relay, other = make_relay(), make_relay()
    token = new_token()
    send_mail(db_session, other, token)
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    assert confirmations.look_up(db_session, token)[0] is LinkState.VALID
    assert len(confirmations.open_addresses(db_session, relay.id)) == 1


# Limits


def test_one_tenants_mails_use_up_no_others(db_session, thin, make_relay):
    """And what was asked for more than an hour ago counts no more."""
    relay, foreign = make_relay(), make_relay(tenant_id="other")
    for number in range(HOURLY_CEILING - 1):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id=f"user {number % 3}")
    with pytest.raises(LimitError):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob")
    confirmations.request_confirmation(db_session, thin.settings, foreign, user_id="bob")
    put_back(db_session, relay, HOUR + timedelta(seconds=1))
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob")


def test_a_persons_mails_count_over_all_relays_of_the_tenant(db_session, thin, make_relay):
    """Another server does not bring another twenty."""
    first, second = make_relay(), make_relay()
    for _mail in range(PERSONAL_CEILING - 2):
        confirmations.request_confirmation(db_session, thin.settings, first, user_id="alice")
    with pytest.raises(LimitError):
        confirmations.request_confirmation(db_session, thin.settings, second, user_id="alice")


def test_a_mail_is_repeated_after_its_pause_only(db_session, thin, make_relay):
    """Not at once, and not for a relay that needs none; a refused repetition leaves the link before it good."""
    relay = make_relay()
    token = new_token()
    send_mail(db_session, relay, token)
    with pytest.raises(LimitError):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob", is_repeat=True)
    assert confirmations.look_up(db_session, token)[0] is LinkState.VALID
    put_back(db_session, relay, thin.settings.confirmation_cooldown)
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob", is_repeat=True)
    assert confirmations.look_up(db_session, token)[0] is LinkState.SUPERSEDED
    put_back(db_session, relay, thin.settings.confirmation_cooldown)
    relay.state = "active"
    with pytest.raises(ConflictError, match="confirmed already"):
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob", is_repeat=True)


# Mails


def test_a_mail_is_taken_by_itself(db_session, make_relay):
    """Other relays' mails keep their links and wait on."""
    first, second = make_relay(), make_relay()
    token = new_token()
    send_mail(db_session, first, token)
    waiting = only_unsent(db_session)
    assert mail_state(db_session, second) is MailState.WAITING
    assert confirmations.claim_mail(db_session, waiting, new_token()) is not None
    assert confirmations.look_up(db_session, token)[0] is LinkState.VALID
    assert mail_state(db_session, second) is MailState.SENDING


@pytest.mark.parametrize("end", ["sent", "used", "superseded", "expired", "not yet"])
def test_a_mail_that_is_not_due_is_not_taken(db_session, make_relay, end):
    """Neither by the dispatcher nor by a worker that was woken for it long ago."""
    relay = make_relay()
    waiting = only_unsent(db_session)
    now = read_clock(db_session.connection())
    values = {
        "sent": {"sent_at": now},
        "used": {"used_at": now},
        "superseded": {"superseded_at": now},
        "expired": {"expires_at": now - timedelta(seconds=1)},
        "not yet": {"next_attempt_at": now + HOUR},
    }[end]
    db_session.execute(update(Confirmation).values(**values))
    assert confirmations.unsent(db_session) == []
    assert confirmations.claim_mail(db_session, waiting, new_token()) is None
    assert confirmations.latest(db_session, relay.id).token_hash is None


def test_a_worker_that_vanished_with_a_mail_is_given_up(db_session, make_relay):
    """After its time another one takes it, with a link of its own; the lost one's is unknown."""
    relay = make_relay()
    waiting = only_unsent(db_session)
    lost, good = new_token(), new_token()
    assert confirmations.claim_mail(db_session, waiting, lost) is not None
    found = confirmations.latest(db_session, relay.id)
    assert timedelta(0) < found.next_attempt_at - read_clock(db_session.connection()) <= confirmations.SENDING
    due_now(db_session, waiting)
    assert confirmations.claim_mail(db_session, waiting, good) is not None
    assert confirmations.look_up(db_session, lost)[0] is LinkState.UNKNOWN
    assert confirmations.look_up(db_session, good)[0] is LinkState.VALID


def test_a_mail_is_tried_so_often_and_no_more(db_session, make_relay):
    """Each time after a longer wait; what is refused for good is not tried again."""
    relay = make_relay()
    waiting = only_unsent(db_session)
    waits = []
    for _try in range(len(RETRIES) + 1):
        due_now(db_session, waiting)
        taken = confirmations.claim_mail(db_session, waiting, new_token())
        assert taken is not None
        confirmations.settle_mail(db_session, taken, LATER)
        if taken.next_attempt_at is not None:
            waits.append(round((taken.next_attempt_at - read_clock(db_session.connection())).total_seconds() / 60))
    assert waits == [1, 5, 15, 30, 60, 120]
    assert mail_state(db_session, relay) is MailState.FAILED


def test_a_mail_that_is_tried_again_is_shown_as_being_sent(db_session, make_relay):
    """The last attempt's fault is the state only until the next attempt begins."""
    relay = make_relay()
    waiting = only_unsent(db_session)
    send_mail(db_session, relay, new_token(), LATER)
    assert mail_state(db_session, relay) is MailState.RETRYING
    due_now(db_session, waiting)
    assert confirmations.claim_mail(db_session, waiting, new_token()) is not None
    assert mail_state(db_session, relay) is MailState.SENDING


def test_a_server_that_cannot_be_reached_is_tried_again(db_session, make_relay):
    """It said nothing, so there is no code; what it says the next time is shown with all its codes."""
    relay = make_relay()
    found = send_mail(db_session, relay, new_token(), interrupted(Stage.CONNECT, "Nobody listens there."))
    assert (found.stage, found.code, found.enhanced, found.error) == (
        Stage.CONNECT,
        None,
        None,
        "Nobody listens there.",
    )
    assert mail_state(db_session, relay) is MailState.RETRYING
    said = Reply(code=550, text="Nobody here", enhanced="5.1.1")
    found = send_mail(db_session, relay, new_token(), REFUSED._replace(reply=said))
    assert (found.code, found.enhanced) == (550, "5.1.1")


def test_a_refused_mail_says_why_and_is_not_repeated(db_session, make_relay):
    """In the server's own words; a mail that is sent after all forgets them."""
    relay = make_relay()
    found = send_mail(db_session, relay, new_token(), REFUSED)
    assert (found.next_attempt_at, found.sent_at, found.code, found.stage) == (None, None, 550, Stage.RCPT)
    assert "Nobody here" in found.error
    assert mail_state(db_session, relay) is MailState.FAILED
    found = send_mail(db_session, relay, new_token())
    assert (found.next_attempt_at, found.stage, found.error) == (None, None, None)
    assert mail_state(db_session, relay) is MailState.SENT
    found.expires_at = found.created_at
    assert mail_state(db_session, relay) is MailState.EXPIRED


def test_a_relay_for_which_no_mail_was_asked_yet_can_have_one(db_session, thin):
    """The first one may be refused by a limit; asking again is no repetition that comes too soon."""
    relay = add_relay(db_session, thin)
    wanted = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="bob", is_repeat=True)
    assert len(wanted) == 1


def test_a_link_counts_for_the_settings_it_was_mailed_for(db_session, make_relay):
    """Also where they changed behind its back; a token that nobody mailed leads nowhere."""
    relay = make_relay()
    token = new_token()
    send_mail(db_session, relay, token)
    assert confirmations.confirm(db_session, new_token()) == (LinkState.UNKNOWN, None)
    db_session.execute(update(Relay).where(Relay.id == relay.id).values(host="evil.example"))
    assert confirmations.confirm(db_session, token)[0] is LinkState.SUPERSEDED
    assert not is_active(db_session, relay.id)
