"""A server that refuses everybody in words that nobody knows: it pauses, nobody is refused, and its owner decides."""

from __future__ import annotations

import threading

import pytest

from own_smtp.outbox.journal_lines import parse_journal
from own_smtp.relays import lifecycle
from own_smtp.states import PauseReason, State
from tests.engine import recipients_of
from tests.scripted import PASS, Wait

WORDS = "550 Not today, my friend"
MIXED = [f"user{number}@domain{number % 4}.example" for number in range(1, 21)]


def findings_of(path):
    """What stands in a journal."""
    return parse_journal(path.read_bytes().splitlines(keepends=True), path.stem)


def test_nobody_is_refused_and_the_owner_is_told(platform, scripted):
    """After five refusals of several domains nothing more is tried, all wait, and the words are on record."""
    scripted.on("rcpt", WORDS)
    relay = platform.add_relay(scripted)
    platform.send(relay, MIXED)
    platform.drain(relay)
    assert platform.states() == {State.QUEUED: 20}
    assert platform.relay(relay).pause_reason == PauseReason.REFUSES_ALL
    assert platform.relay(relay).pause_text == WORDS
    assert platform.relay(relay).probe_at is None
    assert [change.pause_reason for change in platform.host.relay_changes] == ["refuses_all"]
    tried = scripted.messages
    assert tried <= 7
    assert len(platform.attempts) == tried
    platform.drain_again(relay)
    assert scripted.messages == tried


def test_it_was_about_the_account(platform, scripted):
    """Once that is mended and the server resumed, each is delivered once."""
    rule = scripted.on("rcpt", WORDS)
    relay = platform.add_relay(scripted)
    platform.send(relay, MIXED)
    platform.drain(relay)
    rule.behaviour = PASS
    with platform.engine.begin() as connection:
        assert lifecycle.resume(connection, relay)
    platform.drain_again(relay)
    assert platform.states() == {State.ACCEPTED: 20}
    assert recipients_of(scripted.copies) == sorted(MIXED)


def test_it_was_about_the_recipients(platform, scripted):
    """Who decides so sees them refused, in one go; other words pause the server anew, and an acceptance ends it."""
    rule = scripted.on("rcpt", WORDS)
    relay = platform.add_relay(scripted)
    platform.send(relay, MIXED)
    platform.drain(relay)
    with platform.engine.begin() as connection:
        assert lifecycle.accept_refusals(connection, relay)
        assert not lifecycle.accept_refusals(connection, relay)
    platform.drain_again(relay)
    assert platform.states() == {State.REFUSED: 20}
    assert platform.relay(relay).state == "active"

    rule.behaviour = "550 Something else is wrong"
    platform.send(relay, MIXED)
    platform.drain(relay)
    assert platform.states() == {State.REFUSED: 20, State.QUEUED: 20}
    assert platform.relay(relay).pause_text == "550 Something else is wrong"
    assert len(platform.host.relay_changes) == 2

    rule.behaviour = PASS
    with platform.engine.begin() as connection:
        lifecycle.accept_refusals(connection, relay)
    platform.drain_again(relay)
    assert platform.states() == {State.REFUSED: 20, State.ACCEPTED: 20}
    assert platform.relay(relay).pause_reason is None


def test_dead_mailboxes_of_one_domain_are_refused(platform, scripted):
    """However many there are."""
    scripted.on("rcpt", WORDS)
    relay = platform.add_relay(scripted)
    platform.send(relay, 20)
    platform.drain(relay)
    assert platform.states() == {State.REFUSED: 20}
    assert platform.relay(relay).state == "active"


def test_an_acceptance_between_shows_that_others_were_meant(platform, scripted):
    """Those before it are refused, each with its attempt, and everybody else is delivered."""
    dead = set(MIXED[:4]) | set(MIXED[5:9])
    scripted.on("rcpt", WORDS, when=lambda moment: moment.recipients[-1] in dead)
    relay = platform.add_relay(scripted)
    platform.send(relay, MIXED)
    platform.drain(relay)
    assert platform.states() == {State.REFUSED: 8, State.ACCEPTED: 12}
    assert len(platform.attempts) == 20


@pytest.mark.parametrize(("need", "states"), [(30, {State.REFUSED: 20}), (20, {State.QUEUED: 20})])
def test_it_can_be_set(make_platform, scripted, need, states):
    """How many recipients must hear the same."""
    platform = make_platform(refusals_in_a_row=need)
    scripted.on("rcpt", WORDS)
    relay = platform.add_relay(scripted)
    platform.send(relay, MIXED)
    platform.drain(relay)
    assert platform.states() == states


def test_a_crash_refuses_nobody_whose_refusal_is_not_judged_yet(platform, scripted):
    """What is held back stands in the journal as queued until it is known what it is about."""
    gate = Wait()
    scripted.on("rcpt", WORDS, when=lambda moment: moment.message <= 3)
    scripted.on("rcpt", (gate, PASS), message=5)
    relay = platform.add_relay(scripted)
    platform.send(relay, [*MIXED[:3], "fine@example.org", *MIXED[4:6]])
    scripted.on("rcpt", (gate, PASS), message=4)
    drain = threading.Thread(target=platform.drain_in_thread, args=(relay,))
    drain.start()
    scripted.wait_for(lambda: scripted.messages >= 4)
    journals = list(platform.runtime.machine.folder.glob("*.journal"))
    scripted.wait_for(lambda: len(findings_of(journals[0]).ended) == 3)
    found = findings_of(journals[0])
    assert {ended.outcome.state for ended in found.ended.values()} == {State.QUEUED}
    assert platform.states() == {State.SENDING: 6}
    gate.event.set()
    drain.join()
    assert platform.states() == {State.REFUSED: 3, State.ACCEPTED: 3}


def test_a_relay_that_sends_one_message_in_a_drain_trips_as_well(platform, scripted):
    """What the drains before heard counts: paced slowly, four are refused, and the fifth shows what it is about."""
    scripted.on("rcpt", WORDS)
    relay = platform.add_relay(scripted, min_interval=60)
    platform.send(relay, MIXED)
    for _ in range(8):
        platform.drain_again(relay)
    assert platform.states() == {State.REFUSED: 4, State.QUEUED: 16}
    assert platform.relay(relay).pause_reason == PauseReason.REFUSES_ALL
    assert scripted.messages == 5


def test_known_words_need_no_second_recipient(platform, scripted):
    """A quota that is used up pauses at the first answer, and not one recipient is refused for it."""
    scripted.on("rcpt", "550 Send quota exceeded", when=lambda moment: moment.message > 5)
    relay = platform.add_relay(scripted)
    platform.send(relay, 20)
    platform.drain(relay)
    assert platform.states() == {State.ACCEPTED: 5, State.QUEUED: 15}
    assert platform.relay(relay).pause_reason == PauseReason.QUOTA
