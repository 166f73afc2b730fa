"""Detection of a blocked account without a list of phrases."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.replies.outcomes import Stage, classify, interrupted
from own_smtp.smtp.replies.refusal_streak import RefusalStreak, normalise, refusal_key, said_key
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import State
from tests.smtp.test_reply_topics import WHAT, WHO
from tests.work import LINEAR, TIMES, growth

ACCEPTED = classify(Stage.MESSAGE, Reply(code=250, text="queued"))
LATER = classify(Stage.RCPT, Reply(code=450, text="later"))


def refused(text: str = "No way today", code: int = 550, enhanced: str | None = None) -> Outcome:
    outcome = classify(Stage.RCPT, Reply(code=code, text=text, enhanced=enhanced))
    assert outcome.state is State.REFUSED
    return outcome


def recipient(number: int, domains: int = 3) -> str:
    return f"user{number}@domain{number % domains}.example"


def feed(streak: RefusalStreak[int], outcomes: list[Outcome], domains: int = 3) -> list[int]:
    """Return the released items, in order."""
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
def test_variable_parts_are_ignored(one, other):
    """Addresses, names, links, ids, numbers and case are removed."""
    assert normalise(one) == normalise(other)


def test_the_recipients_own_name_is_ignored():
    """Some servers repeat only a part of the address."""
    replies = {
        who: Reply(code=550, text=f"user {who.partition('@')[0]} is refused") for who in ("ann@a.ex", "bob@b.ex")
    }
    assert len({refusal_key(reply, who) for who, reply in replies.items()}) == 1


@pytest.mark.parametrize(("one", "other"), [("mailbox full", "no such user"), ("no way", "no"), ("", "no")])
def test_another_text_is_another_refusal(one, other):
    """The remaining text distinguishes refusals."""
    assert normalise(one) != normalise(other)


def test_the_same_refusal_of_several_recipients_trips():
    """Five in a row for several domains are held, and concern the account."""
    streak: RefusalStreak[int] = RefusalStreak()
    assert feed(streak, [refused()] * 5) == []
    assert streak.is_tripped
    assert streak.surrender() == [0, 1, 2, 3, 4]
    assert streak.take(5, recipient(5), refused()) == []  # what was on the wire still
    assert streak.surrender() == [5]
    assert streak.take(6, recipient(6), refused("quite another thing")) == [6]


def test_a_quota_that_is_nobodys_by_its_words_trips():
    """Five full mailboxes of several domains in a row are one account that has sent enough."""
    streak: RefusalStreak[int] = RefusalStreak()
    feed(streak, [refused("<a@b.example>: Recipient address rejected: Quota exceeded.", enhanced="5.7.1")] * 5)
    assert streak.is_tripped


@pytest.mark.parametrize(
    "outcomes",
    [
        [refused()] * 4 + [ACCEPTED] + [refused()] * 4,
        [refused(), refused("other words")] * 6,
        [refused("<a@b.example>: User unknown", enhanced="5.1.1")] * 20,
        [refused("Mailbox full", enhanced="5.2.2")] * 20,
    ],
)
def test_streaks_that_do_not_trip(outcomes):
    """Acceptances between, different texts, and topics of single mailboxes: all are released in their order."""
    streak: RefusalStreak[int] = RefusalStreak()
    assert feed(streak, outcomes) + streak.release() == list(range(len(outcomes)))
    assert not streak.is_tripped


def test_temporary_refusals_and_lost_connections_do_not_break_a_streak():
    """They neither confirm nor contradict it."""
    streak: RefusalStreak[int] = RefusalStreak()
    lost = interrupted(Stage.RCPT, "lost")
    assert feed(streak, [refused(), LATER, refused(), lost, refused(), refused(), refused()]) == [1, 3]
    assert streak.is_tripped


def test_unknown_mailboxes_of_one_domain_do_not_trip():
    """However many there are, and whatever the text; at most four of them are held."""
    for phrase in (f"{who} {what}" for who in WHO for what in WHAT):
        outcome = classify(Stage.RCPT, Reply(code=550, text=phrase))
        streak: RefusalStreak[int] = RefusalStreak()
        released = feed(streak, [outcome] * 8, domains=1)
        assert not streak.is_tripped, phrase
        assert len(streak.held) <= 4
        assert released + streak.release() == list(range(8))


def test_the_same_recipient_counts_once():
    """A message that is sent again adds no recipient."""
    streak: RefusalStreak[int] = RefusalStreak(3)
    for number in range(10):
        streak.take(number, recipient(number % 2), refused())
    assert not streak.is_tripped


def test_a_persons_decision_about_a_refusal_counts():
    """It is stored by the server's text, as on the page; other texts still trip."""
    outcome = refused("No way today (id 17)", enhanced="5.7.1")
    streak: RefusalStreak[int] = RefusalStreak(5, said_key(outcome.said))
    assert feed(streak, [refused("no way today (id 99)")] * 20) == list(range(20))
    feed(streak, [refused("other words")] * 5)
    assert streak.is_tripped


@pytest.mark.parametrize("said", [None, "", "somebody paused it"])
def test_a_note_is_no_decision(said):
    """A person's note is not a refusal."""
    assert said_key(said) is None


OUTCOMES = st.sampled_from([refused(), refused("b"), refused("c", 554), ACCEPTED, LATER])


@given(st.lists(OUTCOMES, max_size=40), st.integers(1, 6), st.integers(1, 4))
def test_nothing_is_lost_or_released_twice(outcomes, need, domains):
    """For any sequence each item is released exactly once, and fewer refusals are held than trip it."""
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
def test_any_text_trips_it(need, words):
    """There is no list of phrases, except for topics of single mailboxes."""
    streak: RefusalStreak[int] = RefusalStreak(need)
    feed(streak, [refused(f"sorry {words}")] * need)
    assert streak.is_tripped


@pytest.mark.parametrize("sign", "-_aA1.@<")
def test_the_work_grows_with_the_words_and_no_faster(sign):
    """A server that answers each recipient with one long word does not keep the other servers of a worker waiting."""
    assert growth(normalise, sign * 1_000, sign * 1_000 * TIMES) < LINEAR


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
