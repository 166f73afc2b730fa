"""Topics of refusals: real replies of providers and servers, including those about recipients."""

from __future__ import annotations

import csv
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.smtp.replies.outcomes import Stage, classify
from own_smtp.smtp.replies.topics import Topic, topic_of
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import State

pytestmark = pytest.mark.exhaustive

REPLIES = Path(__file__).parents[1] / "data" / "replies"


def read(name: str) -> list[dict[str, str]]:
    with (REPLIES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


CASES = read("refusals.tsv") + read("variants.tsv") + read("others.tsv")


def outcome_of(case: dict[str, str]) -> Outcome:
    reply = Reply(code=int(case["code"]), text=case["text"], enhanced=case["enhanced"] or None)
    return classify(Stage(case["stage"]), reply)


def written(outcome: Outcome) -> str:
    """Return an outcome in the notation of the files."""
    if outcome.pause is not None:
        return f"P:{outcome.pause}"
    if outcome.state is State.REFUSED:
        return "R"
    return "S" if outcome.slows_down else "T"


def expected(text: str) -> set[str]:
    """Parse `P:a,b`, `R,T` or `R,P:a`, with or without the mark of doubt."""
    head, _, reasons = text.rstrip("?").partition("P:")
    return {item for item in head.split(",") if item} | {f"P:{item}" for item in reasons.split(",") if item}


@pytest.mark.parametrize("case", CASES, ids=[f"{case['stage']} {case['code']} {case['text'][:40]}" for case in CASES])
def test_the_outcome_of_a_real_refusal(case):
    """No recipient is refused because of account, client or rate, and no relay pauses because of a recipient."""
    assert written(outcome_of(case)) in expected(case["expected_outcome"])


WHO = [
    "User", "The user", "Recipient", "Mailbox", "The mailbox", "Address", "Account", "<ann@example.org>",
    "ann@example.org", "This recipient", "Recipient address", "Local user",
    "The e-mail account that you tried to reach", "No mailbox here:", "Addressee", "Customer mailbox",
    "Invalid recipient ann@example.org:", "Requested action not taken: mailbox",
    "<ann@example.org>: Recipient address", "Delivery to ann@example.org:", "The person", "Inbox of the user",
    "ann", "It",
]  # fmt: skip
WHAT = [
    "unknown", "not found", "does not exist", "unavailable", "is full", "over quota", "has exceeded its quota",
    "is disabled", "is inactive", "has been closed", "is no longer valid", "rejected", "rejected: User unknown",
    "rejected: Mailbox full", "rejected: Access denied", "is not accepting mail", "has moved",
    "left the company", "out of storage", "exceeded storage allocation", "is suspended", "invalid", "denied",
    "is not local", "cannot be verified", "not listed in public directory", "does not accept mail from outside",
    "has insufficient space", "size limit exceeded", "does not like this",
    "quota exceeded (mailbox for user is full)", "has no room", "is blocked for incoming mail", "undeliverable",
    "unrouteable", "unverified", "temporarily disabled by its owner", "refused", "is a trap",
    "has been deactivated", "not known here", "not deliverable", "is restricted to its group",
    "has been removed", "prohibited by its owner", "is over its disk quota", "was disabled in 2019",
    "is on holiday", "is locked", "no longer used", "has expired", "belongs to nobody", "was not recognised",
    "is an alias of nobody", "does not receive external mail", "has been retired",
    "does not work here any more", "does not want mail from you", "bounces", "went away", "wants none",
    "closed", "dead", "see https://example.org/blocked?ip=192.0.2.1&limit=exceeded", "no such user here",
    "mailbox disabled, not accepting messages", "invalid mailbox", "unknown or illegal alias",
    "unknown in virtual mailbox table", "unknown in local recipient table",
    "undeliverable address: unknown user",
    "host mx.example.org said: 550 Service unavailable; Client host [192.0.2.1] blocked",
    "is protected by a filter", "address no longer valid", "not our customer",
    "bad destination mailbox address", "would go over its quota", "gone", "may not be reached",
]  # fmt: skip
CODES = [(550, "5.1.1"), (550, None), (552, "5.2.2"), (553, None), (554, "5.7.1"), (450, "4.2.1")]


def test_refusals_of_a_recipient_never_pause_a_relay():
    """For about two thousand phrases with their codes the other recipients are not affected."""
    phrases = [f"{who} {what}" for who, what in product(WHO, WHAT)]
    assert len(phrases) > 1800
    pausing = {
        f"{code} {phrase}"
        for phrase in phrases
        for code, enhanced in CODES
        if classify(Stage.RCPT, Reply(code=code, text=phrase, enhanced=enhanced)).pause is not None
    }
    assert pausing == set()


@pytest.mark.parametrize(
    ("words", "topic"),
    [
        ("Please see https://help.example.org/quota-exceeded/blocked-ip", None),
        ("<quota-exceeded@limit.example>: no", None),
        ("Sending quota of mail.example.org exceeded", Topic.QUOTA),
        ("SENDING LIMIT EXCEEDED", Topic.QUOTA),
        ("Versandlimit überschritten", Topic.QUOTA),
        ("Your account is limited to 50 emails per day. See https://x.example/", Topic.QUOTA),
        ("", None),
        ("no", None),
    ],
)
def test_links_and_addresses_have_no_topic(words, topic):
    """A link or an address may contain any word; a dot in a name ends no sentence."""
    assert topic_of(Reply(code=550, text=words)) == topic


@given(st.text(max_size=2000))
def test_any_text_has_a_topic_or_none(words):
    """Texts of hostile servers are handled like all others."""
    assert topic_of(Reply(code=550, text=words)) in {*Topic, None}
