"""The fault table for one session: the outcome of each fault, and the messages at the server."""

from __future__ import annotations

import asyncio

import pytest

from own_smtp.smtp.network import Target
from own_smtp.smtp.session import Session
from own_smtp.smtp.values import Envelope
from tests.engine import SHORT
from tests.fault_table import FAULTS, PASSWORD, SETUP_PHASES, Fault
from tests.scripted import CLOSE, EXTENSIONS, HANG, RESET, ScriptedServer
from tests.wire_kit import LOGIN, TEXT, Listed, converse, envelope, profile_for

pytestmark = pytest.mark.exhaustive

MODES = {"stepwise": [], "pipelined": ["PIPELINING"]}
LARGE = b"Subject: large\r\n\r\n" + (b"x" * 70 + b"\r\n") * 250_000


def extensions(mode):
    return [item for item in EXTENSIONS if item not in {"PIPELINING", "CHUNKING"}] + MODES[mode]


def messages(fault: Fault, count: int) -> Listed:
    first: Envelope = envelope(1, data=LARGE if fault.large else TEXT)
    return Listed(first, *map(envelope, range(2, count + 1)))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault(trusted, name, mode):
    """The outcome says what to do, and no fault leaves a copy that the outcome denies."""
    fault = FAULTS[name]
    with fault.server(trusted, extensions=extensions(mode)) as server:
        credentials = LOGIN if fault.certificate else None
        sent = converse(
            server, messages(fault, 1), deadlines=fault.limits, security=fault.security, credentials=credentials
        )
        is_setup = fault.phase in SETUP_PHASES
        outcome = sent.refusal if is_setup else sent.outcome()
        assert outcome is not None
        assert (outcome.state, outcome.pause) == (fault.state, fault.pause)
        if fault.code is not None:
            assert outcome.reply is not None
            assert outcome.reply.code == fault.code
        was_taken = fault.state == "accepted" or (fault.state == "unknown" and fault.copies == 1)
        assert len(server.copies) == was_taken
        if is_setup:
            assert (sent.supply.outcomes, sent.supply.begun, server.messages) == ({}, [], 0)
        assert len(server.attempts) == (fault.phase == "auth")
        if fault.phase != "tls":
            assert server.violations == []
        assert PASSWORD not in repr(sent)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.phase not in SETUP_PHASES])
def test_the_messages_behind_a_fault(trusted, name, mode):
    """Each is delivered once or left to the next connection; none is unknown, or refused because of it."""
    fault = FAULTS[name]
    with fault.server(trusted, extensions=extensions(mode)) as server:
        sent = converse(server, messages(fault, 3), deadlines=fault.limits)
        others = {number: outcome.state for number, outcome in sent.supply.outcomes.items() if number != 1}
        # A server that answers twice is out of step: what it says then is believed of nobody.
        assert set(others.values()) <= ({"accepted"} if name != "250 and another 250" else {"queued"})
        left = len(sent.supply.waiting) + len(sent.supply.returned)
        assert len(others) + left == 2
        behind = [copy.recipients[0] for copy in server.copies if copy.recipients != ("user1@example.org",)]
        assert behind == [f"user{number}@example.org" for number, state in others.items() if state == "accepted"]


@pytest.mark.parametrize("end", [CLOSE, RESET])
@pytest.mark.parametrize("mode", MODES)
def test_an_idle_connection_that_was_closed_costs_nothing(mode, end):
    """The next message is given back untried: another connection sends it."""
    with ScriptedServer(extensions=extensions(mode)) as server:
        server.on("dot", ("250 2.0.0 queued", end), message=1)
        sent = converse(server, 2)
        assert sent.states == ["accepted"]
        assert sent.supply.returned == [2]
        assert sent.supply.begun == [1]


@pytest.mark.parametrize("mode", MODES)
def test_a_server_that_breaks_down_at_one_message_does_not_keep_it_first(mode):
    """On a new connection the loss counts as an attempt, so that other messages get their turn."""
    with ScriptedServer(extensions=extensions(mode)) as server:
        server.on("mail", RESET)
        sent = converse(server, 2)
        assert sent.states == ["queued"]
        assert not sent.session.has_answered


def test_a_window_of_messages_lost_is_unknown_and_nothing_else():
    """With CHUNKING at most the messages in flight are unknown; those never written count as untried."""
    with ScriptedServer() as server:
        server.on("dot", RESET, message=3)
        sent = converse(server, 20, window=4)
        # A reset may take back the replies to the first two, which were taken.
        assert 1 <= sent.states.count("unknown") <= 4
        assert set(sent.states) <= {"accepted", "unknown"}
        assert len(server.copies) == 2
        assert sent.states.count("accepted") <= 2


def test_a_window_whose_end_never_left_is_queued():
    """A message that was buffered in this process at the deadline was certainly not accepted."""
    with ScriptedServer(receive_buffer=4096) as server:
        server.on("body", HANG)
        supply = Listed(*(envelope(number, data=LARGE) for number in range(1, 4)))
        sent = converse(server, supply, window=3, deadlines=FAULTS["body not read"].limits)
        assert sent.states == ["queued"]
        assert server.copies == []


def test_resolving_is_part_of_every_connection(scripted):
    """The connection goes to the checked address, whatever the host is called."""

    async def elsewhere(profile):
        return Target(host=profile.host, port=scripted.port, addresses=("127.0.0.1",))

    async def run():
        session = Session(profile_for(scripted, host="no-such-host.invalid", port=1), SHORT)
        await session.open(elsewhere)
        await session.close()
        return session.server

    assert asyncio.run(run()) == "no-such-host.invalid [127.0.0.1]"
