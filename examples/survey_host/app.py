"""The application factory."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flask import Flask

from survey_host import cli, config, pages, plugins
from survey_host.extensions import babel, csrf, db, mail, prepare_sqlite
from survey_host.views import BLUEPRINTS


def create_app(given: Mapping[str, Any] | None = None) -> Flask:
    """Return a survey platform configured by `given` and the environment; `given` takes precedence.

    Raises `survey_host.config.ConfigurationError` when a setting is missing or wrong.
    """
    app = Flask("survey_host", instance_path=str(Path(__file__).parent / "instance"))
    app.config.from_mapping(config.load(given))
    db.init_app(app)
    mail.init_app(app)
    csrf.init_app(app)
    babel.init_app(app, locale_selector=pages.language, timezone_selector=pages.timezone)
    pages.init_app(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    cli.init_app(app)
    with app.app_context():
        prepare_sqlite(db.engine)
        plugins.init_app(app)
    return app
