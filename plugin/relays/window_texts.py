"""Descriptions of sending windows, for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from own_smtp.i18n import lazy_gettext as _

DAYS = [(0, _("Mon")), (1, _("Tue")), (2, _("Wed")), (3, _("Thu")), (4, _("Fri")), (5, _("Sat")), (6, _("Sun"))]


def describe_windows(windows: Sequence[dict[str, Any]]) -> list[str]:
    """Return a description of each stored window."""
    names = dict(DAYS)
    return [
        f"{', '.join(str(names[day]) for day in window['days'])} {window['start']}\N{EN DASH}{window['end']}"
        for window in windows
    ]
