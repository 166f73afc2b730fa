"""A test of typed settings as a worker runs it: each step is on record as soon as it is done."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from own_smtp.current import Extension
from own_smtp.errors import NotFoundError, SecretError
from own_smtp.operations import relay_service
from own_smtp.relays import dry_runs
from own_smtp.relays.dry_runs import Kept
from own_smtp.smtp.dry_run import Finding, run_dry_run
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.submission import resolver_for
from own_smtp.smtp.trace import TraceLine, TraceStep
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason, State
from own_smtp.storage.models import RelayTest

log = logging.getLogger(__name__)

LINES_KEPT = 40
"""Lines of one reply in a transcript."""


def perform_dry_run(test_id: int, extension: Extension) -> None:
    """Run a test if it is still wanted, and record its result. For a worker; commits."""
    session = extension.db.session()
    test = dry_runs.claim_run(session, test_id)
    session.commit()
    if test is None:
        return
    recorder = _Recorder(session, test_id)
    kept, finding = _try(session, test, extension, recorder)
    recorder.write()
    certificate = finding.certificate.as_json() if finding.certificate else None
    dry_runs.finish(session, test, finding.failure, certificate)
    session.commit()
    if kept is not None and finding.failure is None and test.saves and test.relay_id is not None:
        relay_service.save_passed(extension, test_id, kept.draft)


def _try(session: Session, test: RelayTest, extension: Extension, recorder: _Recorder) -> tuple[Kept | None, Finding]:
    """Return the settings and the result, also of a test that could not begin. Raises the database's errors only."""
    number = test.id
    try:
        return _run(session, test, extension, recorder)
    except SQLAlchemyError:
        raise
    except (NotFoundError, SecretError) as error:
        return None, _local(str(error), PauseReason.SECRET_UNREADABLE)
    except Exception as error:  # a page waits for the end, whatever was typed
        session.rollback()
        log.exception("The test %s could not be run.", number)
        return None, _local(f"The test could not be run: {type(error).__name__}", None)


def _run(session: Session, test: RelayTest, extension: Extension, recorder: _Recorder) -> tuple[Kept | None, Finding]:
    try:
        kept = dry_runs.read_settings(extension.vault, test)
        if kept is None:
            return None, _local("The settings were saved meanwhile.", None)
        draft = kept.draft
        profile = dry_runs.profile_of_draft(session, extension.vault, test, draft)
    finally:
        session.rollback()  # no transaction stays open while a server is waited for
    recipient = draft.confirmation_address or draft.sender_address
    return kept, run_dry_run(profile, recipient, find=resolver_for(extension.network_policy), observe=recorder)


def _local(text: str, pause: PauseReason | None) -> Finding:
    failure = Outcome(state=State.FAILED, stage=Stage.LOCAL, text=text, pause=pause)
    return Finding(failure=failure, certificate=None)


class _Recorder:
    """Records the steps of a conversation as they happen: a page follows them.

    A step that comes twice, such as EHLO before and after STARTTLS, stands in its first place with its last facts.
    """

    def __init__(self, session: Session, test_id: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._session = session
        self._test_id = test_id
        self._clock = clock
        self._since = clock()
        self._steps: dict[Stage, dict[str, Any]] = {}
        self._transcript: list[list[str]] = []

    def __call__(self, seen: TraceStep | TraceLine) -> None:
        if isinstance(seen, TraceLine):
            self._transcript.append([seen.sent, _said(seen.reply)])
            return
        now = self._clock()
        before = self._steps.get(seen.stage, {}).get("seconds", 0.0)
        taken = round(before + now - self._since, 3)
        self._steps[seen.stage] = {"stage": str(seen.stage), "seconds": taken, "facts": dict(seen.facts)}
        self._since = now
        self.write()

    def write(self) -> None:
        """Commit all steps so far."""
        dry_runs.record_progress(self._session, self._test_id, list(self._steps.values()), self._transcript)
        self._session.commit()


def _said(reply: Reply) -> str:
    """Return a reply nearly as it was on the wire: without secrets, and shortened."""
    *most, last = (reply.lines or (reply.text,))[:LINES_KEPT]
    enhanced = f"{reply.enhanced} " if reply.enhanced else ""
    return "\n".join([*(f"{reply.code}-{line}" for line in most), f"{reply.code} {enhanced}{last}"])
