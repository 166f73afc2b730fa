"""The brake that needs no words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.replies.outcomes import Stage, classify, interrupted
from own_smtp.smtp.replies.refusal_streak import RefusalStreak, normalise, refusal_key, said_key
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import State
from tests.smtp.test_reply_topics import WHAT, WHO

ACCEPTED = classify(Stage.MESSAGE, Reply(code=250, text="queued"))
LATER = classify(Stage.RCPT, Reply(code=450, text="later"))


def refused(text: str = "No way today", code: int = 550, enhanced: str | None = None) -> Outcome:
    outcome = classify(Stage.RCPT, Reply(code=code, text=text, enhanced=enhanced))
    assert outcome.state is State.REFUSED
    return outcome


def recipient(number: int, domains: int = 3) -> str:
    return f"user{number}@domain{number % domains}.example"


def feed(streak: RefusalStreak[int], outcomes: list[Outcome], domains: int = 3) -> list[int]:
    """Return what the streak let go, in order."""
    return [
        item
        for number, outcome in enumerate(outcomes)
        for item in streak.take(number, recipient(number, domains), outcome)
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("<ann@a.example>: no", "<bob@b.example>: no"),
        ("No, see https://x.example/?id=7", "No, see https://y.example/?id=8"),
        ("Blocked (7 of 100)", "Blocked (8 of 100)"),
        ("queue id 4XyZ12AbC: no", "queue id 9QqZ77AbD: no"),
        ("cNkjDyzRwQaB policy", "xYzzDyaRbQcD policy"),
        ("no [192.0.2.1]", "NO  [192.0.2.77]"),
        ("mx1.a.example says no", "mx2.b.example says no"),
    ],
)
def test_what_differs_each_time_makes_no_difference(one, other):
    """Addresses, names, links, ids, numbers and case are taken out."""
    assert normalise(one) == normalise(other)


def test_the_recipients_own_name_makes_no_difference():
    """Some servers repeat a part of the address alone."""
    replies = {
        who: Reply(code=550, text=f"user {who.partition('@')[0]} is refused") for who in ("ann@a.ex", "bob@b.ex")
    }
    assert len({refusal_key(reply, who) for who, reply in replies.items()}) == 1


@pytest.mark.parametrize(("one", "other"), [("mailbox full", "no such user"), ("no way", "no"), ("", "no")])
def test_other_words_are_another_refusal(one, other):
    """What is left of a sentence tells them apart."""
    assert normalise(one) != normalise(other)


def test_the_same_refusal_of_several_recipients_trips():
    """Five in a row of several domains are held, and are the account's."""
    streak: RefusalStreak[int] = RefusalStreak()
    assert feed(streak, [refused()] * 5) == []
    assert streak.is_tripped
    assert streak.surrender() == [0, 1, 2, 3, 4]
    assert streak.take(5, recipient(5), refused()) == []  # what was on the wire still
    assert streak.surrender() == [5]
    assert streak.take(6, recipient(6), refused("quite another thing")) == [6]


@pytest.mark.parametrize(
    "outcomes",
    [
        [refused()] * 4 + [ACCEPTED] + [refused()] * 4,
        [refused(), refused("other words")] * 6,
        [refused("<a@b.example>: User unknown", enhanced="5.1.1")] * 20,
        [refused("Mailbox full", enhanced="5.2.2")] * 20,
    ],
)
def test_what_does_not_trip(outcomes):
    """An acceptance between, words that change, and what is said of mailboxes: all are let go in their order."""
    streak: RefusalStreak[int] = RefusalStreak()
    assert feed(streak, outcomes) + streak.release() == list(range(len(outcomes)))
    assert not streak.is_tripped


def test_temporary_refusals_and_lost_connections_do_not_break_a_streak():
    """They say nothing of it."""
    streak: RefusalStreak[int] = RefusalStreak()
    lost = interrupted(Stage.RCPT, "lost")
    assert feed(streak, [refused(), LATER, refused(), lost, refused(), refused(), refused()]) == [1, 3]
    assert streak.is_tripped


