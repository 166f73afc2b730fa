"""Blockers of a batch: why its invitations are waiting, in plain words, and when sending resumes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from flask_babel import format_decimal

from own_smtp.i18n import Text, format_soon, gettext, zone_of
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.rate_limits import Pacer
from own_smtp.reporting.explanations import explain
from own_smtp.smtp.values import Limits
from own_smtp.states import BatchState, PauseReason, RelayState
from own_smtp.storage.models import Lease, Relay

LEAST_WAIT = 60.0
"""Seconds. A shorter wait is ordinary pacing and not a blocker."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocker:
    """One thing that keeps invitations waiting."""

    text: str
    is_trouble: bool = False
    """Whether it needs attention: it does not pass by itself as planned."""
    is_of_relay: bool = False
    """Whether the relay's page has details."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """The state of a batch with waiting invitations at one moment."""

    now: datetime
    """The database's clock."""
    timezone: str
    """The reader's time zone."""
    state: BatchState
    relay: Relay
    limits: Limits
    lease: Lease | None
    next_attempt_at: datetime | None
    """When the first waiting invitation may be tried; `None` when all of them are being sent."""
    queue_is_up: bool

    def when(self, moment: datetime) -> str:
        """Return a time as text, with its zone."""
        return f"{format_soon(moment, self.now, self.timezone)} ({zone_of(self.timezone).key})"

    @property
    def is_drained(self) -> bool:
        """Whether a worker holds the relay's lease."""
        return bool(self.lease and self.lease.expires_at and self.lease.expires_at > self.now)

    @property
    def rests_until(self) -> datetime | None:
        """When the relay's rest between two messages ends; `None` when it does not rest."""
        wake_at = self.lease.wake_at if self.lease else None
        return wake_at if wake_at and wake_at > self.now else None


def blockers(seen: Situation) -> list[Blocker]:
    """Return the batch's blockers, the most important first; empty while it is being sent.

    1. A person paused the batch. 2. The relay may not send. 3. It is unreachable. 4. Its limits do not allow more for
    now. 5. The server deferred all remaining invitations. 6. No worker has taken the job.
    """
    if seen.state == BatchState.PAUSED:
        return [Blocker(text=gettext("This sending is paused: what waits keeps waiting."))]
    if seen.relay.state != RelayState.ACTIVE:
        return [_relay_inactive(seen)]
    if seen.is_drained or seen.next_attempt_at is None:
        return []
    found = [*_unreachable(seen), *_limited(seen)]
    if found or seen.rests_until:
        return found
    return [*_deferred(seen)] or [*_no_worker(seen)]


def _relay_inactive(seen: Situation) -> Blocker:
    relay = seen.relay
    if relay.state == RelayState.UNCONFIRMED or relay.paused_at is None or relay.pause_reason is None:
        text = gettext("The mail server “%(label)s” has not been confirmed yet.", label=relay.label)
        return Blocker(text=text, is_trouble=True, is_of_relay=True)
    cause = explain("", None, None, PauseReason(relay.pause_reason), relay.pause_text or "").cause
    text = gettext(
        "“%(label)s” is paused since %(time)s: %(cause)s",
        label=relay.label,
        time=seen.when(relay.paused_at),
        cause=cause,
    )
    if relay.probe_at:
        text += " " + gettext("It is tried again by itself: %(time)s.", time=seen.when(relay.probe_at))
    return Blocker(text=text, is_trouble=True, is_of_relay=True)


def _unreachable(seen: Situation) -> Iterator[Blocker]:
    lease = seen.lease
    if lease is None or lease.failing_since is None:
        return
    since = seen.when(lease.failing_since)
    text = gettext("There is no usable connection to “%(label)s” since %(time)s.", label=seen.relay.label, time=since)
    if seen.rests_until:
        text += " " + gettext("Next attempt: %(time)s.", time=seen.when(seen.rests_until))
    yield Blocker(text=text, is_trouble=True, is_of_relay=True)


_QUOTAS: dict[str, Text] = {
    "hour": _("The hourly quota of %(number)s is reached; it goes on %(time)s."),
    "day": _("The daily quota of %(number)s is reached; it goes on %(time)s."),
}


def _limited(seen: Situation) -> Iterator[Blocker]:
    """Yield the limit that blocks longest: the others are over by then."""
    now = seen.now.timestamp()
    pacer = Pacer(seen.limits, seen.lease.pace if seen.lease else None, float)
    found = {name: at for name, at in pacer.blockers(now).items() if at - now > LEAST_WAIT}
    if not pacer.is_slowed:
        found.pop("spacing", None)  # ordinary pacing
    if not found:
        return
    name = max(found, key=lambda item: found[item])
    time = seen.when(datetime.fromtimestamp(pacer.next_at(now), UTC))
    if name == "hours":
        yield Blocker(text=gettext("Outside the hours in which it may send; it goes on %(time)s.", time=time))
    elif name in _QUOTAS:
        number = format_decimal(seen.limits.per_hour if name == "hour" else seen.limits.per_day)
        yield Blocker(text=str(_QUOTAS[name]) % {"number": number, "time": time})
    else:
        yield Blocker(text=gettext("The server asked for a slower pace; it goes on %(time)s.", time=time))


def _deferred(seen: Situation) -> Iterator[Blocker]:
    if seen.next_attempt_at and seen.next_attempt_at > seen.now:
        yield Blocker(
            text=gettext(
                "The server put off what is left; next attempt: %(time)s.", time=seen.when(seen.next_attempt_at)
            )
        )


def _no_worker(seen: Situation) -> Iterator[Blocker]:
    if not seen.queue_is_up:
        text = gettext("The platform's queue (Redis) takes no work at the moment.")
        yield Blocker(text=f"{text} " + gettext("Waiting invitations are sent as soon as it is back; nothing is lost."))
    else:
        yield Blocker(text=gettext("No worker of the platform has taken it up yet."))
