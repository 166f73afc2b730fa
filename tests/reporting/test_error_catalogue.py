"""The error catalogue: its format, its matches, and the completeness of its entries."""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files

import jsonschema
import pytest

from own_smtp.delivery.retry_policy import PROBES
from own_smtp.errors import ConfigurationError
from own_smtp.forms.relay import RelayForm
from own_smtp.reporting.error_catalogue import NAME, NO_REPLY, WHO_LABELS, Who, catalogue, extract_texts, read_catalogue
from own_smtp.reporting.explanations import BY_PAUSE, explain
from own_smtp.smtp.replies.outcomes import Stage, classify
from own_smtp.smtp.replies.parser import ReplyParser, make_reply
from own_smtp.smtp.replies.topics import Topic
from own_smtp.smtp.values import Reply
from own_smtp.states import PauseReason, State
from tests.smtp.test_reply_topics import CASES

pytestmark = pytest.mark.exhaustive

TEXT = files("own_smtp.reporting").joinpath(NAME).read_text(encoding="utf-8")
SCHEMA = json.loads(
    files("own_smtp.reporting").joinpath(NAME.replace(".toml", ".schema.json")).read_text(encoding="utf-8")
)
SAMPLES = [(entry, sample) for entry in catalogue() for sample in entry.samples]

# The providers and servers whose common replies must be covered.
NAMED = (
    "Gmail",
    "Microsoft 365",
    "Amazon SES",
    "Postfix",
    "Exim",
    "Exchange",
    "GMX",
    "WEB.DE",
    "IONOS",
    "STRATO",
    "T-Online",
    "Yahoo",
    "iCloud",
    "SendGrid",
    "Mailgun",
    "Zoho",
    "Mimecast",
    "Proofpoint",
    "Barracuda",
)


def read(sample: str) -> tuple[str, Reply | None, str]:
    """Return stage, reply and words, parsed as in a conversation."""
    stage, _, rest = sample.partition(" ")
    code, _, words = rest.partition(" ")
    if not code.isdecimal():
        return stage, None, rest
    reply = make_reply(int(code), [words.encode()])
    return stage, reply, reply.text


def explained(sample: str):
    stage, reply, words = read(sample)
    return explain(stage, reply.code if reply else None, reply.enhanced if reply else None, None, words)


