"""One session with a server: set-up and end. For faults see test_session_faults.py."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace

import pytest

from own_smtp.errors import NoSuchHostError, ResolverError, SessionError, TargetRefusedError
from own_smtp.settings import Deadlines
from own_smtp.smtp.network import CANNOT_BE_REACHED
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.secret_redaction import Redactor
from own_smtp.smtp.session import Session, SessionState, SetupError
from own_smtp.smtp.trace import TraceStep
from own_smtp.states import PauseReason, Security, State
from tests.engine import SHORT
from tests.scripted import CLOSE, RESET, BlackHole, ClosedPort, ScriptedServer, multiline
from tests.wire_kit import LOGIN, PASSWORD, converse, profile_for, resolve

LONGEST_CONNECT = 0.3
CLOCK_STEP = 0.02
"""An event loop may wake up so much early."""

STEPS = [
    Stage.CONNECT,
    Stage.BANNER,
    Stage.EHLO,
    Stage.STARTTLS,
    Stage.TLS,
    Stage.EHLO,
    Stage.AUTH,
]


@pytest.fixture
def secured(trusted):
    """A server that requires STARTTLS and sign-in."""
    with ScriptedServer(tls=trusted.server_context(), credentials={"user": PASSWORD}) as server:
        yield server


def opened(server, steps=None, **profile):
    """Open a session and close it; return it."""
    observe = steps.append if steps is not None else lambda _step: None
    session = Session(profile_for(server, **profile), SHORT, observe)

    async def run():
        await session.open(resolve)
        state = session.state
        await session.close()
        return state

    assert asyncio.run(run()) is SessionState.READY
    return session


def test_a_plain_session(scripted):
    """EHLO with the relay's own name, then QUIT."""
    session = opened(scripted)
    assert scripted.commands == ["EHLO client.acme.example", "QUIT"]
    assert session.state is SessionState.CLOSED
    assert session.server == "127.0.0.1 [127.0.0.1]"


def test_starttls_and_sign_in(secured):
    """EHLO is repeated inside TLS, and the password is sent only inside TLS."""
    steps = []
    opened(secured, steps, security=Security.STARTTLS, credentials=LOGIN)
    verbs = [line.split()[0] for line in secured.commands]
    assert verbs == ["EHLO", "STARTTLS", "EHLO", "AUTH", "QUIT"]
    assert [(attempt.mechanism, attempt.encrypted) for attempt in secured.attempts] == [("PLAIN", True)]
    assert [step.stage for step in steps if isinstance(step, TraceStep)] == STEPS
    assert PASSWORD not in repr(steps)
    assert secured.violations == []


def test_implicit_tls(trusted):
    """TLS from the first byte, before the banner."""
    with ScriptedServer(tls=trusted.server_context(), implicit_tls=True) as server:
        opened(server, security=Security.IMPLICIT, credentials=LOGIN)
    assert server.connections[0].record.entries[0][0] == "TLS"
    assert server.attempts[0].encrypted


def test_auth_login_without_plain(trusted):
    """LOGIN is one exchange as well, with the password in its last line."""
    with ScriptedServer(tls=trusted.server_context(), mechanisms=["XOAUTH2", "LOGIN"]) as server:
        opened(server, security=Security.STARTTLS, credentials=LOGIN)
    assert [(attempt.username, attempt.password) for attempt in server.attempts] == [("user", PASSWORD)]


def test_helo_for_a_server_that_knows_nothing_else(scripted):
    """After 500 or 502 to EHLO, HELO is tried, and no extension is offered."""
    scripted.on("ehlo", "502 5.5.1 what?")
    session = opened(scripted)
    assert scripted.commands[:2] == ["EHLO client.acme.example", "HELO client.acme.example"]
    assert not session.capabilities.pipelining


@pytest.mark.parametrize("reply", ["500 what", "501 5.5.4 not so", "502 no", "503 5.5.1 no", "504 5.5.2 no"])
def test_helo_for_a_server_that_refuses_ehlo(scripted, reply):
    """Whatever the reply to EHLO, HELO is tried before the server counts as unwilling (RFC 5321, 3.2)."""
    scripted.on("ehlo", reply)
    assert converse(scripted, 1).states == ["accepted"]
    assert [line.split()[0] for line in scripted.commands][:3] == ["EHLO", "HELO", "MAIL"]


@pytest.mark.parametrize("end", [CLOSE, RESET])
def test_helo_for_a_server_that_hangs_up_at_ehlo(scripted, end):
    """Over a new connection, once."""
    scripted.on("ehlo", end)
    assert converse(scripted, 1).states == ["accepted"]
    assert [line.split()[0] for line in scripted.commands][:3] == ["EHLO", "HELO", "MAIL"]
    assert len(scripted.connections) == 2


def test_a_server_that_hangs_up_at_helo_as_well(scripted):
    """It is retried later, and the outcome names the stage of the hang-up."""
    scripted.on("ehlo", CLOSE)
    scripted.on("helo", CLOSE)
    sent = converse(scripted, 1)
    assert (sent.refusal.stage, sent.refusal.state, sent.refusal.pause) == ("ehlo", "queued", None)
    assert len(scripted.connections) == 2


@pytest.mark.parametrize("behaviour", ["501 5.5.4 not so", CLOSE])
def test_helo_is_not_tried_if_extensions_are_needed(secured, behaviour):
    """A relay that needs STARTTLS or sign-in gets neither after HELO: the server's reply counts."""
    secured.on("ehlo", behaviour)
    sent = converse(secured, 1, security=Security.STARTTLS, credentials=LOGIN)
    assert sent.refusal.stage == "ehlo"
    assert secured.commands == ["EHLO client.acme.example"]


