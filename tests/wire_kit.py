"""One session with one server, without a database: profiles, a recording supply, and a function that runs it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from own_smtp.settings import Deadlines
from own_smtp.smtp.network import Target
from own_smtp.smtp.session import Session, SetupError
from own_smtp.smtp.transfer import deliver
from own_smtp.smtp.values import Credentials, Envelope, Identity, Limits, Outcome, RelayProfile
from own_smtp.states import Security, State
from tests.engine import SHORT, Server

SENDER = "research@acme.example"
TEXT = b"Subject: hello\r\n\r\nHello.\r\n"
PASSWORD = "correct horse"
LOGIN = Credentials(username="user", password=PASSWORD)


def profile_for(server: Server, **values: Any) -> RelayProfile:
    """Return a relay without TLS and without sign-in, unless `values` say otherwise."""
    plain = RelayProfile(
        relay_id=1,
        tenant_id="acme",
        label="Acme",
        host=server.host,
        port=server.port,
        security=Security.NONE,
        credentials=None,
        fingerprint=None,
        identity=Identity(address=SENDER),
        envelope_sender=SENDER,
        ehlo_name="client.acme.example",
        limits=Limits(),
        revision=1,
    )
    return replace(plain, **values)


def envelope(number: int = 1, **values: Any) -> Envelope:
    """Return a message to `user<number>@example.org`."""
    plain = Envelope(sender=SENDER, recipient=f"user{number}@example.org", data=TEXT, invitation_id=number)
    return plain._replace(**values)


async def resolve(profile: RelayProfile) -> Target:
    """Return loopback for any host."""
    return Target(host=profile.host, port=profile.port, addresses=("127.0.0.1",))


class Listed:
    """A supply of given messages. It fails the test if one ends twice, or ends and is given back."""

    def __init__(self, *envelopes: Envelope, may_begin: Callable[[Envelope], None] | None = None) -> None:
        self.waiting = deque(envelopes)
        self.outcomes: dict[int, Outcome] = {}
        self.begun: list[int] = []
        self.returned: list[int] = []
        self._may_begin = may_begin or (lambda _envelope: None)

    async def next(self) -> Envelope | None:
        return self.take()

    def take(self) -> Envelope | None:
        return self.waiting.popleft() if self.waiting else None

    def begin(self, envelope: Envelope) -> None:
        self._may_begin(envelope)
        assert envelope.invitation_id not in self.begun
        self.begun.append(envelope.invitation_id)

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        number = envelope.invitation_id
        assert number not in self.outcomes
        assert number not in self.returned
        assert number in self.begun or outcome.state is not State.UNKNOWN, "unknown without a record of its beginning"
        self.outcomes[number] = outcome

    def give_back(self, envelope: Envelope) -> None:
        assert envelope.invitation_id not in self.outcomes
        self.returned.append(envelope.invitation_id)

    @property
    def states(self) -> list[str]:
        """The states of the ended messages, in the order of their numbers."""
        return [self.outcomes[number].state for number in sorted(self.outcomes)]


@dataclass
class Conversed:
    """The result of a session."""

    supply: Listed
    session: Session
    refusal: Outcome | None = None
    """Why there was no conversation."""

    @property
    def states(self) -> list[str]:
        return self.supply.states

    def outcome(self, number: int = 1) -> Outcome:
        return self.supply.outcomes[number]


def converse(
    server: Server,
    supply: Listed | int = 1,
    *,
    deadlines: Deadlines = SHORT,
    window: int = 1,
    most: int | None = None,
    **profile: Any,
) -> Conversed:
    """Open a session, send the messages, and close it. A number as supply means so many plain messages."""
    if isinstance(supply, int):
        supply = Listed(*map(envelope, range(1, supply + 1)))
    return asyncio.run(_converse(Session(profile_for(server, **profile), deadlines), supply, window, most))


async def _converse(session: Session, supply: Listed, window: int, most: int | None) -> Conversed:
    try:
        await session.open(resolve)
    except SetupError as error:
        return Conversed(supply, session, error.outcome)
    try:
        await deliver(session, supply, window=window, most=most)
    finally:
        await session.close()
    return Conversed(supply, session)
