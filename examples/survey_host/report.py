"""The report on a survey's mails: from the plugins if they deliver them, else from the platform's own records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from flask_babel import gettext as _
from sqlalchemy import func, select

from survey_host import plugins
from survey_host.extensions import db
from survey_host.mail_events import words_of
from survey_host.models import MailState, Participant, SendRun, Survey

if TYPE_CHECKING:
    from own_smtp.hooks import KnownStatus

MAX_PROBLEMS = 200
COUNTED: Sequence[str] = ()
"""Statuses that this platform counts itself: none; it tracks answers, not opened mails."""
LEFT_OUT = {"opened", "clicked"}
"""Statuses that would never have a number on this platform."""
_BAD = {"refused", "failed", "unknown", "cancelled"}


@dataclass(frozen=True, slots=True)
class Column:
    """One status and its number of mails, `None` if that cannot be known; and the reason."""

    label: str
    count: int | None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A mail that did not arrive, or may not have arrived."""

    address: str
    state: str
    words: str


@dataclass(slots=True)
class Report:
    """The content of the report page."""

    columns: list[Column]
    problems: list[Problem] = field(default_factory=list)
    is_by_plugin: bool = False


def mails(survey: Survey) -> Report:
    """Return the report of a survey's mails."""
    known = plugins.current().known_statuses(str(survey.tenant_id), str(survey.id), COUNTED)
    used = [item for item in known if item.is_used]
    if not used:
        return Report(_own_columns(survey), _own_problems(survey))
    counts, problems = _statuses(survey)
    return Report(_columns(used, counts), problems, is_by_plugin=True)


def _columns(known: Sequence[KnownStatus], counts: Counter[str]) -> list[Column]:
    """Show statuses that any route reports as numbers and the rest greyed, with reasons; leave out irrelevant ones."""
    columns = []
    for status in dict.fromkeys(item.status for item in known):
        cells = [item for item in known if item.status == status]
        reasons = " ".join(dict.fromkeys(item.reason for item in cells))
        is_known = any(item.knowledge == "reported" for item in cells)
        if is_known or status not in LEFT_OUT:
            columns.append(Column(cells[0].label, counts[status] if is_known else None, reasons))
    return columns


def _statuses(survey: Survey) -> tuple[Counter[str], list[Problem]]:
    """Stream all statuses, and keep only the counts and the first problems."""
    counts: Counter[str] = Counter()
    problems: list[Problem] = []
    for status in plugins.current().statuses(str(survey.tenant_id), str(survey.id)):
        counts[status.state] += 1
        if status.state in _BAD and len(problems) < MAX_PROBLEMS:
            problems.append(Problem(status.address, status.state, words_of(status)))
    return counts, problems


def _own_columns(survey: Survey) -> list[Column]:
    query = select(Participant.mail_state, func.count()).where(Participant.survey_id == survey.id)
    rows = db.session.execute(query.group_by(Participant.mail_state))
    counts: dict[str | None, int] = {state: number for state, number in rows}  # noqa: C416 -- rows are no pairs to mypy
    labels = {
        MailState.QUEUED: _("Waiting"),
        MailState.SENT: _("Sent"),
        MailState.NOT_TAKEN: _("Refused"),
        MailState.UNKNOWN: _("Not known"),
    }
    return [Column(label, counts.get(state, 0)) for state, label in labels.items()]


def _own_problems(survey: Survey) -> list[Problem]:
    states = (MailState.NOT_TAKEN, MailState.UNKNOWN)
    query = select(Participant).where(Participant.survey_id == survey.id, Participant.mail_state.in_(states))
    found = db.session.scalars(query.order_by(Participant.id).limit(MAX_PROBLEMS))
    return [Problem(person.email, str(person.mail_state), person.mail_note or "") for person in found]


def runs(survey: Survey) -> list[SendRun]:
    """Return the runs, newest first."""
    return list(db.session.scalars(select(SendRun).where(SendRun.survey_id == survey.id).order_by(SendRun.id.desc())))
