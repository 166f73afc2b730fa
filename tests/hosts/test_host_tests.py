"""The ways in which hosts test: one connection that is rolled back at the end, and a database in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Column, Integer, create_engine, inspect, text
from sqlalchemy.pool import NullPool

from own_smtp import OwnSMTP
from own_smtp.hooks import Actor, Project
from own_smtp.testing import create_tables
from tests.engine import make_app

PAGES = ("/own-smtp/", "/own-smtp/servers/new", "/own-smtp/projects/1/settings", "/own-smtp/audit", "/own-smtp/metrics")


class Host:
    """A person is signed in, and may do everything."""

    def own_smtp_actor(self) -> Actor:
        return Actor(user_id="1", tenant_id="acme", name="Kim", email="kim@acme.example")

    def own_smtp_may(self, **_asked: Any) -> bool:
        return True

    def own_smtp_projects(self, tenant_id: str) -> list[Project]:
        return [Project(project_id="1", tenant_id=tenant_id, title="Survey")]


def _host(url: str, folder: Path) -> tuple[Flask, SQLAlchemy, Any]:
    app = make_app(url, folder / "journal", metrics_token="a token of the test")
    app.config["WTF_CSRF_ENABLED"] = False
    db = SQLAlchemy(app)

    class Row(db.Model):  # type: ignore[name-defined, misc]  # a host's own table
        __tablename__ = "host_row"
        id = Column(Integer, primary_key=True)

    OwnSMTP(app, db, host=Host())
    with app.app_context():
        db.create_all()
        create_tables(db.engine)
    return app, db, Row


@pytest.fixture
def rolled_back(tmp_path: Path) -> Iterator[tuple[Flask, SQLAlchemy, Any, str]]:
    """Flask-SQLAlchemy's maintainers' way: the engine is replaced by a connection whose transaction is rolled back."""
    url = f"sqlite:///{tmp_path / 'host.sqlite3'}"
    app, db, row = _host(url, tmp_path)
    with app.app_context():
        engines: Any = db.engines
        engine = engines[None]
        connection = engine.connect()
        transaction = connection.begin()
        engines[None] = connection
        yield app, db, row, url
        db.session.remove()
        transaction.rollback()
        connection.close()
        engines[None] = engine


def test_pages_work_on_a_connection_that_is_rolled_back(rolled_back) -> None:
    """Each page works, a server is saved, and nothing of it is left afterwards."""
    app, db, row, url = rolled_back
    web = app.test_client()
    db.session.add(row(id=1))
    db.session.commit()
    for page in PAGES:
        answer = web.get(page, headers={"Authorization": "Bearer a token of the test"})
        assert answer.status_code == 200, page
    own_smtp = app.extensions["own_smtp"]
    with app.test_request_context():
        assert [link.key for link in own_smtp.settings_links("acme")] == ["own_smtp"]
    assert db.session.query(row).count() == 1
    outside = create_engine(url, poolclass=NullPool)
    with outside.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM host_row")) == 0


def test_a_database_in_memory_keeps_uncommitted_rows(tmp_path: Path) -> None:
    """The host's menus are created during its transaction, and its rows are still there afterwards."""
    app, db, row = _host("sqlite:///:memory:", tmp_path)
    with app.test_request_context():
        own_smtp = app.extensions["own_smtp"]
        db.session.add(row(id=1))
        db.session.flush()
        assert [link.key for link in own_smtp.settings_links("acme")] == ["own_smtp"]
        assert own_smtp.in_force() is not None
        assert db.session.query(row).count() == 1
        db.session.commit()
        assert db.session.query(row).count() == 1


def test_the_tables_are_made_in_a_fixture(tmp_path: Path) -> None:
    """One call creates all of them, as the migrations do."""
    engine = create_engine(f"sqlite:///{tmp_path / 'x.sqlite3'}")
    create_tables(engine)
    assert "own_smtp_relay" in inspect(engine).get_table_names()
    engine.dispose()
