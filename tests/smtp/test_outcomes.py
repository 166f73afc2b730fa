"""The outcomes of servers' replies."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.delivery.retry_policy import PROBES, Backoff
from own_smtp.smtp.replies.outcomes import SETUP, TRANSACTION, Stage, classify, impossible, interrupted
from own_smtp.smtp.replies.rules import RULES, find_rule
from own_smtp.smtp.replies.topics import Topic, topic_of
from own_smtp.smtp.values import Reply
from own_smtp.states import PauseReason, State

STAGES = sorted(SETUP | TRANSACTION)
CODES = range(200, 600)


def said(text: str) -> Reply:
    """Parse `550 5.1.1 text`."""
    code, enhanced, words = re.fullmatch(r"(\d+) ?([245]\.\d+\.\d+)? ?(.*)", text).groups()
    return Reply(code=int(code), enhanced=enhanced, text=words)


# The same in each stage after RCPT.
AFTER_RCPT = [
    ("421 4.2.2 mailbox full", "queued", None, True),
    ("452 4.2.2 mailbox full", "queued", None, False),
    ("452 4.2.2 over quota", "queued", None, False),
    ("451 4.2.0 no", "queued", None, True),
    ("451 4.3.0 no", "queued", None, True),
    ("452 4.4.5 no", "queued", None, True),
    ("454 4.7.1 Relay access denied", "queued", "no_auth", False),
    ("503 5.7.0 must issue a STARTTLS command first", "queued", "no_tls", False),
    ("530 5.7.0 no", "queued", "no_auth", False),
    ("550 5.1.7 no", "queued", "sender", False),
    ("550 5.1.8 no", "queued", "sender", False),
    ("550 5.4.5 no", "queued", "quota", False),
    ("552 5.2.2 mailbox full", "refused", None, False),
    ("552 5.7.1 Send quota exceeded", "queued", "quota", False),
    ("552 5.3.4 no", "refused", None, False),
    ("553 5.7.1 Sender address rejected: not owned by user ann", "queued", "sender", False),
    ("554 5.7.1 <x[192.0.2.1]>: Client host rejected: Access denied", "queued", "blocked", False),
    ("554 5.7.1 Relay access denied", "queued", "no_auth", False),
    ("554 5.7.1 no", "refused", None, False),
]

# The stage, the reply, the invitation's state, why the relay pauses, whether it goes slower.
CASES = [
    ("banner", "421 busy", "queued", None, True),
    ("banner", "450 later", "queued", None, True),
    ("banner", "554 go away", "queued", "blocked", False),
    ("ehlo", "550 bad name", "queued", "blocked", False),
    ("starttls", "454 4.7.0 no TLS now", "queued", None, False),
    ("starttls", "502 5.5.1 not here", "queued", "no_tls", False),
    ("auth", "454 4.7.0 temporary failure", "queued", None, True),
    ("auth", "454 4.7.0 too many logins", "queued", None, True),
    ("auth", "421 4.7.0 too many connections", "queued", None, True),
    ("auth", "535 5.7.8 wrong", "queued", "credentials", False),
    ("auth", "534 5.7.9 application-specific password required", "queued", "credentials", False),
    ("auth", "530 5.7.0 must issue a STARTTLS command first", "queued", "no_tls", False),
    ("auth", "538 5.7.11 encryption required", "queued", "no_tls", False),
    ("auth", "503 5.5.1 authentication not enabled", "queued", "no_auth", False),
    ("auth", "504 5.5.4 unrecognized authentication type", "queued", "no_auth", False),
    ("mail", "450 4.7.1 too much mail", "queued", None, True),
    ("mail", "452 4.3.1 no room", "queued", None, True),
    ("mail", "550 5.7.1 not your sender", "queued", "sender", False),
    ("mail", "553 5.7.1 not owned by user", "queued", "sender", False),
    ("mail", "530 5.7.0 authentication required", "queued", "no_auth", False),
    ("mail", "552 5.3.4 too large", "refused", None, False),
    ("mail", "550 5.6.7 no SMTPUTF8", "refused", None, False),
    ("rcpt", "450 4.2.0 greylisted", "queued", None, False),
    ("rcpt", "450 4.1.1 unverified address", "queued", None, False),
    ("rcpt", "451 4.7.1 greylisted", "queued", None, True),
    ("rcpt", "452 4.5.3 too many recipients", "queued", None, True),
    ("rcpt", "550 5.1.1 no such user", "refused", None, False),
    ("rcpt", "550 4.1.1 contradicts itself", "refused", None, False),
    ("rcpt", "450 5.1.1 contradicts itself", "queued", None, False),
    ("rcpt", "551 user not local", "refused", None, False),
    ("rcpt", "552 5.2.2 mailbox full", "queued", None, False),
    ("rcpt", "552 too many recipients", "queued", None, True),
    ("auth", "550 5.7.1 Authentication requires SSL", "queued", "no_tls", False),
    ("auth", "550 Daily sending limit exceeded", "queued", "quota", False),
    ("auth", "535 too many failed login attempts, the limit was exceeded", "queued", "credentials", False),
    ("auth", "535 5.7.0 Your IP address is blocked", "queued", "blocked", False),
    ("mail", "554 Maximum email size exceeded", "refused", None, False),
    ("mail", "550 5.7.1 Your IP address [192.0.2.1] is blocked", "queued", "blocked", False),
    ("mail", "550 Send quota exceeded", "queued", "quota", False),
    ("mail", "552 5.2.2 mailbox quota exceeded", "queued", "quota", False),
    ("mail", "552 no", "refused", None, False),
    ("mail", "451 5.7.3 STARTTLS is required to send mail", "queued", "no_tls", False),
    ("mail", "451 4.4.2 Timeout waiting for data from client.", "queued", None, False),
    ("rcpt", "550 5.4.5 too much of it", "queued", "quota", False),
    ("rcpt", "450 4.2.1 You are sending too many emails too fast.", "queued", None, True),
    ("rcpt", "451 4.3.0 mailbox full", "queued", None, False),
    ("rcpt", "550 5.7.1 authentication required", "queued", "no_auth", False),
    ("body", "550 5.7.1 Daily sending limit exceeded", "queued", "quota", False),
    ("rcpt", "454 4.7.1 <a@b.example>: Relay access denied", "queued", "no_auth", False),
    ("rcpt", "552 mailbox not found", "refused", None, False),
    ("rcpt", "552 5.2.3 too long for this mailbox", "refused", None, False),
    ("rcpt", "554 5.7.1 <a@b.example>: Relay access denied", "queued", "no_auth", False),
    ("rcpt", "550 5.7.54 unable to relay recipient in non-accepted domain", "queued", "no_auth", False),
    ("rcpt", "553 5.7.1 <a@b.example>: Sender address rejected: not owned by user ann", "queued", "sender", False),
    ("rcpt", "550 5.1.8 bad sender's system address", "queued", "sender", False),
    ("rcpt", "554 5.7.1 <x[192.0.2.1]>: Client host rejected: Access denied", "queued", "blocked", False),
    ("rcpt", "530 5.7.57 client not authenticated", "queued", "no_auth", False),
    ("rcpt", "550 5.4.5 daily sending quota exceeded", "queued", "quota", False),
    ("rcpt", "421 4.3.0 closing", "queued", None, True),
    ("data", "451 4.3.0 no", "queued", None, True),
    ("data", "554 5.7.1 no", "refused", None, False),
    ("body", "421 4.4.2 closing", "queued", None, True),
    ("message", "250 2.0.0 queued", "accepted", None, False),
    ("message", "200 well", "accepted", None, False),
    ("message", "421 4.3.0 closing", "queued", None, True),
    ("message", "451 4.3.0 try later", "queued", None, True),
    ("message", "452 4.3.1 no room", "queued", None, True),
    ("message", "554 5.7.1 spam", "refused", None, False),
    ("message", "554 5.2.252 SendAsDenied; ann not allowed to send as bob", "queued", "sender", False),
    ("message", "554 5.2.0 the submission quota was exceeded", "queued", "quota", False),
    ("message", "550 5.4.5 Daily user sending limit exceeded", "queued", "quota", False),
    ("message", "550 5.7.1 Daily SMTP relay limit exceeded for customer", "queued", "quota", False),
    ("message", "550 5.7.1 You have exceeded your daily sending limit", "queued", "quota", False),
    ("message", "552 5.7.1 Your message exceeded our message size limits", "refused", None, False),
    ("message", "550 5.7.1 The message size limit was exceeded", "refused", None, False),
    ("message", "553 Relaying disallowed as ann@acme.example", "queued", "sender", False),
    ("rcpt", "550 mailbox unavailable Sender address is not allowed.", "queued", "sender", False),
    ("message", "550 The from address does not match a verified Sender Identity", "queued", "sender", False),
    ("message", "554 Message rejected: Email address is not verified", "queued", "sender", False),
    ("message", "554 User `ann' is not authorized to perform `ses:SendRawEmail'", "queued", "sender", False),
    ("message", "554 Message rejected: Sending paused for this account", "queued", "sender", False),
    ("message", "554 5.2.0 STOREDRV.Submission.Exception:OutboundSpamException", "queued", "sender", False),
    ("message", "550 5.7.502 Access denied, banned sender", "queued", "sender", False),
    ("message", "550 5.7.705 Access denied, tenant has exceeded threshold", "queued", "sender", False),
    ("message", "550 5.4.6 Unusual sending activity detected", "queued", "sender", False),
    ("message", "554 5.2.2 STOREDRV.Submission.Exception:QuotaExceededException", "queued", "sender", False),
    ("message", "554 5.2.2 STOREDRV.Deliver.Exception:QuotaExceededException", "refused", None, False),
    (
        "rcpt",
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using a.example",
        "queued",
        "blocked",
        False,
    ),
    ("rcpt", "550 5.1.1 host a.example said: Service unavailable; Client host blocked", "refused", None, False),
    ("rcpt", "550 5.7.606 Access denied, banned sending IP [192.0.2.1]", "queued", "blocked", False),
    ("message", "550 5.7.708 Access denied, traffic not accepted from this IP.", "queued", "blocked", False),
    # Where only the stage, the code or the enhanced code decides.
    ("ehlo", "450 4.7.0 later", "queued", None, True),
    ("starttls", "421 4.7.0 closing", "queued", None, True),
    ("auth", "538 5.7.11 no", "queued", "no_tls", False),
    ("auth", "530 5.7.0 no", "queued", "no_tls", False),
    ("auth", "535 Login rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Too many log-ins: rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Too many logons: rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Too many attempts: rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Authentication failed: rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Authentication error: rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Too many auth requests: rate limit exceeded", "queued", "credentials", False),
    ("auth", "535 Too many wrong passwords: rate limit exceeded", "queued", "credentials", False),
    ("mail", "530 5.7.0 no", "queued", "no_auth", False),
    ("mail", "421 4.7.0 must issue a STARTTLS command first", "queued", None, True),
    ("mail", "450 4.1.8 <x@b.example>: Sender address rejected: Domain not found", "queued", None, True),
    ("mail", "452 4.2.2 over quota", "queued", None, True),
    ("mail", "454 4.7.1 Relay access denied", "queued", "no_auth", False),
    ("mail", "552 5.7.1 Send quota exceeded", "queued", "quota", False),
    ("mail", "552 5.4.5 no", "queued", "quota", False),
    ("mail", "552 5.1.7 no", "queued", "sender", False),
    ("mail", "552 5.7.1 Your account is suspended", "queued", "sender", False),
    ("mail", "550 5.3.4 no", "refused", None, False),
    ("rcpt", "421 4.2.2 mailbox full", "queued", None, True),
    ("rcpt", "450 4.1.8 <x@b.example>: Sender address rejected: Domain not found", "queued", None, False),
    ("rcpt", "450 4.7.25 Client host rejected: cannot find your hostname", "queued", None, True),
    ("rcpt", "530 5.7.0 no", "queued", "no_auth", False),
    ("message", "450 4.7.0 The user you are trying to contact is receiving mail too quickly.", "queued", None, False),
    *((stage, *case) for stage in ("data", "body", "message") for case in AFTER_RCPT),
]


@pytest.mark.parametrize(("stage", "reply", "state", "pause", "slows_down"), CASES)
def test_the_outcome_of_a_reply(stage, reply, state, pause, slows_down):
    """For the message, the relay and the rate."""
    outcome = classify(Stage(stage), said(reply), server="mail.example.test")
    assert (outcome.state, outcome.pause, outcome.slows_down) == (state, pause, slows_down)
    assert outcome.reply == said(reply)
    assert outcome.server == "mail.example.test"


@pytest.mark.parametrize("stage", STAGES)
def test_every_code_has_an_outcome_in_every_stage(stage):
    """Unknown codes are judged by their first digit; none raises an error."""
    for code in CODES:
        outcome = classify(stage, Reply(code=code, text=""))
        is_taken = stage is Stage.MESSAGE and code // 100 == 2
        assert (outcome.state is State.ACCEPTED) == is_taken
        if code // 100 == 4:
            assert outcome.state is State.QUEUED
            assert outcome.pause is None


@pytest.mark.parametrize("stage", sorted(SETUP))
def test_no_invitation_is_refused_before_mail(stage):
    """Replies before MAIL never refuse an invitation."""
    assert {classify(stage, Reply(code=code, text="")).state for code in CODES} == {State.QUEUED}


@given(st.sampled_from(STAGES), st.integers(200, 599), st.text(max_size=500), st.from_regex(r"[245]\.\d{1,3}\.\d{1,3}"))
def test_texts_only_make_a_verdict_milder(stage, code, words, enhanced):
    """No text turns a refusal into an acceptance, or anything into a refusal, except for a message that is too big."""
    silent = classify(stage, Reply(code=code, text="", enhanced=enhanced))
    spoken = classify(stage, Reply(code=code, text=words, enhanced=enhanced))
    is_too_large = stage is Stage.MAIL and topic_of(Reply(code=code, text=words)) is Topic.SIZE
    assert spoken.state in {silent.state, State.QUEUED} or is_too_large
    assert (spoken.state is State.ACCEPTED) == (silent.state is State.ACCEPTED)


@pytest.mark.parametrize(
    ("stage", "code"),
    [("data", 250), ("message", 354), ("mail", 354), ("ehlo", 334), ("starttls", 354), ("auth", 334), ("rcpt", 354)],
)
def test_a_nonsensical_reply_counts_as_an_interruption(stage, code):
    """Unknown after the final dot, queued before."""
    outcome = classify(Stage(stage), Reply(code=code, text="what"))
    assert outcome == interrupted(Stage(stage), f"The server answered {code} where that makes no sense.")


def test_only_the_final_dot_leaves_an_unknown():
    """Before it nothing can have been accepted; after it that cannot be known (RFC 1047)."""
    states = {stage: interrupted(stage, "lost").state for stage in STAGES}
    assert [stage for stage, state in states.items() if state is not State.QUEUED] == [Stage.MESSAGE]
    assert states[Stage.MESSAGE] is State.UNKNOWN


def test_an_impossible_message_fails_without_a_byte():
    """Its stage shows that nothing was sent."""
    outcome = impossible("too large")
    assert (outcome.state, outcome.stage, outcome.words) == (State.FAILED, Stage.LOCAL, "too large")


def test_every_rule_can_decide_and_has_a_reason():
    """A rule that earlier ones always precede would be dead."""
    assert all(rule.why.endswith(".") for rule in RULES)
    deciding = [find_rule(Stage(stage), said(reply)) for stage, reply, *_ in CASES]
    assert [rule.why for rule in RULES if rule not in deciding] == []


def test_a_pause_because_of_a_password_needs_a_person():
    """Automatic retries could lock the account."""
    assert PROBES.keys().isdisjoint({PauseReason.CREDENTIALS, PauseReason.PERSON, PauseReason.SENDER})


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_their_limit(failures, chance):
    """Each wait is about double the previous one, up to the longest, plus or minus a fifth."""
    backoff = Backoff(first=timedelta(minutes=5), longest=timedelta(hours=2))
    usual = min(timedelta(minutes=5) * 2 ** min(failures - 1, 10), timedelta(hours=2))
    assert usual * 0.79 <= backoff.delay(failures, lambda: chance) <= usual * 1.21


def test_waits_can_be_disabled():
    """For tests, and for platforms that need it."""
    assert Backoff(first=timedelta(0)).delay(3, lambda: 0.5) == timedelta(0)
