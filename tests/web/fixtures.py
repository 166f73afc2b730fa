"""The fixtures of the pages' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from tests.web.app import ThinExtension, build_app


@pytest.fixture
def web_app(tmp_path: Path) -> Flask:
    """The pages on SQLite."""
    return build_app(f"sqlite:///{tmp_path / 'web.sqlite3'}")


@pytest.fixture
def thin(web_app: Flask) -> ThinExtension:
    """The parts that the pages were put together from."""
    return cast("ThinExtension", web_app.extensions["own_smtp"])


@pytest.fixture
def web(web_app: Flask) -> FlaskClient:
    """A browser without scripts."""
    return web_app.test_client()


@pytest.fixture
def db_session(web_app: Flask, thin: ThinExtension) -> Iterator[Session]:
    """A session inside an application context."""
    with web_app.app_context():
        yield thin.db.session()