@pytest.mark.parametrize(
    ("password", "lines"),
    [
        ("Company2024!", ["mail.example.com", "STARTTLS", "AUTH PLAIN"]),
        ("Mime4ever!!", ["mail.example.org", "STARTTLS", "AUTH PLAIN", "8BITMIME"]),
        ("TLS4ever!", ["mail.example.org", "AUTH PLAIN", "STARTTLS"]),
        ("STARTTLS", ["mail.example.org", "AUTH PLAIN", "STARTTLS"]),
        ("plain", ["mail.example.org", "STARTTLS", "AUTH LOGIN PLAIN"]),
    ],
)
def test_a_password_that_is_an_ordinary_word(secured, password, lines):
    """The extensions are parsed before the password is removed from the displayed reply."""
    secured.credentials = {"user": password}
    secured.on("ehlo", multiline(250, *lines))
    sent = converse(secured, 1, security=Security.STARTTLS, credentials=replace(LOGIN, password=password))
    assert sent.refusal is None
    assert sent.states == ["accepted"]


def test_an_address_literal_without_a_name(scripted):
    """Without a configured name the client sends its address (RFC 5321, 4.1.3)."""
    opened(scripted, ehlo_name=None)
    assert scripted.commands[0] == "EHLO [127.0.0.1]"


def test_neither_repr_nor_errors_hold_the_password(secured):
    """A server that echoes the AUTH line in its refusal does not get the password into stored texts."""
    secured.on("auth", lambda moment: f"535 5.7.8 no: {moment.line} {PASSWORD}")
    sent = converse(secured, security=Security.STARTTLS, credentials=LOGIN)
    kept = repr((sent.session, sent.refusal, sent.session.profile))
    assert PASSWORD not in kept
    assert "AHVzZXI" not in kept
    assert sent.refusal.pause is PauseReason.CREDENTIALS


@pytest.mark.parametrize("phase", ["mail", "rcpt", "data", "dot"])
def test_a_password_echoed_later_is_hidden_as_well(secured, phase):
    """The server knows the password until the end of the conversation."""
    secured.on(phase, f"550 5.7.1 {PASSWORD} is not enough")
    sent = converse(secured, security=Security.STARTTLS, credentials=LOGIN)
    assert "is not enough" in sent.outcome().words
    assert PASSWORD not in repr(sent.outcome())


def refused(error: Exception | None, server, **profile):
    """Try to open a session with a resolver that raises `error`; return the reason of the failure."""

    async def find(profile):
        if error is not None:
            raise error
        return await resolve(profile)

    session = Session(profile_for(server, **profile), Deadlines(connect=LONGEST_CONNECT))
    begun = time.monotonic()
    with pytest.raises(SetupError) as raised:
        asyncio.run(session.open(find))
    # A filtered port takes the whole of the time; whatever ended sooner would show that it is none.
    assert time.monotonic() - begun >= LONGEST_CONNECT - CLOCK_STEP
    return raised.value.outcome


def test_unreachable_targets_look_the_same_and_take_as_long(scripted, caplog):
    """A tenant cannot distinguish them, neither by texts nor by time; the operator's log can."""
    caplog.set_level(logging.WARNING)
    with ClosedPort() as closed, BlackHole() as filtered:
        outcomes = [
            refused(TargetRefusedError("10.0.0.1 is private"), scripted),
            refused(None, closed),
            refused(None, filtered),
            refused(NoSuchHostError("There is no host called x."), scripted),
            refused(ResolverError("No answer."), scripted),
        ]
    seen = {(outcome.state, outcome.stage, outcome.words, outcome.pause) for outcome in outcomes}
    assert seen == {(State.QUEUED, Stage.CONNECT, f"127.0.0.1 {CANNOT_BE_REACHED}.", None)}
    facts = [record.getMessage() for record in caplog.records]
    for fact, word in zip(facts, ("policy", "refused", "in time", "no host", "No answer"), strict=True):
        assert word in fact
    assert scripted.connections == []


def test_a_cancelled_set_up_closes_the_connection(scripted):
    """A caller that stops waiting leaves nothing open."""
    scripted.on("banner", "", times=1)

    async def run():
        session = Session(profile_for(scripted), SHORT)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await session.open(resolve)
        return session.state

    assert asyncio.run(run()) is SessionState.CLOSED
    scripted.wait_for(lambda: scripted.connections[0].ended)


def test_a_session_without_a_connection_says_so(scripted):
    """Using its connection is an error of ours, not of a server."""
    session = Session(profile_for(scripted), SHORT)
    with pytest.raises(SessionError):
        _ = session.connection
    asyncio.run(session.close())


def test_long_replies_of_a_server_are_no_work_for_the_others(secured, monkeypatch):
    """While nobody watches, the password is looked for in what is kept, and in none of the other lines of a reply."""
    looked_at = []
    look = Redactor._redact
    monkeypatch.setattr(Redactor, "_redact", lambda self, text, cut: looked_at.append(text) or look(self, text, cut))
    lines = ["V" * 490] * 90
    for phase in ("banner", "ehlo", "starttls"):
        secured.on(phase, multiline(250 if phase == "ehlo" else 220, "mail", "STARTTLS", "AUTH PLAIN", *lines))
    secured.on("auth", multiline(535, f"echo {PASSWORD}", *lines))
    session = Session(profile_for(secured, security=Security.STARTTLS, credentials=LOGIN), SHORT)
    with pytest.raises(SetupError) as raised:
        asyncio.run(session.open(resolve))
    assert raised.value.outcome.stage is Stage.AUTH
    assert raised.value.outcome.reply.text.startswith("echo ••• VVV")
    assert sum(map(len, looked_at)) < 2_000
