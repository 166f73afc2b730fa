"""Estimates of when invitations will have been sent through a relay, as numbers and texts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from flask_babel import format_decimal
from sqlalchemy import Connection, exists, select
from sqlalchemy.orm import Session

from own_smtp.hooks.events import Estimate
from own_smtp.i18n import Text, format_soon, gettext, ngettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.outbox import settlements, totals
from own_smtp.relays.rate_limits import capped
from own_smtp.relays.store import limits_of
from own_smtp.reporting.forecast import finish_time, messages_per_second, slowest_limit, start_time
from own_smtp.settings import Settings
from own_smtp.smtp.values import Limits
from own_smtp.states import RelayState
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Lease, Relay

SOON = timedelta(minutes=1)
"""A shorter wait is not mentioned."""


def estimate(
    session: Session,
    settings: Settings,
    relay: Relay,
    count: int,
    *,
    expires_at: datetime | None,
    timezone: str,
    waits: str | None = None,
) -> Estimate:
    """Estimate when `count` more invitations would have been sent through `relay`, after those that wait for it
    already.

    `waits` says why nothing can be sent through it at the moment, if that is known.
    """
    connection = session.connection()
    now = read_clock(connection)
    limits, pace = capped(limits_of(relay), settings), settlements.kept_pace(connection, relay.id)
    ahead = sent_before(count, totals.waiting_by_batch(connection, relay.id).values())
    rate = messages_per_second(limits, pace)
    if waits is not None or not is_sending(connection, relay.id):
        return Estimate(
            count=count,
            text=_text_of_waiting(count),
            per_minute=rate * 60 if rate else None,
            is_late=expires_at is not None and expires_at <= now,
            waits_for=waits,
        )
    finishes_at, starts_at = finish_time(limits, pace, count + ahead, now), start_time(limits, pace, now)
    is_endless = starts_at is None or (rate is not None and finishes_at is None)
    return Estimate(
        count=count,
        text=_text(
            count,
            limits,
            pace,
            since=format_soon(starts_at, now, timezone) if starts_at and starts_at - now >= SOON else None,
            until=format_soon(finishes_at, now, timezone) if finishes_at else None,
        ),
        per_minute=rate * 60 if rate else None,
        finishes_at=finishes_at,
        is_late=expires_at is not None and (is_endless or is_after(expires_at, starts_at, finishes_at)),
        waits_for=waits,
    )


def is_after(end: datetime, starts_at: datetime | None, finishes_at: datetime | None) -> bool:
    """Whether some would be sent after `end`: the last one, or even the first one when the finish is unknown."""
    return any(moment is not None and moment > end for moment in (starts_at, finishes_at))


def finish_of_all(connection: Connection, settings: Settings, relay_id: int, limits: Limits) -> datetime | None:
    """Return when everything that waits for a relay will have been tried; `None` when that is unknown."""
    if not is_sending(connection, relay_id):
        return None
    waiting = totals.count_waiting(connection, relay_id)
    pace = settlements.kept_pace(connection, relay_id)
    return finish_time(capped(limits, settings), pace, waiting, read_clock(connection))


def is_sending(connection: Connection, relay_id: int) -> bool:
    """Whether a relay takes messages as far as is known: it is active, and connections to it work.

    Until then nobody knows when anything leaves through it.
    """
    return connection.scalars(
        select(
            exists().where(
                Relay.id == relay_id,
                Relay.state == RelayState.ACTIVE,
                ~exists().where(Lease.relay_id == Relay.id, Lease.failing_since.is_not(None)),
            )
        )
    ).one()


def sent_before(count: int, others: Iterable[tuple[int, bool]], *, is_urgent: bool = False) -> int:
    """Return how many invitations of other batches are sent before the last of `count`.

    `others` has a pair for each batch: the number of waiting invitations, and whether it is urgent. Urgent batches go
    first; the others take turns.
    """
    if is_urgent:
        return sum(min(waiting, count) for waiting, urgent in others if urgent)
    return sum(waiting if urgent else min(waiting, count) for waiting, urgent in others)


def _text(count: int, limits: Limits, pace: Mapping[str, Any] | None, *, since: str | None, until: str | None) -> str:
    invitations = ngettext("%(num)s invitation", "%(num)s invitations", count)
    speed = speed_text(limits, pace)
    if speed is None and since is not None:
        return gettext(
            "%(invitations)s, from %(start)s on, as fast as the server takes them", invitations=invitations, start=since
        )
    if speed is None:
        return gettext("%(invitations)s, as fast as the server takes them", invitations=invitations)
    if until is None:
        return gettext(
            "%(invitations)s, at %(speed)s: that takes longer than a year", invitations=invitations, speed=speed
        )
    if since is not None:
        return gettext(
            "%(invitations)s, at %(speed)s, from %(start)s until about %(time)s",
            invitations=invitations,
            speed=speed,
            start=since,
            time=until,
        )
    return gettext(
        "%(invitations)s, at %(speed)s, until about %(time)s", invitations=invitations, speed=speed, time=until
    )


def _text_of_waiting(count: int) -> str:
    invitations = ngettext("%(num)s invitation", "%(num)s invitations", count)
    return gettext("%(invitations)s, as soon as the server can send again", invitations=invitations)


def speed_text(limits: Limits, pace: Mapping[str, Any] | None) -> str | None:
    """Describe the limit that sets the long-term rate; `None` when no limit is known."""
    found = slowest_limit(limits, pace)
    if found is None:
        return None
    unit, number = found
    return rate_text(unit, round(number, 1) if number < 100 else round(number))


def rate_text(unit: str, number: float) -> str:
    """Return a rate as text: a number per `second`, `minute`, `hour` or `day`."""
    return str(_HOW_MANY[unit]) % {"number": format_decimal(number)}


_HOW_MANY: dict[str, Text] = {
    "second": _("%(number)s a second"),
    "minute": _("%(number)s a minute"),
    "hour": _("%(number)s an hour"),
    "day": _("%(number)s a day"),
}
