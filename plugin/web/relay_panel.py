"""View model of a relay's page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from own_smtp.relays import confirmations
from own_smtp.relays.confirmations import MailState
from own_smtp.relays.rate_limits import capped
from own_smtp.relays.store import limits_of
from own_smtp.reporting.explanations import Explanation, explain
from own_smtp.reporting.forecast import finish_time
from own_smtp.reporting.progress import is_recent
from own_smtp.settings import Settings
from own_smtp.smtp.replies.rules import SPEECHLESS
from own_smtp.states import PauseReason, RelayState
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Confirmation, Lease, Relay

_OF_LEASE = ("last_success_at", "last_error_at", "last_error", "failing_since", "fallback_since")


@dataclass(frozen=True, slots=True, kw_only=True)
class MailReport:
    """The state of a confirmation mail."""

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
    """The server's reply, or our own text when there was none."""
    also: tuple[str, ...] = ()
    """Further addresses that must confirm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayPanel:
    """A relay with everything that its page shows."""

    relay: Relay
    mail: MailReport | None
    """`None` unless the relay waits for its confirmation."""
    again_at: datetime | None
    """When the mail can be requested again; `None` means now."""
    pause: Explanation | None
    last_success_at: datetime | None
    last_error_at: datetime | None
    last_error: str | None
    waiting: int
    failing_since: datetime | None = None
    """Since when there is no usable connection; `None` when the last one was usable."""
    fallback_since: datetime | None = None
    """Since when the platform's mail takes over invitations of projects that allow it."""
    next_at: datetime | None = None
    """Nothing is sent before this; `None` means that nothing delays sending."""
    learned: float | None = None
    """The learned spacing: seconds between two messages."""
    probes: float | None = None
    """Seconds between two attempts while the server accepts no messages; `None` when it does."""
    per_connection: int | None = None
    """After how many messages the server closes a connection; `None` when it was not observed to."""
    seen: float | None = None
    """Messages a second, as last measured."""
    finishes_at: datetime | None = None
    """When everything waiting will have been tried; `None` when that is unknown."""

    @property
    def version(self) -> str:
        """Changes whenever the page would change."""
        mail = (
            (self.mail.state, self.mail.requested_at, self.mail.next_attempt_at, self.mail.address, self.mail.also)
            if self.mail
            else ()
        )
        parts = (self.relay.state, self.relay.revision, self.again_at, *mail, self.last_error_at, self.waiting)
        parts += (self.failing_since, self.fallback_since, self.next_at, self.learned, self.probes, self.per_connection)
        return "|".join(str(part) for part in parts)


def relay_panel(session: Session, settings: Settings, relay: Relay, waiting: int) -> RelayPanel:
    """Return the view model of a relay's page."""
    now = read_clock(session.connection())
    newest = confirmations.latest(session, relay.id)
    confirmation = newest if relay.state == RelayState.UNCONFIRMED else None
    again_at = confirmations.cooldown_until(confirmation, settings)
    lease = session.get(Lease, relay.id)
    sending = _sending_of(settings, relay, lease, waiting, now)
    # The confirmation mail was sent through this server as well, and no drain knows of it.
    sending["last_success_at"] = sending["last_success_at"] or (newest.sent_at if newest else None)
    return RelayPanel(
        relay=relay,
        mail=_mail_report(session, confirmation, now) if confirmation else None,
        again_at=again_at if again_at and again_at > now else None,
        pause=_pause_of(relay),
        waiting=waiting,
        **sending,
    )


def _sending_of(settings: Settings, relay: Relay, lease: Lease | None, waiting: int, now: datetime) -> dict[str, Any]:
    """Return the facts that the last drain recorded."""
    pace = (lease.pace if lease else None) or {}
    values = {name: getattr(lease, name) if lease else None for name in _OF_LEASE}
    is_sending = lease is not None and is_recent(lease.last_success_at, now)
    is_resting = waiting and lease and lease.wake_at and lease.wake_at > now
    is_failing = lease is not None and lease.failing_since is not None
    may_send = waiting and relay.state == RelayState.ACTIVE and not is_failing
    return {
        **values,
        "next_at": lease.wake_at if lease and is_resting else None,
        "learned": pace.get("learned"),
        "probes": pace.get("wait"),
        "per_connection": pace.get("per_connection"),
        "seen": pace.get("seen") if is_sending else None,
        "finishes_at": finish_time(capped(limits_of(relay), settings), pace, waiting, now) if may_send else None,
    }


def _mail_report(session: Session, confirmation: Confirmation, now: datetime) -> MailReport:
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
        words="" if confirmation.stage in SPEECHLESS else confirmation.error or "",
        also=tuple(
            address
            for address in confirmations.open_addresses(session, confirmation.relay_id)
            if address != confirmation.address
        ),
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
