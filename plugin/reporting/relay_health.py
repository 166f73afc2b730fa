"""Health of a relay: its share of accepted messages, facts learned about its server, and its last error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from own_smtp.i18n import Text
from own_smtp.i18n import lazy_gettext as _
from own_smtp.outbox.totals import WAITING_NUMBER, select_totals
from own_smtp.relays.rate_limits import PERIODS
from own_smtp.relays.sliding_window import SLICES
from own_smtp.smtp.server_info import ServerInfo
from own_smtp.states import UNFINISHED, AlertCause, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Alert, Batch, HourlyStat, Lease, Relay

DAY, MONTH = timedelta(days=1), timedelta(days=30)

ALERTS: dict[AlertCause, Text] = {
    AlertCause.UNREACHABLE: _("There has been no usable connection for a while."),
    AlertCause.QUEUE: _("Invitations are due for long, and none leaves."),
    AlertCause.CERTIFICATE: _("The server's certificate ends soon, or has ended."),
}


@dataclass(frozen=True, slots=True)
class Success:
    """The results of the attempts of one period."""

    attempts: int
    accepted: int

    @property
    def percent(self) -> float | None:
        """The accepted share in percent; `None` when there were no attempts."""
        return 100 * self.accepted / self.attempts if self.attempts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayHealth:
    """The health of a relay, for its page."""

    day: Success
    """The last 24 hours, rounded to the hour."""
    month: Success
    """The last 30 days."""
    used: int
    """Messages of the last 24 hours, counted as for the limit."""
    limit: int | None
    """The limit for 24 hours; `None` means unlimited."""
    oldest_at: datetime | None
    """When the oldest batch with waiting invitations was handed over."""
    alerts: tuple[tuple[Text, datetime], ...]
    """The current error, and since when it is known."""
    error_count: int
    """How often the last error occurred in a row."""
    error_since: datetime | None
    facts: ServerInfo | None
    """`None` before the first conversation with the server."""
    days_left: int | None
    """Days until the certificate expires, when that is soon; 0 or less when it has expired."""


def health_of(session: Session, relay: Relay, warning: timedelta) -> RelayHealth:
    """Return a relay's health. `warning` is how long before its expiry a certificate is mentioned."""
    now = read_clock(session.connection())
    lease = session.get(Lease, relay.id)
    day = _success(session, relay.id, now - DAY)
    return RelayHealth(
        day=day,
        month=_success(session, relay.id, now - MONTH),
        used=_used(lease, now) if relay.per_day else day.accepted,
        limit=relay.per_day,
        oldest_at=_oldest(session, relay.id),
        alerts=_alerts(session, relay.id),
        error_count=lease.error_count if lease else 0,
        error_since=lease.error_since if lease else None,
        facts=ServerInfo.from_json(lease.facts) if lease and lease.facts else None,
        days_left=_days_left(lease, now, warning),
    )


def _success(session: Session, relay_id: int, since: datetime) -> Success:
    is_accepted = case((HourlyStat.state == State.ACCEPTED, HourlyStat.count), else_=0)
    attempts, accepted = session.execute(
        select(func.sum(HourlyStat.count), func.sum(is_accepted)).where(
            HourlyStat.relay_id == relay_id, HourlyStat.hour >= since.replace(minute=0, second=0, microsecond=0)
        )
    ).one()
    return Success(int(attempts or 0), int(accepted or 0))


def _used(lease: Lease | None, now: datetime) -> int:
    """Count the last 24 hours, as `own_smtp.relays.rate_limits` does: a limit per calendar day could be used twice in a
    row.
    """
    windows = ((lease.pace if lease else None) or {}).get("windows", {})
    oldest = (now.timestamp() - PERIODS["day"]) // (PERIODS["day"] / SLICES)
    return sum(int(count) for number, count in windows.get("day", ()) if number >= oldest)


def _oldest(session: Session, relay_id: int) -> datetime | None:
    oldest: datetime | None = session.scalar(
        select_totals(func.min(Batch.created_at)).where(
            Batch.relay_id == relay_id,
            Batch.state.in_(UNFINISHED),
            WAITING_NUMBER > 0,
        )
    )
    return oldest


def _alerts(session: Session, relay_id: int) -> tuple[tuple[Text, datetime], ...]:
    rows = session.execute(select(Alert.cause, Alert.raised_at).where(Alert.relay_id == relay_id).order_by(Alert.id))
    return tuple((ALERTS[AlertCause(cause)], raised_at) for cause, raised_at in rows)


def _days_left(lease: Lease | None, now: datetime, warning: timedelta) -> int | None:
    if lease is None or lease.certificate_until is None or lease.certificate_until > now + warning:
        return None
    return (lease.certificate_until - now).days
