"""The application that worker processes of the tests are started with; `tests.workers` says what it is made of."""

import json
import os
from pathlib import Path

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from own_smtp import OwnSMTP
from own_smtp.config import Deadlines
from tests.engine import make_app


def create_app() -> Flask:
    made_of = json.loads(os.environ["OWN_SMTP_TEST_APP"])
    settings = made_of["settings"]
    if "deadlines" in settings:
        settings["deadlines"] = Deadlines(**settings["deadlines"])
    app = make_app(made_of["url"], Path(made_of["journal"]), **settings)
    OwnSMTP(app, SQLAlchemy(app))
    return app