def test_the_file_has_the_form_that_its_schema_describes():
    """The schema is valid, and the catalogue conforms to it."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(tomllib.loads(TEXT), SCHEMA)


def test_the_schema_knows_the_words_of_the_code():
    """The schema and the code list the same stages, reasons and people."""
    entry = SCHEMA["$defs"]["entry"]["properties"]
    assert set(entry["stages"]["items"]["enum"]) == set(Stage)
    assert set(entry["pause"]["enum"]) == set(PauseReason)
    assert set(entry["about"]["items"]["enum"]) == set(Topic)
    assert set(entry["who"]["enum"]) == set(Who) == set(WHO_LABELS)
    assert set(SCHEMA["properties"]["pauses"]["required"]) == set(PauseReason)


@pytest.mark.parametrize(("entry", "sample"), SAMPLES, ids=[f"{entry.id}-{sample[:30]}" for entry, sample in SAMPLES])
def test_a_real_reply_is_recognised(entry, sample):
    """Each sample leads to its own entry, and to no earlier one."""
    assert explained(sample).key == entry.id


@pytest.mark.parametrize(
    ("entry", "sample"), [pair for pair in SAMPLES if pair[0].pause], ids=lambda value: str(value)[:40]
)
def test_a_pause_is_explained_by_the_same_words(entry, sample):
    """If the rules pause a relay for a reply, its page shows the same entry, found without the codes."""
    stage, reply, words = read(sample)
    pause = classify(Stage(stage), reply).pause
    assert pause is entry.pause or (pause is None and reply.code // 100 == 4)
    assert explain("", None, None, entry.pause, words).key == entry.id


PROMISES = {
    "by itself": lambda outcome: outcome.state is State.QUEUED and (outcome.pause is None or outcome.pause in PROBES),
    "Nothing is lost": lambda outcome: outcome.state is State.QUEUED,
    "tried again": lambda outcome: outcome.state is State.QUEUED,
    "resume here": lambda outcome: outcome.pause is not None and outcome.pause not in PROBES,
    "nd again": lambda outcome: outcome.state is State.REFUSED,
}
"""Promises and requests in advice, with the outcomes for which they are true."""
REAL = [(f"{case['stage']} {case['code']} {case['enhanced']}", case["text"]) for case in CASES]


@pytest.mark.parametrize(
    "sample",
    [sample for _entry, sample in SAMPLES] + [" ".join(f"{head} {text}".split()) for head, text in REAL],
    ids=lambda sample: sample[:50],
)
def test_advice_follows_the_outcome(sample):
    """A refused invitation never has "it goes on by itself" beside it, nor an active server "resume"."""
    stage, reply, _words = read(sample)
    if reply is None:
        return
    outcome = classify(Stage(stage), reply)
    found = explained(sample)
    for words, holds in PROMISES.items():
        assert words not in str(found.what_to_do) or holds(outcome), (found.key, str(found.what_to_do))
    assert outcome.pause is None or found.who not in {Who.RECIPIENT, Who.NOBODY} or outcome.pause is PauseReason.QUOTA
    assert outcome.state is not State.REFUSED or found.who is not Who.NOBODY


KNOWN_CAUSES = [
    ("rcpt 550 Send quota exceeded", "paused-quota"),
    ("mail 550 Send quota exceeded", "paused-quota"),
    ("rcpt 550 5.4.5 Daily sending quota exceeded", "paused-quota"),
    (
        "rcpt 550 Requested action not taken: mailbox unavailable Sender address is not allowed.",
        "sender-of-the-account",
    ),
    ("mail 550 5.7.1 Your IP address is blocked", "paused-blocked"),
    ("auth 535 5.7.0 Your IP address is blocked", "paused-blocked"),
    ("rcpt 553 5.7.1 Relaying denied", "relay-denied"),
    ("message 554 5.7.1 Mailbox quota exceeded", "mailbox-full"),
]


@pytest.mark.parametrize(("sample", "key"), KNOWN_CAUSES)
def test_a_cause_is_the_accounts_or_the_recipients(sample, key):
    """A used-up quota of the account is not a full mailbox, and a blocked address is neither a wrong sender nor a wrong
    password.
    """
    assert explained(sample).key == key


def test_a_reply_of_several_lines_is_explained_as_it_comes():
    """GMX and others split a sentence over several lines: it is matched as one, without the codes in between."""
    parser = ReplyParser()
    said = (b"550-Requested action not taken: mailbox unavailable", b"550 Failure sending mail. Try again later")
    (reply,) = parser.feed(b"\r\n".join(said) + b"\r\n")
    assert explain("rcpt", reply.code, reply.enhanced, None, reply.text).key == "united-internet-unsaid"
    said = (b"550-Requested action not taken: mailbox unavailable", b"550 Sender address is not allowed.")
    (reply,) = parser.feed(b"\r\n".join(said) + b"\r\n")
    assert classify(Stage.MAIL, reply).pause is PauseReason.SENDER
    assert explain("mail", reply.code, reply.enhanced, None, reply.text).key == "sender-of-the-account"


def test_every_known_entry_has_samples_a_source_and_something_to_go_by():
    """Each entry has words or an enhanced code, a real reply, and a public source."""
    for entry in catalogue().known:
        assert entry.samples, entry.id
        assert entry.says or entry.enhanced or entry.about, entry.id
        assert entry.source or entry.stages == {Stage.LOCAL}, entry.id


def test_the_common_servers_are_there():
    """There are entries for the common providers, servers and filters."""
    known = " ".join(entry.server or "" for entry in catalogue().known)
    assert [name for name in NAMED if name not in known] == []


def test_words_that_many_servers_say_do_not_name_one_of_them():
    """Amazon SES, GMX and small servers refuse a password in the same words: the entry names none of them."""
    cause = str(explained("auth 535 5.7.8 Authentication credentials invalid").cause)
    assert cause == "The server refuses the user name or the password."


def test_every_stage_and_class_has_an_explanation():
    """Every reply has an explanation, and its field exists in the form."""
    for stage in Stage:
        for code in (None, 421, 450, 500, 535, 550, 552, 554, 571):
            for enhanced in (None, "4.0.0", "5.0.0", "5.7.999"):
                assert str(explain(stage, code, enhanced, None, "?").cause)
    assert str(explain("of a later version", 550, None, None).cause)
    fields = {entry.field for entry in catalogue()} - {None}
    assert {name for name in fields if not hasattr(RelayForm, name)} == set()


def test_each_reason_for_a_pause_is_explained():
    """With unknown words, and without any."""
    for reason in PauseReason:
        assert explain("", None, None, reason, "zzz") == BY_PAUSE[reason] == explain("", None, None, reason)


def test_refused_filtered_and_silent_look_the_same():
    """A tenant must not learn from an explanation which ports are open."""
    texts = {str(BY_PAUSE[reason].cause) for reason in (PauseReason.UNREACHABLE, PauseReason.NOT_ALLOWED)}
    assert texts == {str(explain(Stage.CONNECT, None, None, None).cause)}


@pytest.mark.parametrize(
    ("words", "key"),
    [
        ("Sender address rejected: Domain acme.example DOES NOT ACCEPT MAIL (nullMX)", "sender-domain-unknown"),
        ("does not accept mail. Sender address rejected: domain acme.example", "sender"),
        ("Your message exceeded all possible message size limits", "too-large"),
    ],
)
def test_a_gap_stands_for_whatever_lies_between(words, key):
    """The parts must occur in their order, in any case."""
    assert key in explain(Stage.MAIL, 556 if "Domain" in words else 552, None, None, words).key


def test_long_answers_are_searched_quickly_by_design():
    """The file has fragments and no patterns, so that nothing can backtrack."""
    assert all(isinstance(fragment, str) and fragment.strip() for entry in catalogue() for fragment in entry.says)
    hostile = "domain " * 200_000
    assert explain(Stage.RCPT, 550, None, None, hostile).key == "no-recipient"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (('who = "you"', 'who = "me"'), "me"),
        (('stages = ["auth"]', 'stages = ["auths"]'), "app-password"),
        (('pause = "credentials"', 'pauses = "credentials"'), "app-password"),
        (('id = "browser-login"', 'id = "app-password"'), "unique"),
        (('cause = "The provider wants an app', 'reason = "The provider wants an app'), "app-password"),
        (("[pauses.person]", "[pauses.somebody]"), "somebody"),
        (('id = "anything"', 'id = "anything"\nstages = ["rcpt"]'), "last fallback"),
    ],
)
def test_a_mistake_in_the_file_is_named(change, named):
    """An invalid catalogue stops the start with the name of the mistake."""
    with pytest.raises((ConfigurationError, ValueError), match=named):
        read_catalogue(TEXT.replace(*change, 1))


def test_no_reply_is_a_condition_of_its_own():
    """A lost connection does not match an entry with a code."""
    assert explain(Stage.MESSAGE, None, None, None).key == "lost"
    assert not any(code.startswith(NO_REPLY) for code in ("2", "4", "5"))


def test_translators_get_every_text():
    """Causes and advice are extracted like all texts of the code."""
    with files("own_smtp.reporting").joinpath(NAME).open("rb") as file:
        texts = {text for _line, _function, text, _comments in extract_texts(file, (), (), {})}
    assert {entry.cause for entry in catalogue()} | {entry.what_to_do for entry in catalogue()} == texts
