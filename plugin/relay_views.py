"""What the pages show of a relay, put together from its parts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from own_smtp import confirmations
from own_smtp.clock import read_clock
from own_smtp.config import Settings
from own_smtp.confirmations import MailState
from own_smtp.explanations import Explanation, explain
from own_smtp.models import Confirmation, Lease, Relay
from own_smtp.outcomes import Stage
from own_smtp.states import PauseReason, RelayState

SAYS_TOO_MUCH = frozenset({Stage.LOCAL, Stage.RESOLVE, Stage.CONNECT})
"""Stages before a server spoke: their technical words could be used to scan a network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MailReport:
    """What became of a confirmation mail."""

    state: MailState
    address: str
    requested_at: datetime
    expires_at: datetime
    sent_at: datetime | None
    next_attempt_at: datetime | None
    explanation: Explanation | None
    code: int | None
    enhanced: str | None
    words: str
    """The server's own words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPanel:
    """A relay with all that its page says about it."""

    relay: Relay
    mail: MailReport | None
    """`None` unless the relay waits for its confirmation."""
    again_at: datetime | None
    """From when on the mail can be asked for again; `None` means now."""
    pause: Explanation | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    waiting: int

    @property
    def version(self) -> str:
        """Changes whenever the page would."""
        mail = (self.mail.state, self.mail.requested_at, self.mail.next_attempt_at) if self.mail else ()
        parts = (self.relay.state, self.relay.revision, self.again_at, *mail, self.last_error_at, self.waiting)
        return "|".join(str(part) for part in parts)


def panel_of(session: Session, settings: Settings, relay: Relay, waiting: int) -> RelayPanel:
    """Put together what the relay's page says."""
    now = read_clock(session.connection())
    confirmation = confirmations.latest(session, relay.id) if relay.state == RelayState.UNCONFIRMED else None
    again_at = confirmations.cooldown_until(confirmation, settings)
    lease = session.get(Lease, relay.id)
    return RelayPanel(
        relay=relay,
        mail=_mail_report(confirmation, now) if confirmation else None,
        again_at=again_at if again_at and again_at > now else None,
        pause=_pause_of(relay),
        last_success_at=lease.last_success_at if lease else None,
        last_error_at=lease.last_error_at if lease else None,
        last_error=lease.last_error if lease else None,
        waiting=waiting,
    )


def _mail_report(confirmation: Confirmation, now: datetime) -> MailReport:
    return MailReport(
        state=confirmations.mail_state(confirmation, now),
        address=confirmation.address,
        requested_at=confirmation.created_at,
        expires_at=confirmation.expires_at,
        sent_at=confirmation.sent_at,
        next_attempt_at=confirmation.next_attempt_at,
        explanation=_failure_of(confirmation),
        code=confirmation.code,
        enhanced=confirmation.enhanced,
        words="" if confirmation.stage in SAYS_TOO_MUCH else confirmation.error or "",
    )


def _failure_of(confirmation: Confirmation) -> Explanation | None:
    if confirmation.stage is None:
        return None
    pause = PauseReason(confirmation.pause_reason) if confirmation.pause_reason else None
    return explain(confirmation.stage, confirmation.code, confirmation.enhanced, pause, confirmation.error or "")


def _pause_of(relay: Relay) -> Explanation | None:
    if relay.state != RelayState.PAUSED or relay.pause_reason is None:
        return None
    return explain("", None, None, PauseReason(relay.pause_reason), relay.pause_text or "")
