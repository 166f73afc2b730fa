"""The delivery log as files: for a spreadsheet, for a program, and for the administrator of a mail server.

Each file is written line by line from a stream: memory use does not depend on the number of invitations. Times are in
UTC.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from own_smtp.i18n import Text, format_utc, gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.reporting.delivery_log import LoggedAttempt, LogLine
from own_smtp.reporting.error_catalogue import WHO_LABELS
from own_smtp.reporting.state_counts import state_label
from own_smtp.states import Route


def write_table(lines: Iterable[LogLine]) -> Iterator[str]:
    """Yield CSV: a row for each attempt, and one row for an invitation without attempts."""
    yield BEGINNING + csv_row(map(str, _HEADS))
    for line in lines:
        for attempt in line.attempts or (None,):
            yield csv_row([*_invitation_cells(line), *_attempt_cells(attempt)])


def write_objects(lines: Iterable[LogLine]) -> Iterator[str]:
    """Yield JSON Lines: an object for each invitation with its attempts. The keys are the same in every language."""
    for line in lines:
        yield json.dumps(as_object(line), ensure_ascii=False) + "\n"


def write_administrator(lines: Iterable[LogLine]) -> Iterator[str]:
    """Yield CSV with the details that find a message in the log of the tenant's own server: a row for each attempt
    there.
    """
    heads = (
        gettext("When"),
        gettext("Message-ID"),
        gettext("Queue id"),
        gettext("Server and address"),
        gettext("Recipient"),
        gettext("State"),
        gettext("Stage"),
        gettext("Reply"),
    )
    yield BEGINNING + csv_row(heads)
    for line in lines:
        for item in line.attempts:
            if item.route is Route.RELAY:
                yield csv_row(
                    [
                        format_utc(item.at),
                        line.status.message_id,
                        item.queue_id,
                        item.server,
                        line.status.address,
                        state_label(item.state, item.route),
                        item.stage_label,
                        _reply(item),
                    ]
                )


@dataclass(frozen=True, slots=True)
class File:
    """A file format of the log download."""

    label: Text
    mimetype: str
    write: Callable[[Iterable[LogLine]], Iterator[str]]


FILES = MappingProxyType(
    {
        "invitations.csv": File(_("as CSV, for a spreadsheet"), "text/csv", write_table),
        "invitations.jsonl": File(_("as JSON Lines, for a program"), "application/jsonl", write_objects),
        "administrator.csv": File(_("for your mail administrator"), "text/csv", write_administrator),
    }
)
NAMES = ", ".join(f'"{name}"' for name in FILES)
"""The names of the formats, for a route's converter."""

_HEADS: tuple[Text, ...] = (
    _("Recipient"),
    _("Reference"),
    _("Project"),
    _("Sending"),
    _("Server"),
    _("State"),
    _("Since"),
    _("Message-ID"),
    _("Attempt"),
    _("State after it"),
    _("Way"),
    _("Server and address"),
    _("Stage"),
    _("Reply code"),
    _("Enhanced code"),
    _("What the server said, or what happened"),
    _("Queue id"),
    _("Cause"),
    _("Who can mend it"),
    _("What to do"),
)


def _invitation_cells(line: LogLine) -> list[object]:
    status = line.status
    return [
        status.address,
        status.reference,
        status.project_id,
        status.batch_id,
        line.relay_label,
        state_label(status.state, status.route),
        format_utc(status.changed_at),
        status.message_id,
    ]


def _attempt_cells(item: LoggedAttempt | None) -> list[object]:
    if item is None:
        return [None] * 12
    explanation = item.explanation
    return [
        format_utc(item.at),
        state_label(item.state, item.route),
        item.route,
        item.server,
        item.stage_label,
        item.code,
        item.enhanced,
        item.text,
        item.queue_id,
        *([explanation.cause, WHO_LABELS[explanation.who], explanation.what_to_do] if explanation else [None] * 3),
    ]


def as_object(line: LogLine) -> dict[str, Any]:
    """Return a line as plain values."""
    status = line.status
    return {
        "invitation_id": status.invitation_id,
        "batch_id": status.batch_id,
        "project_id": status.project_id,
        "reference": status.reference,
        "recipient": status.address,
        "state": str(status.state),
        "changed_at": format_utc(status.changed_at),
        "message_id": status.message_id,
        "relay": {"id": line.relay_id, "label": line.relay_label},
        "attempts": [_attempt_object(item) for item in line.attempts],
        "position": status.position,
    }


def _attempt_object(item: LoggedAttempt) -> dict[str, Any]:
    explanation = item.explanation
    return {
        "at": format_utc(item.at),
        "state": str(item.state),
        "route": str(item.route),
        "server": item.server,
        "stage": item.stage,
        "code": item.code,
        "enhanced": item.enhanced,
        "text": item.text,
        "queue_id": item.queue_id,
        "cause": str(explanation.cause) if explanation else None,
        "who": str(explanation.who) if explanation else None,
        "what_to_do": str(explanation.what_to_do) if explanation else None,
    }


def _reply(item: LoggedAttempt) -> str:
    return " ".join(str(part) for part in (item.code, item.enhanced, item.text) if part)


# Spreadsheets read a cell as a formula when it begins with one of these four signs, also in full width or after blanks.
# Where the reader's list separator is a semicolon or a tab, these begin a further cell, even inside quotes.
_FORMULA = re.compile(r'(?:^|[;\t\r\n])[\s\ufeff\0"]*(?=[=+\-@\uff1d\uff0b\uff0d\uff20])|^(?=[\t\r])')

BEGINNING = "\N{BYTE ORDER MARK}"
"""Without it Excel assumes another encoding."""


def csv_row(cells: Iterable[object]) -> str:
    """Return one row with its line end. `None` is an empty cell."""
    row = io.StringIO()
    csv.writer(row).writerow("" if cell is None else harmless(str(cell)) for cell in cells)
    return row.getvalue()


def harmless(text: str) -> str:
    """Return a cell's text with an apostrophe before every sign that a spreadsheet would read as the start of a
    formula.
    """
    return _FORMULA.sub(r"\g<0>'", text)
