"""Tests of settings and test mails in each state, as workers would leave them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from own_smtp.hooks.events import Content
from own_smtp.relays import dry_runs, test_mails
from own_smtp.relays.dry_runs import Kept
from own_smtp.smtp.certificates import Certificate
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import TEST_PROJECT, PauseReason, RelayTestState, State
from own_smtp.storage.models import Attempt, Batch, Invitation, Relay, RelayTest
from tests.web.app import ThinExtension
from tests.web.drafts import draft

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)
OFFERS = ["PIPELINING", "SIZE 36700160", "8BITMIME", "SMTPUTF8", "DSN", "CHUNKING", "AUTH PLAIN LOGIN"]
STEPS = [
    {"stage": "connect", "seconds": 0.064, "facts": {"server": "mail.acme.example [192.0.2.25]"}},
    {"stage": "banner", "seconds": 0.114, "facts": {"words": "mail.acme.example ESMTP Postfix (Debian/GNU)"}},
    {"stage": "ehlo", "seconds": 0.052, "facts": {"name": "surveys.example", "offers": OFFERS}},
    {"stage": "starttls", "seconds": 0.012, "facts": {}},
    {"stage": "tls", "seconds": 0.087, "facts": {"version": "TLSv1.3"}},
    {"stage": "auth", "seconds": 0.231, "facts": {"mechanism": "PLAIN"}},
    {"stage": "mail", "seconds": 0.013, "facts": {"address": "surveys@acme.example"}},
    {"stage": "rcpt", "seconds": 0.024, "facts": {"address": "surveys@acme.example"}},
]
TRANSCRIPT = [
    ["", "220 mail.acme.example ESMTP Postfix (Debian/GNU)"],
    ["EHLO surveys.example", "\n".join([*(f"250-{offer}" for offer in OFFERS), "250 STARTTLS"])],
    ["STARTTLS", "220 2.0.0 Ready to start TLS"],
    ["AUTH PLAIN •••", "535 5.7.8 Error: authentication failed: authentication failure"],
]
BY_ITSELF = "CN=mail.acme.example,O=Acme Research Ltd"
OWN = Certificate(
    fingerprint="9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    subject=BY_ITSELF,
    issuer=BY_ITSELF,
    names=("mail.acme.example", "smtp.acme.example"),
    starts_at=LONG_AGO,
    ends_at=datetime(2036, 1, 1, tzinfo=UTC),
)
BAD_PASSWORD = Outcome(
    state=State.QUEUED,
    stage=Stage.AUTH,
    reply=Reply(code=535, text="Error: authentication failed: authentication failure", enhanced="5.7.8"),
    pause=PauseReason.CREDENTIALS,
)
NOT_TRUSTED = Outcome(
    state=State.QUEUED, stage=Stage.TLS, text="self-signed certificate", pause=PauseReason.CERTIFICATE
)


def tests_in_all_states(session: Session, thin: ThinExtension, relay: Relay) -> dict[str, str]:
    """Return the pages' addresses by a name for each."""
    known = replace(OWN, subject="CN=mail.acme.example", issuer="CN=R11,O=Let's Encrypt,C=US")
    end = replace(OWN, ends_at=datetime.now(UTC) + timedelta(days=9, hours=1))
    waiting, late, running, lost = (_ask(session, thin) for _ in range(4))
    late.created_at -= dry_runs.PATIENCE / 2
    running.state, running.steps = RelayTestState.RUNNING, STEPS[:6]
    lost.created_at -= dry_runs.PATIENCE * 2
    found = {
        "passed": _found(session, thin, None, known),
        "passed-ending": _found(session, thin, None, end, fingerprint=end.fingerprint),
        "failed": _found(session, thin, BAD_PASSWORD, known, done=6),
        "certificate": _found(session, thin, NOT_TRUSTED, OWN, done=5),
        "password": _found(session, thin, BAD_PASSWORD, known, done=6, relay=relay),
    }
    session.commit()
    tests = {"waiting": waiting, "late": late, "running": running, "lost": lost, **found}
    pages = {f"test-{name}": f"/tests/{test.id}" for name, test in tests.items()}
    back = {"relay-tested": f"/servers/new?test={found['passed-ending'].id}"}
    return {**pages, **back, "test-mail": f"/servers/{relay.id}/test-mail"}


def _ask(session: Session, thin: ThinExtension, relay: Relay | None = None, **changes: object) -> RelayTest:
    kept = Kept(draft(**changes), {"label": ["Company mail"], "host": ["mail.acme.example"], "auth": ["y"]})
    return dry_runs.request_run(
        session,
        thin.vault,
        thin.settings,
        kept,
        tenant_id="acme",
        user_id="alice",
        relay=relay,
        saves=relay is not None,
    )


def _found(
    session: Session,
    thin: ThinExtension,
    failure: Outcome | None,
    certificate: Certificate,
    *,
    done: int = len(STEPS),
    relay: Relay | None = None,
    **changes: object,
) -> RelayTest:
    test = _ask(session, thin, relay, **changes)
    test.steps, test.transcript = STEPS[:done], TRANSCRIPT
    dry_runs.finish(session, test, failure, certificate.as_json())
    return test


def send_test_mail(session: Session, thin: ThinExtension, relay: Relay) -> None:
    """Send a test mail, and let the server accept it."""
    content = Content(subject="Test", text="A test.\n")
    test_mails.send(session, thin.vault, thin.settings, relay, content, recipient="alice@acme.example", user_id="alice")
    answer_test_mail(session, "accepted", "message", 250, "2.0.0", "Ok: queued as 4F2A1B3C5D")


def answer_test_mail(session: Session, state: str, stage: str, code: int, enhanced: str, text: str) -> None:
    """Record the server's reply to the newest test mail."""
    mail = session.scalars(
        select(Invitation)
        .join(Batch, Batch.id == Invitation.batch_id)
        .where(Batch.project_id == TEST_PROJECT)
        .order_by(Invitation.id.desc())
        .limit(1)
    ).one()
    mail.state, mail.attempts = state, 1
    attempt = Attempt(
        invitation_id=mail.id,
        relay_id=1,
        at=LONG_AGO,
        state=state,
        stage=stage,
        code=code,
        enhanced=enhanced,
        text=text,
    )
    session.add(attempt)
    session.commit()
