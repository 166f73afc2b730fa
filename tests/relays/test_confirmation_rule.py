"""The addresses that must confirm a relay, and that it waits for all of them."""

from __future__ import annotations

import pytest

from own_smtp.relays import confirmations, edits
from own_smtp.relays.confirmation_rule import addresses_to_confirm, organisational_domain
from own_smtp.relays.confirmations import LinkState
from own_smtp.settings import ConfirmationRule
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import Confirmation
from tests.web.drafts import ACCEPTED, add_relay, draft, is_active

SENDER, STRANGER = "surveys@acme.example", "mallory@evil.example"


@pytest.mark.parametrize(
    ("chosen", "needed"),
    [
        (None, {"domain": 1, "sender": 1, "any": 1}),
        ("Surveys@acme.example", {"domain": 1, "sender": 1, "any": 1}),
        ("it@acme.example", {"domain": 1, "sender": 2, "any": 1}),
        ("it@mail.acme.example", {"domain": 1, "sender": 2, "any": 1}),
        (STRANGER, {"domain": 2, "sender": 2, "any": 1}),
        ("it@acme.example.evil.example", {"domain": 2, "sender": 2, "any": 1}),
    ],
)
def test_the_rule_decides_who_must_confirm(chosen: str | None, needed: dict[str, int]) -> None:
    """By default a mailbox of the same organisation suffices, one of another organisation does not."""
    counts = {rule.value: len(addresses_to_confirm(rule, SENDER, chosen)) for rule in ConfirmationRule}
    assert counts == needed


@pytest.mark.parametrize(
    ("domain", "organisation"),
    [
        ("mail.acme.co.uk", "acme.co.uk"),
        ("co.uk", "co.uk"),
        ("mallory.github.io", "mallory.github.io"),
        ("x.xn--uni-kln-p4a.de", "xn--uni-kln-p4a.de"),
        ("localhost", "localhost"),
    ],
)
def test_domains_under_a_public_suffix_are_unrelated(domain: str, organisation: str) -> None:
    """Two customers of a registry, or of a hoster, belong to different organisations."""
    assert organisational_domain(domain) == organisation


@pytest.mark.parametrize("domain", ["gmail.com", "yahoo.co.uk", "web.de", "gmx.net", "mail.gmx.net", "hotmail.fr"])
def test_customers_of_a_mailbox_provider_are_strangers(domain: str) -> None:
    """Anybody can have an address there: a link in one of them says nothing about another."""
    sender, other = f"victim@{domain}", f"mallory@{domain}"
    assert addresses_to_confirm(ConfirmationRule.DOMAIN, sender, other) == (other, sender)
    assert addresses_to_confirm(ConfirmationRule.DOMAIN, sender, None) == (sender,)


def _mailed(session, relay):
    """Let a worker send the mails that the relay waits for, and return the links' tokens by address."""
    tokens = {}
    for waiting in confirmations.unsent(session):
        token = new_token()
        confirmation = confirmations.claim_mail(session, waiting.id, token)
        confirmations.settle_mail(session, confirmation, ACCEPTED)
        tokens[confirmation.address] = token
    session.commit()
    return tokens


@pytest.fixture
def relay(db_session, thin):
    relay = add_relay(db_session, thin, confirmation_address=STRANGER)
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="mallory")
    return relay


@pytest.mark.parametrize("first", [SENDER, STRANGER])
def test_a_foreign_sender_has_to_agree(db_session, relay, first):
    """The link in one's own mailbox is not enough: the relay waits for both, in any order."""
    tokens = _mailed(db_session, relay)
    second = ({SENDER, STRANGER} - {first}).pop()
    assert confirmations.confirm(db_session, tokens[first])[0] is LinkState.VALID
    assert not is_active(db_session, relay.id)
    assert confirmations.open_addresses(db_session, relay.id) == (second,)
    assert confirmations.latest(db_session, relay.id).address == second
    assert confirmations.confirm(db_session, tokens[second])[0] is LinkState.VALID
    assert is_active(db_session, relay.id)


def test_confirmed_addresses_get_no_further_mail(db_session, thin, relay):
    """A repeated mail goes only to the missing ones, and the earlier confirmation still counts."""
    confirmations.confirm(db_session, _mailed(db_session, relay)[STRANGER])
    again = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="mallory")
    assert [confirmation.address for confirmation in again] == [SENDER]
    confirmations.confirm(db_session, _mailed(db_session, relay)[SENDER])
    assert is_active(db_session, relay.id)


def test_a_confirmation_of_other_settings_does_not_count(db_session, thin, relay):
    """Changing settings and back is a change: the settings have not been confirmed since."""
    confirmations.confirm(db_session, _mailed(db_session, relay)[STRANGER])
    for host in ("other.example", relay.host):
        edits.change(db_session, thin.vault, relay, draft(host=host, confirmation_address=STRANGER), user_id="mallory")
    again = confirmations.request_confirmation(db_session, thin.settings, relay, user_id="mallory")
    assert {confirmation.address for confirmation in again} == {SENDER, STRANGER}


def test_a_corrected_address_invalidates_the_open_link(db_session, thin, relay):
    """The mail in the wrong mailbox must not activate the relay."""
    tokens = _mailed(db_session, relay)
    corrected = draft(confirmation_address="it@acme.example", password=None)
    assert edits.change(db_session, thin.vault, relay, corrected, user_id="mallory")
    assert {confirmations.confirm(db_session, token)[0] for token in tokens.values()} == {LinkState.SUPERSEDED}
    assert db_session.query(Confirmation).filter_by(superseded_at=None).count() == 0


def test_what_was_confirmed_for_another_relay_says_nothing_of_this_one(db_session, thin):
    """The sender's owner agreed to a server of its own, and not to a stranger's."""
    own = add_relay(db_session, thin, tenant_id="owner")
    confirmations.request_confirmation(db_session, thin.settings, own, user_id="alice")
    assert confirmations.confirm(db_session, _mailed(db_session, own)[SENDER])[0] is LinkState.VALID
    stranger = add_relay(db_session, thin, confirmation_address=STRANGER)
    wanted = confirmations.request_confirmation(db_session, thin.settings, stranger, user_id="mallory")
    assert {confirmation.address for confirmation in wanted} == {SENDER, STRANGER}
    confirmations.confirm(db_session, _mailed(db_session, stranger)[STRANGER])
    assert not is_active(db_session, stranger.id)