def test_dead_mailboxes_of_one_domain_do_not_trip():
    """However many there are, and whatever is said of them; no more than four of them are held."""
    for phrase in (f"{who} {what}" for who in WHO for what in WHAT):
        outcome = classify(Stage.RCPT, Reply(code=550, text=phrase))
        streak: RefusalStreak[int] = RefusalStreak()
        released = feed(streak, [outcome] * 8, domains=1)
        assert not streak.is_tripped, phrase
        assert len(streak.held) <= 4
        assert released + streak.release() == list(range(8))


def test_the_same_recipient_again_is_one():
    """A resent message is no further recipient."""
    streak: RefusalStreak[int] = RefusalStreak(3)
    for number in range(10):
        streak.take(number, recipient(number % 2), refused())
    assert not streak.is_tripped


def test_what_somebody_took_to_be_about_the_recipients_is():
    """The decision is kept by the server's words, as the page shows them; other words trip all the same."""
    outcome = refused("No way today (id 17)", enhanced="5.7.1")
    streak: RefusalStreak[int] = RefusalStreak(5, said_key(outcome.said))
    assert feed(streak, [refused("no way today (id 99)")] * 20) == list(range(20))
    feed(streak, [refused("other words")] * 5)
    assert streak.is_tripped


@pytest.mark.parametrize("said", [None, "", "somebody paused it"])
def test_no_decision_is_none(said):
    """A note of a person is no refusal."""
    assert said_key(said) is None


OUTCOMES = st.sampled_from([refused(), refused("b"), refused("c", 554), ACCEPTED, LATER])


@given(st.lists(OUTCOMES, max_size=40), st.integers(1, 6), st.integers(1, 4))
def test_nothing_is_lost_or_let_go_twice(outcomes, need, domains):
    """Whatever comes, each item leaves exactly once, and only refusals are held: fewer than trip it."""
    streak: RefusalStreak[int] = RefusalStreak(need)
    released: list[int] = []
    for number, outcome in enumerate(outcomes):
        released += streak.take(number, recipient(number, domains), outcome)
        assert all(outcomes[item].state is State.REFUSED for item in streak.held)
        if streak.is_tripped:
            released += streak.surrender()
        assert len(streak.held) < need
    assert sorted(released + streak.release()) == list(range(len(outcomes)))


@given(st.integers(2, 8), st.text(alphabet="abc .", min_size=1, max_size=20))
def test_any_words_trip_it(need, words):
    """No list of phrases is asked, except for what is said of mailboxes."""
    streak: RefusalStreak[int] = RefusalStreak(need)
    feed(streak, [refused(f"sorry {words}")] * need)
    assert streak.is_tripped


def test_refusals_of_an_earlier_drain_are_counted_and_never_let_go():
    """They are settled: when there are too many of one domain to hold, they go without a trace."""
    streak: RefusalStreak[int] = RefusalStreak(need=3)
    for number in range(2):
        streak.recall(recipient(number, 1), refused())
    assert [streak.take(number, recipient(number, 1), refused()) for number in range(2, 6)] == [[], [], [2], [3]]
    assert streak.held == [4, 5]
    streak = RefusalStreak(need=3)
    for number in range(2):
        streak.recall(recipient(number), refused())
    assert streak.take(2, recipient(2), refused()) == []
    assert streak.is_tripped
    assert streak.surrender() == [2]


def test_a_tripped_brake_stays_on_whatever_comes_between():
    """Answers under way on other connections: another refusal is final, and the same one still concerns the account."""
    streak: RefusalStreak[int] = RefusalStreak(need=2)
    feed(streak, [refused(), refused()])
    assert streak.surrender() == [0, 1]
    assert streak.take(2, recipient(2), refused("User unknown to us", 551)) == [2]
    assert streak.take(3, recipient(3), refused()) == []
    assert streak.surrender() == [3]


def test_one_refusal_is_enough_where_the_platform_says_so():
    """Then there is only one domain to look at."""
    streak: RefusalStreak[int] = RefusalStreak(need=1)
    assert streak.take(0, recipient(0), refused()) == []
    assert streak.is_tripped
