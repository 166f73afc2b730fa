"""Shared parts of the example platform's tests: a platform, and people who use it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from flask import Flask
from werkzeug.test import TestResponse

from survey_host import create_app, seed
from survey_host.extensions import db
from survey_host.models import Account, Participant, Survey

URL = "https://surveys.example.org"
SEND = "/surveys/1/send"
PAGES = [
    "/surveys",
    "/surveys/new",
    "/surveys/1",
    "/surveys/1/edit",
    "/surveys/1/questions",
    "/surveys/1/questions/1",
    "/surveys/1/participants",
    "/surveys/1/participants/new",
    "/surveys/1/participants/1",
    "/surveys/1/participants/import",
    "/surveys/1/texts",
    "/surveys/1/texts/invitation/en",
    "/surveys/1/texts/invitation/en/preview",
    "/surveys/1/texts/invitation/en/preview.html",
    "/surveys/1/send",
    "/surveys/1/report",
    "/surveys/1/responses",
    "/surveys/1/responses.csv",
]
ADMIN_PAGES = [
    "/settings",
    "/settings/people",
    "/settings/people/new",
    "/settings/people/2",
    "/settings/forget",
    "/surveys/1/delete",
]
PLATFORM_PAGES = ["/platform/tenants", "/platform/tenants/2/delete"]
SOUTH = "South Clinics"


@cache
def _seeded() -> bytes:
    """Return a database with the demonstration data. Created once: hashing passwords is slow on purpose."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "seeded.db"
        settings = {"SECRET_KEY": "x", "SURVEY_LOAD_PLUGINS": False, "SQLALCHEMY_DATABASE_URI": f"sqlite:///{path}"}
        with create_app(settings).app_context():
            db.create_all()
            seed.seed(db)
            db.session.remove()
            db.engine.dispose()
        return path.read_bytes()


@contextmanager
def platform(folder: Path, config: Mapping[str, Any] | None = None) -> Iterator[Flask]:
    """Yield a platform with demonstration data, a database of its own in `folder` and no plugins installed."""
    defaults = {
        "SECRET_KEY": "for tests",
        "SQLALCHEMY_DATABASE_URI": f"sqlite:///{folder / 'host.db'}",
        "SURVEY_LOAD_PLUGINS": False,
        "SURVEY_PUBLIC_URL": URL,
        "SESSION_COOKIE_SECURE": False,
        "WTF_CSRF_SSL_STRICT": False,
    }
    (folder / "host.db").write_bytes(_seeded())
    app = create_app(defaults | dict(config or {}))
    with app.app_context():
        db.create_all()
        seed.seed(db)
    try:
        yield app
    finally:
        with app.app_context():
            db.session.remove()
            db.engine.dispose()


def add_plugin(app: Flask, plugin: object) -> None:
    """Register a plugin with the specifications of an installed extension."""
    # Imported here, because the platform is also tested without that package.
    from own_smtp.hooks import host, survey

    manager = app.extensions["survey_plugins"].manager
    manager.add_hookspecs(survey)
    manager.add_hookspecs(host)
    manager.register(plugin)
    manager.check_pending()


def add_people(app: Flask, *emails: str, survey_id: int = 1, language: str = "en") -> None:
    """Add participants whose first name is the local part of their address."""
    with app.app_context():
        for email in emails:
            name = email.partition("@")[0].capitalize()
            db.session.add(
                Participant(
                    survey_id=survey_id,
                    first_name=name,
                    last_name="Example",
                    email=email,
                    language=language,
                    attributes={},
                )
            )
        db.session.commit()


def people(app: Flask, survey_id: int = 1) -> dict[str, Participant]:
    """Return a survey's stored participants by address."""
    with app.app_context():
        rows = db.session.scalars(db.select(Participant).where(Participant.survey_id == survey_id)).all()
        db.session.expunge_all()
        return {row.email: row for row in rows}


def survey_of(app: Flask, tenant: str) -> int:
    """Return the id of a tenant's first survey."""
    with app.app_context():
        row = db.session.scalars(db.select(Survey).order_by(Survey.id)).all()
        return int(next(item.id for item in row if item.tenant.name == tenant))


class Visitor:
    """A person with a browser."""

    def __init__(self, app: Flask) -> None:
        self.client = app.test_client()

    def get(self, path: str, **options: Any) -> TestResponse:
        return self.client.get(path, **options)

    def post(self, path: str, data: Mapping[str, Any] | None = None, *, page: str | None = None) -> TestResponse:
        """Load the form on `page` (by default `path`), fill it in and submit it."""
        hidden = hidden_fields(self.get(page or path).text)
        return self.client.post(path, data=hidden | dict(data or {}))

    def sign_in(self, email: str, password: str = seed.PASSWORD, **data: str) -> TestResponse:
        return self.post("/sign-in", {"email": email, "password": password, **data})


def hidden_fields(html: str) -> dict[str, str]:
    """Return the CSRF token and the nonce of a page's forms."""
    found = re.findall(r'<input[^>]*name="(csrf_token|nonce)"[^>]*value="([^"]*)"', html)
    return {name: unescape(value) for name, value in found}


def signed_in(app: Flask, email: str) -> Visitor:
    """Return a signed-in person, without the time that checking a password takes."""
    visitor = Visitor(app)
    with app.app_context():
        account = db.session.scalars(db.select(Account).where(Account.email == email)).one().id
    with visitor.client.session_transaction() as session:
        session["account_id"] = account
    return visitor


def text_of(response: TestResponse) -> str:
    """Return a page's text without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", response.text)).split())


def press(visitor: Visitor, audience: str = "new", sender: str = "platform") -> str:
    """Press "send" and return the text of the next page."""
    answer = visitor.post(SEND, {"audience": audience, "sender": sender})
    return text_of(visitor.get(answer.location) if answer.location else answer)
