"""Demonstration data: two tenants with a person for each role, and surveys that are ready to send."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import select
from werkzeug.security import generate_password_hash

from survey_host.base import now
from survey_host.models import Account, Kind, Question, QuestionKind, Role, Survey, SurveyText, Tenant

PASSWORD = "survey-demo"
"""Every account's password; only for demonstrations."""


@dataclass(frozen=True, slots=True)
class SignIn:
    """A person's credentials."""

    email: str
    password: str
    role: Role
    tenant: str | None
    """`None` for platform administrators."""


_TENANTS = (("North University", "north.example", "Europe/Berlin"), ("South Clinics", "south.example", "Europe/Vienna"))
_TITLES = ("Student satisfaction", "Working here"), ("Patient survey",)

_TEXTS = Path(__file__).parent / "data" / "texts"
"""By kind and language. The first line of a text is its subject."""


def seed(db: SQLAlchemy) -> Sequence[SignIn]:
    """Add the demonstration data, unless it exists, and return the accounts' credentials."""
    people = [SignIn("admin@platform.example", PASSWORD, Role.PLATFORM_ADMIN, None)]
    for tenant, domain, _zone in _TENANTS:
        people.append(SignIn(f"admin@{domain}", PASSWORD, Role.TENANT_ADMIN, tenant))
        people.append(SignIn(f"manager@{domain}", PASSWORD, Role.SURVEY_MANAGER, tenant))
    if db.session.scalar(select(Tenant).where(Tenant.name == _TENANTS[0][0])) is None:
        _add(db, people)
        db.session.commit()
    return people


def _add(db: SQLAlchemy, people: Sequence[SignIn]) -> None:
    ids: dict[str | None, int] = {}
    for (name, _domain, zone), titles in zip(_TENANTS, _TITLES, strict=True):
        tenant = Tenant(name=name, language="en", timezone=zone)
        db.session.add(tenant)
        db.session.flush()
        ids[name] = tenant.id
        for title in titles:
            _add_survey(db, tenant, title)
    for person in people:
        db.session.add(_account(person, ids.get(person.tenant)))


def _account(person: SignIn, tenant_id: int | None) -> Account:
    return Account(
        tenant_id=tenant_id,
        role=person.role,
        name=f"{person.role.replace('_', ' ').capitalize()}{f' of {person.tenant}' if person.tenant else ''}",
        email=person.email,
        password_hash=generate_password_hash(person.password),
    )


def _add_survey(db: SQLAlchemy, tenant: Tenant, title: str) -> None:
    survey = Survey(
        tenant_id=tenant.id,
        title=title,
        welcome="Thank you for taking part. Your answers help us to do better.",
        thanks="Thank you very much for your time.",
        language="en",
        closes_at=now() + timedelta(days=30),
        questions=_questions(),
    )
    db.session.add(survey)
    db.session.flush()
    db.session.add_all(_text(survey, path) for path in sorted(_TEXTS.glob("*.txt")))


def _text(survey: Survey, path: Path) -> SurveyText:
    kind, language, _ = path.name.split(".")
    subject, text = path.read_text("utf-8").split("\n\n", 1)
    html = path.with_suffix(".html")
    return SurveyText(
        survey_id=survey.id,
        kind=Kind(kind),
        language=language,
        subject=subject,
        text=text,
        html=html.read_text("utf-8") if html.exists() else None,
    )


def _questions() -> list[Question]:
    return [
        Question(
            position=0,
            kind=QuestionKind.SCALE,
            text="How satisfied are you overall?",
            options=["not at all", "very much"],
            points=5,
            is_required=True,
        ),
        Question(
            position=1,
            kind=QuestionKind.SINGLE,
            text="Would you recommend us?",
            options=["Yes", "Perhaps", "No"],
        ),
        Question(
            position=2,
            kind=QuestionKind.MULTIPLE,
            text="What should we work on?",
            options=["Information", "Friendliness", "Waiting times", "Rooms"],
        ),
        Question(position=3, kind=QuestionKind.TEXT, text="What else would you like to tell us?", options=[]),
    ]
