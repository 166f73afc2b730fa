"""Submission of one message, for tests and confirmations."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest

from own_smtp.settings import INTERACTIVE
from own_smtp.smtp.network import NetworkPolicy
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.submission import resolver_for, submit
from own_smtp.smtp.trace import TraceStep
from own_smtp.states import Security, State
from tests.fault_table import PASSWORD
from tests.scripted import CLOSE, HANG, ClosedPort, ScriptedServer
from tests.wire_kit import LOGIN, envelope, profile_for


def policy(*ports, networks=("127.0.0.0/8",)):
    return NetworkPolicy(
        allowed_ports=frozenset(ports),
        allowed_networks=tuple(ipaddress.ip_network(item) for item in networks),
        allow_plaintext=True,
    )


def submitted(server, steps=None, **profile):
    deadlines = replace(INTERACTIVE, banner=0.3, command=2, final_dot=0.3, quit=0.1)
    return submit(
        profile_for(server, **profile),
        envelope(),
        policy=policy(server.port),
        deadlines=deadlines,
        observe=steps.append if steps is not None else None,
    )


def test_a_message_is_accepted(trusted):
    """Each step of the set-up is traced, without the password."""
    steps = []
    with ScriptedServer(tls=trusted.server_context(), credentials={"user": PASSWORD}) as server:
        outcome = submitted(server, steps, security=Security.STARTTLS, credentials=LOGIN)
    assert (outcome.state, outcome.server) == (State.ACCEPTED, "127.0.0.1 [127.0.0.1]")
    assert [step.stage for step in steps if isinstance(step, TraceStep)][-2:] == [Stage.EHLO, Stage.AUTH]
    assert PASSWORD not in repr(steps)
    assert len(server.copies) == 1
    assert server.commands[-1] == "QUIT"


@pytest.mark.parametrize(
    ("phase", "behaviour", "state", "stage"),
    [
        ("banner", HANG, State.QUEUED, Stage.BANNER),
        ("mail", "550 5.7.1 no", State.QUEUED, Stage.MAIL),
        ("rcpt", "550 5.1.1 no", State.REFUSED, Stage.RCPT),
        ("mail", CLOSE, State.QUEUED, Stage.MAIL),
        ("dot", HANG, State.UNKNOWN, Stage.MESSAGE),
        ("quit", HANG, State.ACCEPTED, Stage.MESSAGE),
    ],
)
def test_every_server_error_is_an_outcome(scripted, phase, behaviour, state, stage):
    """No error raises an exception; the outcome names the stage."""
    scripted.on(phase, behaviour)
    outcome = submitted(scripted)
    assert (outcome.state, outcome.stage) == (state, stage)


@pytest.mark.parametrize(
    ("phase", "state", "stage"),
    [
        ("banner", State.QUEUED, Stage.CONNECT),
        ("rcpt", State.QUEUED, Stage.MAIL),
        ("dot", State.UNKNOWN, Stage.MESSAGE),
    ],
)
def test_a_session_has_one_deadline(scripted, phase, state, stage):
    """It applies in every stage; after the final dot the outcome is unknown."""
    scripted.on(phase, HANG)
    outcome = submit(profile_for(scripted), envelope(), policy=policy(scripted.port), longest=2.0)
    assert (outcome.state, outcome.stage) == (state, stage)
    assert outcome.words == "The session took longer than 2 seconds."


def test_a_slow_quit_changes_nothing(scripted):
    """The deadline passes after the reply: the message was accepted."""
    scripted.on("quit", HANG)
    outcome = submit(profile_for(scripted), envelope(), policy=policy(scripted.port), longest=2.0)
    assert outcome.state is State.ACCEPTED


def test_an_unreachable_server():
    """The text equals that for a refused target."""
    with ClosedPort() as port:
        quick = replace(INTERACTIVE, connect=1)
        closed = submit(profile_for(port), envelope(), policy=policy(port.port), deadlines=quick)
        refused = submit(profile_for(port), envelope(), policy=policy(port.port, networks=()), deadlines=quick)
    assert (closed.stage, closed.words) == (refused.stage, refused.words)
    assert (closed.state, closed.pause) == (refused.state, refused.pause) == (State.QUEUED, None)


def test_the_policy_is_asked_for_each_connection(scripted):
    """A resolver for a policy checks the port and every address."""
    target = asyncio.run(resolver_for(policy(scripted.port))(profile_for(scripted)))
    assert (target.host, target.addresses) == ("127.0.0.1", ("127.0.0.1",))
