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


LONGEST = 45.0
"""Seconds for a message as a whole, however slowly the server replies: more than for a connection test."""


def submit(
    profile: RelayProfile,
    envelope: Envelope,
    *,
    policy: NetworkPolicy,
    deadlines: Deadlines = INTERACTIVE,
    observe: Observer | None = None,
    longest: float = LONGEST,
) -> Outcome:
    """Send one message and return its outcome. Never raises for network or server errors.

    Each step has its deadline, and all of them together `longest` seconds. Don't call it in a thread that runs an
    event loop.
    """
    session = Session(profile, deadlines, observe) if observe else Session(profile, deadlines)
    return asyncio.run(_submit(session, _SingleMessage(envelope), resolver_for(policy), longest))


async def _submit(session: Session, supply: _SingleMessage, find: Resolve, longest: float) -> Outcome:
    try:
        async with asyncio.timeout(longest):
            await session.open(find)
            supply.stage = Stage.MAIL
            await deliver(session, supply)
        await session.close()
    except SetupError as error:
        return error.outcome
    except TimeoutError:
        text = f"The session took longer than {longest:g} seconds."
        return supply.outcome or interrupted(supply.stage, text, server=session.server)
    finally:
        session.drop()
    return supply.outcome or interrupted(Stage.CONNECT, "The server closed the connection before the message.")


class _SingleMessage:
    """A supply of one message."""

    def __init__(self, envelope: Envelope) -> None:
        self._waiting: Envelope | None = envelope
        self.outcome: Outcome | None = None
        self.stage = Stage.CONNECT
        """The stage that the session has reached."""

    async def next(self) -> Envelope | None:
        return self.take()

    def take(self) -> Envelope | None:
        envelope, self._waiting = self._waiting, None
        return envelope

    def begin(self, envelope: Envelope) -> None:
        self.stage = Stage.MESSAGE

    def end(self, envelope: Envelope, outcome: Outcome) -> None:
        self.outcome = outcome

    def give_back(self, envelope: Envelope) -> None:
        pass
