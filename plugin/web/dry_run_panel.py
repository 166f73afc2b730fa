"""View model of a dry run's page: each step, and the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from own_smtp.i18n import Text, gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.dry_runs import LOST, PATIENCE, Kept
from own_smtp.reporting.explanations import Explanation, explain
from own_smtp.smtp.certificates import Certificate, spelt
from own_smtp.smtp.dry_run import plan
from own_smtp.smtp.replies.rules import SPEECHLESS, Stage
from own_smtp.states import PauseReason, RelayTestState, Security
from own_smtp.storage.models import Relay, RelayTest

LATE = timedelta(seconds=6)
"""After this, the page says that no worker has started the test."""

TITLES: dict[Stage, Text] = {
    Stage.CONNECT: _("Connect"),
    Stage.BANNER: _("Greeting"),
    Stage.EHLO: _("What the server offers"),
    Stage.STARTTLS: _("Ask for encryption"),
    Stage.TLS: _("Encryption and certificate"),
    Stage.AUTH: _("Sign in"),
    Stage.MAIL: _("Sender"),
    Stage.RCPT: _("Recipient"),
}

AGAIN_LATER = _("Test again in a few minutes, or save: what is sent later is tried again by itself.")
"""In place of the catalogue's advice for invitations, which are retried; a test is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRow:
    """One step of the test."""

    title: Text
    mark: str
    """`done`, `failed`, `running` or `open`."""
    detail: str = ""
    seconds: float | None = None
    """The step's duration; `None` when it is not shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TestPanel:
    """A test with everything that its page shows."""

    test: RelayTest
    relay: Relay | None
    steps: tuple[StepRow, ...]
    is_kept: bool
    """Whether the settings can still be saved."""
    is_change: bool
    """Whether saving would change anything."""
    is_late: bool
    """Whether no worker started it in time."""
    is_lost: bool
    """Whether the test is over."""
    explanation: Explanation | None
    words: str
    """The server's reply, or our own text when there was none."""
    certificate: Certificate | None
    is_over: bool
    """Whether the certificate has expired."""
    days_left: int | None
    """Days until the certificate expires, when these are few."""
    pinned: str | None
    """The fingerprint that is trusted instead of authorities, as other programs show it."""

    @property
    def can_trust(self) -> bool:
        """Whether the certificate can be trusted by its fingerprint."""
        return self.test.pause_reason == PauseReason.CERTIFICATE and self.certificate is not None and self.is_kept

    @property
    def fingerprint(self) -> str:
        """The certificate's fingerprint, as other programs show it."""
        return spelt(self.certificate.fingerprint) if self.certificate else ""

    @property
    def version(self) -> str:
        """Changes whenever the page would change."""
        test = self.test
        parts = (test.state, len(test.steps), self.is_late, self.is_lost, test.saved_at, test.settings is None)
        return "|".join(str(part) for part in parts)


def dry_run_panel(
    test: RelayTest, kept: Kept | None, relay: Relay | None, now: datetime, warning: timedelta
) -> TestPanel:
    """Return the view model.

    `kept` is `None` once the settings were saved. `warning` is how long before its expiry a certificate is mentioned.
    """
    certificate = Certificate.from_json(test.certificate) if test.certificate else None
    age = now - test.created_at
    is_waiting, is_running = test.state == RelayTestState.WAITING, test.state == RelayTestState.RUNNING
    pinned = kept.draft.fingerprint if kept else relay.fingerprint if relay else None
    return TestPanel(
        test=test,
        relay=relay,
        steps=_rows(test, kept, relay),
        is_kept=kept is not None,
        is_change=kept is not None and (kept.typed is not None or relay is None or pinned != relay.fingerprint),
        is_late=is_waiting and age > LATE,
        is_lost=(is_waiting and age > PATIENCE) or (is_running and age > PATIENCE + LOST),
        explanation=_explained(test),
        words="" if test.stage in SPEECHLESS else test.error or "",
        certificate=certificate,
        is_over=certificate is not None and certificate.is_over(now),
        days_left=certificate.days_left(now, warning) if certificate else None,
        pinned=spelt(pinned) if pinned else None,
    )


def _explained(test: RelayTest) -> Explanation | None:
    if test.stage is None:
        return None
    pause = PauseReason(test.pause_reason) if test.pause_reason else None
    found = explain(test.stage, test.code, test.enhanced, pause, test.error or "")
    may_pass = pause is None and test.code is not None and 400 <= test.code < 500
    return replace(found, what_to_do=AGAIN_LATER) if may_pass else found


def _rows(test: RelayTest, kept: Kept | None, relay: Relay | None) -> tuple[StepRow, ...]:
    """Return the finished steps, the current or failed one, and those to follow."""
    origin = kept.draft if kept else relay
    stages = plan(Security(origin.security), signs_in=origin.username is not None) if origin else []
    done = {step["stage"]: step for step in test.steps}
    rows = []
    is_first = True
    for stage in stages:
        if stage in done and stage != test.stage:
            rows.append(_done(stage, done[stage]))
            continue
        rows.append(StepRow(title=TITLES[stage], mark=_mark(test, stage, is_next=is_first)))
        is_first = False
    return tuple(rows)


def _mark(test: RelayTest, stage: Stage, *, is_next: bool) -> str:
    if test.state == RelayTestState.FAILED:
        return "failed" if stage == test.stage else "open"
    return "running" if is_next and test.state == RelayTestState.RUNNING else "open"


def _done(stage: Stage, step: Mapping[str, Any]) -> StepRow:
    return StepRow(title=TITLES[stage], mark="done", detail=_detail(stage, step["facts"]), seconds=step["seconds"])


def _detail(stage: Stage, facts: Mapping[str, Any]) -> str:
    """Describe a step's result."""
    match stage:
        case Stage.CONNECT:
            return str(facts["server"])
        case Stage.BANNER:
            return str(facts["words"])
        case Stage.EHLO:
            return gettext("We said we are %(name)s. It offers: %(offers)s", name=facts["name"], offers=_offers(facts))
        case Stage.TLS:
            return str(facts["version"])
        case Stage.AUTH:
            return gettext("User name and password are right (%(mechanism)s).", mechanism=facts["mechanism"])
        case Stage.MAIL:
            return gettext("It takes %(address)s as the sender.", address=facts["address"])
        case Stage.RCPT:
            return gettext("It takes mail for %(address)s.", address=facts["address"])
    return ""


def _offers(facts: Mapping[str, Any]) -> str:
    return ", ".join(facts["offers"]) or gettext("nothing")
