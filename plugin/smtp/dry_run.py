"""A mail server tried as real sending uses it, up to the recipient: then everything is withdrawn and nothing is sent.

The same session, policy and commands as in delivery, so that what passes here passes there.
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
"""Seconds for a test as a whole, however slowly the server answers."""

NOBODYS = "0" * 64
"""The fingerprint of no certificate: a session that trusts only this one ends where it has seen the server's."""


def plan(security: Security, *, signs_in: bool) -> list[Stage]:
    """Return the steps of a conversation that goes well, in their order."""
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
    """What a test came to."""

    failure: Outcome | None
    """Why invitations could not leave like this; `None` means that they could."""
    certificate: Certificate | None
    """What the server showed, also when it was not trusted; `None` without TLS."""


def run_dry_run(
    profile: RelayProfile,
    recipient: str,
    *,
    find: Resolve,
    observe: Observer,
    deadlines: Deadlines = INTERACTIVE,
    longest: float = LONGEST_DRY_RUN,
) -> Finding:
    """Go through a conversation as far as RCPT, and tell `observe` each step of it.

    Never raises for what a network or a server does. Not for a thread that runs an event loop.
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
    except Exception as error:  # noqa: BLE001 -- whatever a server sends, a test has an end and a person an answer
        failure = _broken_down(profile, watched, error, session.server)
    finally:
        session.drop()
    shown = session.certificate or shown
    certificate = Certificate.from_der(shown).without(session.hide) if shown else None
    return Finding(failure=failure, certificate=certificate)


class _Watched:
    """An observer that remembers how far it went."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe
        self.done: set[Stage] = set()

    def __call__(self, seen: TraceStep | TraceLine) -> None:
        if isinstance(seen, TraceStep):
            self.done.add(seen.stage)
        self._observe(seen)


async def _converse(session: Session, recipient: str, find: Resolve, observe: Observer) -> Outcome | None:
    # Not in a `finally`: where the time is over, nobody waits for a farewell.
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
        observe(TraceStep(Stage.MAIL, f"The sender {envelope.sender} is taken.", {"address": envelope.sender}))
        await session.expect(Stage.RCPT, rcpt_command(envelope, session.capabilities))
        observe(TraceStep(Stage.RCPT, f"The recipient {recipient} is taken.", {"address": recipient}))
    except SetupError as error:
        return error.outcome
    return None


async def _withdraw(session: Session) -> None:
    """Take back what was begun, and say goodbye. Whatever the server makes of it changes nothing."""
    if session.is_ready:
        with suppress(SetupError):
            await session.expect(Stage.RCPT, RSET)
        await session.close()


def _too_long(profile: RelayProfile, watched: _Watched, longest: float, server: str) -> Outcome | None:
    missing = _first_missing(profile, watched)
    if missing is None:
        return None  # only the farewell took too long
    return interrupted(missing, f"The test took longer than {longest:g} seconds.", server=server)


def _broken_down(profile: RelayProfile, watched: _Watched, error: Exception, server: str) -> Outcome:
    # Its words may be the server's, and hold what must not be kept: the log says what broke and where.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("The test of %s broke down: %s\n%s", server, type(error).__name__, where)
    stage = _first_missing(profile, watched) or Stage.RCPT
    return interrupted(stage, "The test broke down at what the server sent.", server=server)


def _first_missing(profile: RelayProfile, watched: _Watched) -> Stage | None:
    steps = plan(profile.security, signs_in=profile.credentials is not None)
    return next((stage for stage in steps if stage not in watched.done), None)


async def _shown_certificate(
    profile: RelayProfile, failure: Outcome | None, find: Resolve, deadlines: Deadlines
) -> bytes | None:
    """Look at a certificate that could not be verified: TLS keeps it to itself then. No password is sent."""
    if failure is None or failure.pause is not PauseReason.CERTIFICATE:
        return None
    session = Session(replace(profile, fingerprint=NOBODYS, credentials=None), deadlines)
    with suppress(SetupError):  # it always ends so, at the latest where it has seen the certificate
        await session.open(find)
    session.drop()
    return session.certificate
