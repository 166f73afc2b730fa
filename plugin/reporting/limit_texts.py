"""A relay's limits, pace and sending windows as texts."""

from __future__ import annotations

from flask_babel import format_decimal

from own_smtp.i18n import gettext
from own_smtp.relays.window_texts import describe_windows
from own_smtp.reporting.estimates import rate_text
from own_smtp.storage.models import Relay


def pace_texts(relay: Relay) -> list[str]:
    """Describe the limits of a relay; empty when there are none."""
    texts = [_spacing_text(relay)] if relay.min_interval else []
    limits = {
        "second": relay.per_second,
        "minute": relay.per_minute,
        "hour": relay.per_hour,
        "day": relay.per_day,
    }
    return texts + [rate_text(unit, limit) for unit, limit in limits.items() if limit]


def _spacing_text(relay: Relay) -> str:
    seconds = relay.min_interval or 0.0
    text = gettext(
        "1 message every %(seconds)s s = %(minute)s a minute, %(hour)s an hour",
        seconds=format_decimal(seconds),
        minute=format_decimal(round(60 / seconds, 1)),
        hour=format_decimal(round(3600 / seconds)),
    )
    if not relay.jitter:
        return text
    return (
        text + " " + gettext("(up to %(percent)s %% more at random)", percent=format_decimal(round(100 * relay.jitter)))
    )


def window_texts(relay: Relay) -> list[str]:
    """Describe a relay's sending windows; empty means always."""
    return describe_windows(relay.sending_windows or ())
