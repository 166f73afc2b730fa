"""Rows of the relay form for sending windows: hours of the week in which a server may be used."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import time
from typing import Any
from zoneinfo import available_timezones

from wtforms import FieldList, Form, FormField, SelectMultipleField, TimeField
from wtforms.validators import Optional
from wtforms.widgets import CheckboxInput, ListWidget

from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.window_texts import DAYS

ROWS = 2
"""Number of empty rows; each filled row adds another."""
MOST_ROWS = 14


class WindowForm(Form):
    """One row: on these days, from one hour to another. An empty row is ignored."""

    days = SelectMultipleField(_("Days"), coerce=int, widget=ListWidget(), option_widget=CheckboxInput())
    start = TimeField(_("Starts"), [Optional()])
    end = TimeField(_("Ends"), [Optional()])

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.days.choices = list(DAYS)

    @property
    def is_empty(self) -> bool:
        """Whether the row has no input."""
        return not (self.days.data or any(self.start.raw_data or ()) or any(self.end.raw_data or ()))

    @property
    def is_whole(self) -> bool:
        """Whether the row is complete."""
        return bool(self.days.data) and self.start.data is not None and self.end.data is not None


def window_rows() -> FieldList:
    """Return the field that holds the rows."""
    return FieldList(FormField(WindowForm), _("Hours in which it may send"), max_entries=MOST_ROWS)


def rows_of(windows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return stored windows as data for the rows, with empty rows after them."""
    filled: list[dict[str, Any]] = [
        {**window, "start": time.fromisoformat(window["start"]), "end": time.fromisoformat(window["end"])}
        for window in windows
    ]
    return (filled + [{}] * max(1, ROWS - len(filled)))[:MOST_ROWS]


def windows_of(rows: FieldList) -> list[dict[str, Any]] | None:
    """Return the input in the stored format; `None` means no restriction. Only after `validate`."""
    typed = [row.form for row in rows if row.form.is_whole]
    windows = [
        {"days": sorted(row.days.data), "start": f"{row.start.data:%H:%M}", "end": f"{row.end.data:%H:%M}"}
        for row in typed
    ]
    return windows or None


def zone_choices(present: str) -> list[tuple[str, str]]:
    """Return the time zones to choose from: those named after places, UTC, and the current one."""
    names = {name for name in available_timezones() if "/" in name and not name.startswith("Etc/")}
    return [(name, name.replace("_", " ")) for name in sorted(names | {"UTC", present})]
