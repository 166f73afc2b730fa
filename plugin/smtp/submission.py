"""Sends one message through one relay at once, by the same session as in delivery: for confirmations and tests."""

from __future__ import annotations

import asyncio

from own_smtp.settings import INTERACTIVE, Deadlines
from own_smtp.smtp.network import NetworkPolicy, Target, resolve
from own_smtp.smtp.replies.outcomes import Stage, interrupted
from own_smtp.smtp.session import Resolve, Session, SetupError
from own_smtp.smtp.trace import Observer
from own_smtp.smtp.transfer import deliver
from own_smtp.smtp.values import Envelope, Outcome, RelayProfile


def resolver_for(policy: NetworkPolicy) -> Resolve:
    """Return a function that finds the checked addresses of a relay under the platform's policy."""

    async def resolve_relay(profile: RelayProfile) -> Target:
        policy.check_relay(profile)
        return await resolve(profile.host, profile.port, policy)

    return resolve_relay


def submit(
    profile: RelayProfile,
    envelope: Envelope,
    *,
    policy: NetworkPolicy,
    deadlines: Deadlines = INTERACTIVE,
    observe: Observer | None = None,
) -> Outcome:
    """Send one message and return its outcome. Never raises for network or server errors.

    Takes at most the sum of `deadlines`. Don't call it in a thread that runs an event loop.
    """
    return asyncio.run(_submit(profile, envelope, resolver_for(policy), deadlines, observe))


async def _submit(
    profile: RelayProfile, envelope: Envelope, find: Resolve, deadlines: Deadlines, observe: Observer | None
) -> Outcome:
    session = Session(profile, deadlines, observe) if observe else Session(profile, deadlines)
    try:
        await session.open(find)
    except SetupError as error:
        return error.outcome
    supply = _SingleMessage(envelope)
    try:
        await deliver(session, supply)
    finally:
        await session.close()
    return supply.outcome


class _SingleMessage:
    """A supply of one message."""

    def __init__(self, envelope: Envelope) -> None:
        self._waiting: Envelope | None = envelope
        self.outcome = interrupted(Stage.CONNECT, "The server closed the connection before the message.")

    async def next(self) -> Envelope | None:
        return self.take()

    def take(self) -> Envelope | None:
        envelope, self._waiting = self._waiting, None
        return envelope

    def begin(self, envelope: Envelope) -> None:
        pass

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        self.outcome = outcome

    def give_back(self, envelope: Envelope) -> None:
        pass
