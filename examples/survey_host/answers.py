"""Answers: read from a survey's page, written as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from flask_babel import gettext as _
from werkzeug.datastructures import MultiDict

from survey_host.models import Question, QuestionKind, Response

MAX_TEXT = 10_000
Answer = str | int | list[str] | None


def field_name(question: Question) -> str:
    """Return the name of a question's form field."""
    return f"q{question.id}"


def read_all(questions: Iterable[Question], form: MultiDict[str, str]) -> tuple[dict[str, Answer], dict[int, str]]:
    """Return the answers by question id, and the errors by question id."""
    answers: dict[str, Answer] = {}
    problems: dict[int, str] = {}
    for question in questions:
        answer, problem = _read(question, form)
        answers[str(question.id)] = answer
        if problem is None and question.is_required and answer in (None, "", []):
            problem = _("Please answer this question.")
        if problem:
            problems[question.id] = problem
    return answers, problems


def _read(question: Question, form: MultiDict[str, str]) -> tuple[Answer, str | None]:
    name = field_name(question)
    if question.kind == QuestionKind.MULTIPLE:
        chosen = [item for item in form.getlist(name) if item in question.options]
        return chosen, None
    value = form.get(name, "").strip()
    if question.kind == QuestionKind.TEXT:
        return value[:MAX_TEXT], _("This is too long.") if len(value) > MAX_TEXT else None
    return _read_choice(question, value)


def _read_choice(question: Question, value: str) -> tuple[Answer, str | None]:
    if not value:
        return None, None
    if question.kind == QuestionKind.SCALE and value in map(str, range(1, question.points + 1)):
        return int(value), None
    if question.kind == QuestionKind.SINGLE and value in question.options:
        return value, None
    return None, _("Choose one of the answers on offer.")


def shown(answer: Answer) -> str:
    """Return an answer as one text."""
    if isinstance(answer, list):
        return "; ".join(answer)
    return "" if answer is None else str(answer)


def as_csv(questions: Sequence[Question], responses: Iterable[Response]) -> Iterator[str]:
    """Yield the lines of a CSV file, with a byte order mark for spreadsheets and without formulas."""
    yield "\ufeff" + _line(["submitted_at", "email", "first_name", "last_name", *(q.text for q in questions)])
    for response in responses:
        person = response.participant
        cells = [shown(response.answers.get(str(question.id))) for question in questions]
        yield _line([response.submitted_at.isoformat(), person.email, person.first_name, person.last_name, *cells])


def _line(cells: Iterable[Any]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(harmless(str(cell)) for cell in cells)
    return buffer.getvalue()


def harmless(cell: str) -> str:
    """Return a cell that no spreadsheet reads as a formula (CWE-1236)."""
    return f"'{cell}" if cell.lstrip().startswith(("=", "+", "-", "@")) or cell.startswith(("\t", "\r")) else cell
