"""A connection test: the same session, policy and commands as in delivery, as far as RCPT. No message is sent.

Settings that pass here therefore work in delivery, too.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace

from own_smtp.settings import INTERACTIVE, Deadlines
from own_smtp.smtp.certificates import Certificate
from own_smtp.smtp.commands import RSET, mail_command, rcpt_command, why_impossible
from own_smtp.smtp.replies.outcomes import Stage, impossible, interrupted
from own_smtp.smtp.session import Resolve, Session, SetupError
from own_smtp.smtp.trace import Observer, TraceLine, TraceStep
from own_smtp.smtp.values import Envelope, Outcome, RelayProfile
from own_smtp.states import PauseReason, Security

log = logging.getLogger(__name__)

LONGEST_DRY_RUN = 30.0
"""Seconds for a test as a whole, however slowly the server replies."""

NO_FINGERPRINT = "0" * 64
"""Matches no certificate: a session that trusts only this one ends as soon as it has seen the server's certificate."""


def plan(security: Security, *, signs_in: bool) -> list[Stage]:
    """Return the stages of a successful conversation, in their order."""
    implicit, starttls = security is Security.IMPLICIT, security is Security.STARTTLS
    return [
        Stage.CONNECT,
        *([Stage.TLS] if implicit else []),
        Stage.BANNER,
        Stage.EHLO,
        *([Stage.STARTTLS, Stage.TLS] if starttls else []),
        *([Stage.AUTH] if signs_in else []),
        Stage.MAIL,
        Stage.RCPT,
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of a test."""

    failure: Outcome | None
    """Why invitations can't be sent with these settings; `None` means that they can."""
    certificate: Certificate | None
    """The server's certificate, even if it was not trusted; `None` without TLS."""


def run_dry_run(
    profile: RelayProfile,
    recipient: str,
    *,
    find: Resolve,
    observe: Observer,
    deadlines: Deadlines = INTERACTIVE,
    longest: float = LONGEST_DRY_RUN,
) -> Finding:
    """Run a conversation as far as RCPT, and pass each step to `observe`.

    Never raises for network or server errors. Don't call it in a thread that runs an event loop.
    """
    return asyncio.run(_probe(profile, recipient, _Watched(observe), find=find, deadlines=deadlines, longest=longest))


async def _probe(
    profile: RelayProfile, recipient: str, watched: _Watched, *, find: Resolve, deadlines: Deadlines, longest: float
) -> Finding:
    session = Session(profile, deadlines, watched)
    shown = None
    try:
        async with asyncio.timeout(longest):
            failure = await _converse(session, recipient, find, watched)
            shown = await _shown_certificate(profile, failure, find, deadlines)
    except TimeoutError:
        failure = _too_long(profile, watched, longest, session.server)
    except Exception as error:  # noqa: BLE001 -- whatever a server sends, the test ends with a result
        failure = _broken_down(profile, watched, error, session.server)
    finally:
        session.drop()
    shown = session.certificate or shown
    certificate = Certificate.from_der(shown).without(session.hide) if shown else None
    return Finding(failure=failure, certificate=certificate)


class _Watched:
    """An observer that remembers the stages that were completed."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self.done: set[Stage] = set()

    def __call__(self, seen: TraceStep | TraceLine) -> None:
        if isinstance(seen, TraceStep):
            self.done.add(seen.stage)
        self._observe(seen)


async def _converse(session: Session, recipient: str, find: Resolve, observe: Observer) -> Outcome | None:
    # Not in a `finally`: after the time limit there is no time left for QUIT.
    failure = await _ask(session, recipient, find, observe)
    await _withdraw(session)
    return failure


async def _ask(session: Session, recipient: str, find: Resolve, observe: Observer) -> Outcome | None:
    envelope = Envelope(sender=session.profile.envelope_sender, recipient=recipient, data=b"")
    try:
        await session.open(find)
        if (problem := why_impossible(envelope, session.capabilities)) is not None:
            return impossible(problem)
        await session.expect(Stage.MAIL, mail_command(envelope, session.capabilities))
        observe(TraceStep(Stage.MAIL, f"The sender {envelope.sender} is accepted.", {"address": envelope.sender}))
        await session.expect(Stage.RCPT, rcpt_command(envelope, session.capabilities))
        observe(TraceStep(Stage.RCPT, f"The recipient {recipient} is accepted.", {"address": recipient}))
    except SetupError as error:
        return error.outcome
    return None


async def _withdraw(session: Session) -> None:
    """Reset the transaction and quit. The server's replies don't matter any more."""
    if session.is_ready:
        with suppress(SetupError):
            await session.expect(Stage.RCPT, RSET)
        await session.close()


def _too_long(profile: RelayProfile, watched: _Watched, longest: float, server: str) -> Outcome | None:
    missing = _first_missing(profile, watched)
    if missing is None:
        return None  # only QUIT took too long
    return interrupted(missing, f"The test took longer than {longest:g} seconds.", server=server)


def _broken_down(profile: RelayProfile, watched: _Watched, error: Exception, server: str) -> Outcome:
    # The error's text may quote the server, secrets included: the log gets only its class and traceback.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("The test of %s failed unexpectedly: %s\n%s", server, type(error).__name__, where)
    stage = _first_missing(profile, watched) or Stage.RCPT
    return interrupted(stage, "The test could not process the server's reply.", server=server)


def _first_missing(profile: RelayProfile, watched: _Watched) -> Stage | None:
    steps = plan(profile.security, signs_in=profile.credentials is not None)
    return next((stage for stage in steps if stage not in watched.done), None)


async def _shown_certificate(
    profile: RelayProfile, failure: Outcome | None, find: Resolve, deadlines: Deadlines
) -> bytes | None:
    """Fetch a certificate that could not be verified: a failed handshake doesn't show it. No password is sent."""
    if failure is None or failure.pause is not PauseReason.CERTIFICATE:
        return None
    session = Session(replace(profile, fingerprint=NO_FINGERPRINT, credentials=None), deadlines)
    with suppress(SetupError):  # always raised, at the latest when the certificate doesn't match
        await session.open(find)
    session.drop()
    return session.certificate
