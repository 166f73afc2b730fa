"""The conformance kit for hosts: it passes a correct host, and names the mistakes of others."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask, g, request, session
from flask_sqlalchemy import SQLAlchemy
from jinja2 import DictLoader
from sqlalchemy.orm import Mapped, mapped_column

from own_smtp import OwnSMTP
from own_smtp.hooks import Action, Actor, InvitationStatus, Person, PlatformMail, Project, RelayChange, Tenant
from own_smtp.testing import check_host
from survey_host import models
from survey_host.extensions import db as survey_db
from tests.engine import make_app
from tests.survey_host_kit import add_people, platform


class GoodHost:
    """Implements every hook correctly."""

    def __init__(self, db: SQLAlchemy) -> None:
        self.db = db

        class Person(db.Model):  # type: ignore[name-defined,misc] # the class that Flask-SQLAlchemy makes
            id: Mapped[int] = mapped_column(primary_key=True)
            state: Mapped[str] = mapped_column(default="")
            changed_at: Mapped[float] = mapped_column(default=0.0)
            heard_at: Mapped[datetime | None]

        self.person = Person

    def own_smtp_actor(self) -> Actor | None:
        return g.get("actor")

    def own_smtp_may(self, action: Action) -> bool | None:
        return None if action is Action.ADMINISTER else True

    def own_smtp_tenant(self, tenant_id: str) -> Tenant | None:
        return Tenant(tenant_id=tenant_id, name="Acme", locale="pt-BR", timezone="Europe/Berlin")

    def own_smtp_tenants(self) -> list[Tenant]:
        return [Tenant(tenant_id="acme", name="Acme"), Tenant(tenant_id="other", name="Other")]

    def own_smtp_people(self, tenant_id: str) -> list[Person]:
        return [Person(user_id="5", name="Ann")]

    def own_smtp_user_name(self, user_id: str) -> str | None:
        return "Ann" if user_id == "5" else None

    def own_smtp_projects(self, tenant_id: str) -> list[Project]:
        closes_at = datetime(2027, 1, 1, tzinfo=UTC)
        return [Project(project_id=f"{tenant_id}-7", tenant_id=tenant_id, title="Staff", closes_at=closes_at)]

    def own_smtp_notice_recipients(self) -> list[str]:
        return ["ann@acme.example"]

    def own_smtp_send_platform_mail(self, mail: PlatformMail) -> bool | None:
        return bool(mail.recipient)

    def own_smtp_invitations_changed(self, changes: Sequence[InvitationStatus]) -> None:
        for change in changes:
            person = self.db.session.get(self.person, int(change.reference))
            if person.changed_at < change.changed_at.timestamp():
                person.state, person.changed_at = change.state, change.changed_at.timestamp()
            person.heard_at = datetime.now(UTC)
        self.db.session.commit()

    def own_smtp_relay_changed(self, change: RelayChange) -> None:
        assert change.label

    def own_smtp_sign_in_url(self, next_path: str) -> str | None:
        return f"/sign-in?{urlencode({'next': next_path})}"

    def own_smtp_layout(self) -> str | None:
        return "base.html"


TEMPLATES = {"base.html": "{% block title %}{% endblock %}{% block content %}{% endblock %}", "bare.html": "no blocks"}


@contextmanager
def checked(folder: Path, **hooks: Any) -> Iterator[None]:
    """Check a correct host in which some hooks return other values."""
    app = make_app(f"sqlite:///{folder / 'host.sqlite3'}", folder / "journal")
    app.jinja_loader = DictLoader(TEMPLATES)
    db = SQLAlchemy(app)
    host = GoodHost(db)
    for name, hook in hooks.items():
        setattr(host, f"own_smtp_{name}", hook.__get__(host) if hasattr(hook, "__get__") else hook)
    OwnSMTP(app, db, host=host)
    with app.app_context():
        db.create_all()
        db.session.add_all([host.person(id=17), host.person(id=18)])
        db.session.commit()
    try:
        check(app)
        yield
    finally:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


pytestmark = pytest.mark.filterwarnings("ignore:SQLite's driver")
"""These hosts leave their engine as Flask-SQLAlchemy makes it; one test is about that."""


def check(app: Flask) -> None:
    @contextmanager
    def signed_in() -> Iterator[None]:
        with app.test_request_context():
            g.actor = Actor(user_id="5", tenant_id="acme", name="Ann", email="ann@acme.example")
            yield

    check_host(app, signed_in=signed_in, tenant_id="acme", foreign_tenant_id="other", references=["17", "18"])


def test_a_correct_host_passes(tmp_path: Path) -> None:
    """A correct host has no findings, however it stores notifications."""
    with checked(tmp_path):
        pass


def test_an_engine_whose_savepoints_commit_is_warned_of(tmp_path: Path) -> None:
    """A host that tests on unconfigured SQLite learns what its rollbacks would not undo."""
    with pytest.warns(UserWarning, match="SQLite's driver begins no transaction"), checked(tmp_path):
        pass


def forgets_to_commit(self: GoodHost, changes: Sequence[InvitationStatus]) -> None:
    for change in changes:
        self.db.session.get(self.person, int(change.reference)).state = change.state


def counts_everything(self: GoodHost, changes: Sequence[InvitationStatus]) -> None:
    for change in changes:
        self.db.session.get(self.person, int(change.reference)).changed_at += 1
    self.db.session.commit()


def believes_old_news(self: GoodHost, changes: Sequence[InvitationStatus]) -> None:
    for change in changes:
        self.db.session.get(self.person, int(change.reference)).state = change.state
    self.db.session.commit()


def actor(**values: str) -> Actor:
    return Actor(**{"user_id": "5", "tenant_id": "acme", "name": "Ann", "email": "a@acme.example"} | values)


def project(**values: Any) -> Project:
    return Project(**{"project_id": "7", "tenant_id": "acme", "title": "Staff"} | values)


NAIVE = datetime(2027, 1, 1)  # noqa: DTZ001 -- the mistake that is looked for


@pytest.mark.parametrize(
    ("hook", "answer", "complaint"),
    [
        ("actor", lambda _self: actor(), "although no one is signed in"),
        ("actor", lambda _self: None, "not an Actor, although a person is signed in"),
        ("actor", lambda _self: actor(user_id=5), "user_id of Actor must be text (str), not int"),  # type: ignore[arg-type]
        ("actor", lambda _self: actor(tenant_id="other"), "the person is of tenant 'other'"),
        ("actor", lambda _self: request.no_such_thing, "it raised AttributeError"),
        ("sign_in_url", lambda _self, next_path: "sign-in", "return an address, or None"),
        ("sign_in_url", lambda _self, next_path: "/sign-in", "does not contain `next_path`"),
        ("may", lambda _self: "yes", "it returned 'yes' for view and project None"),
        ("tenant", lambda _self: None, "not a Tenant"),
        ("tenant", lambda _self: Tenant(tenant_id="other", name="x"), "it returned the tenant 'other'"),
        ("tenant", lambda _self: Tenant(tenant_id="acme", name="x", timezone="CEST"), "'CEST' is no IANA time zone"),
        ("tenant", lambda _self: Tenant(tenant_id="acme", name="x", locale="German"), "'German' is no language tag"),
        ("tenant", lambda _self: Tenant(tenant_id=request.path, name="x"), "Working outside of request context"),
        ("tenants", lambda _self: [Tenant(tenant_id="other", name="x")], "the tenant 'acme' is missing"),
        ("tenants", lambda _self: ["acme"], "each must be a Tenant"),
        ("people", lambda _self: ["Ann"], "each must be a Person"),
        ("people", lambda _self: [Person(user_id="5", name="Ann")] * 2, "two people of one tenant have the same id"),
        ("user_name", lambda _self: " ", "it returned ' ' for '5'"),
        ("projects", lambda _self: ["7"], "each must be a Project"),
        ("projects", lambda _self: [project(project_id=" 7")], "project_id is ' 7'"),
        ("projects", lambda _self: [project(tenant_id="other")], "it returned a project of 'other'"),
        ("projects", lambda _self: [project(), project()], "two projects of one tenant have the same id"),
        ("projects", lambda _self: [project()], "the projects 7 belong to two tenants"),
        ("projects", lambda _self: [project(closes_at=NAIVE)], "has no time zone"),
        ("notice_recipients", lambda _self: ["Ann"], "is no address"),
        ("send_platform_mail", lambda _self: "queued", "it returned 'queued'"),
        ("invitations_changed", forgets_to_commit, "it did not commit what it wrote to person"),
        ("invitations_changed", counts_everything, "repeated events change person"),
        ("invitations_changed", believes_old_news, "late events change person"),
        ("relay_changed", lambda _self: 1 / 0, "it raised ZeroDivisionError"),
        ("layout", lambda _self: "none.html", "there is no template 'none.html'"),
        ("layout", lambda _self: "bare.html", "the template 'bare.html' has no block 'title'"),
        ("layout", lambda _self: 7, "return the name of a template"),
    ],
)
def test_mistakes_are_named(hook: str, answer: Any, complaint: str, tmp_path: Path) -> None:
    """Each mistake is reported with its hook and the expected value."""
    with pytest.raises(AssertionError) as caught, checked(tmp_path, **{hook: answer}):
        pass
    lines = [line for line in str(caught.value).splitlines() if line.startswith(f"  own_smtp_{hook}: ")]
    assert any(complaint in line for line in lines), caught.value


def test_a_host_without_implementations_passes(tmp_path: Path) -> None:
    """All hooks are optional."""
    app = make_app(f"sqlite:///{tmp_path / 'host.sqlite3'}", tmp_path / "journal")
    OwnSMTP(app, SQLAlchemy(app))
    check(app)


def test_the_example_platform_passes(tmp_path: Path) -> None:
    """The example for other hosts implements the contract."""
    keys = ("OWN_SMTP_REDIS_URL", "OWN_SMTP_JOURNAL_DIR", "OWN_SMTP_PUBLIC_URL")
    config = make_app("sqlite://", tmp_path / "journal").config
    settings = {"SURVEY_LOAD_PLUGINS": True, "TESTING": True} | {key: config[key] for key in keys}
    with platform(tmp_path, settings) as app:
        add_people(app, "kim@example.org")
        with app.app_context():
            person = survey_db.session.scalars(survey_db.select(models.Participant)).first()
            account = survey_db.session.scalars(
                survey_db.select(models.Account).filter_by(role=models.Role.TENANT_ADMIN)
            ).first()
            tenant_id = str(account.tenant_id)
            foreign = survey_db.session.scalars(
                survey_db.select(models.Tenant.id).where(models.Tenant.id != account.tenant_id)
            ).first()
            account_id, reference = account.id, f"participant-{person.id}"

        @contextmanager
        def signed_in() -> Iterator[None]:
            with app.test_request_context():
                session["account_id"] = account_id
                app.preprocess_request()
                yield

        check_host(
            app, signed_in=signed_in, tenant_id=tenant_id, foreign_tenant_id=str(foreign), references=[reference]
        )


def test_the_kit_needs_no_pytest(tmp_path: Path) -> None:
    """Hosts with another test runner can use it, too."""
    code = "import sys; import own_smtp.testing; print('pytest' in sys.modules)"
    result = subprocess.run(
        [sys.executable, "-I", "-c", code], check=False, cwd=tmp_path, capture_output=True, text=True
    )
    assert result.stdout == "False\n", result.stderr
