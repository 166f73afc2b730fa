"""The application of the tests' worker processes; for its settings see `tests.workers`."""

import ctypes
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from own_smtp import OwnSMTP
from own_smtp.hooks.events import InvitationStatus
from own_smtp.settings import Deadlines
from tests.engine import make_app

PR_SET_CHILD_SUBREAPER = 36


def create_app() -> Flask:
    made_of = json.loads(os.environ["OWN_SMTP_TEST_APP"])
    if made_of["is_first"]:
        # What its children leave behind becomes its own, as it does of process 1 of a container.
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    settings = made_of["settings"]
    if "deadlines" in settings:
        settings["deadlines"] = Deadlines(**settings["deadlines"])
    app = make_app(made_of["url"], Path(made_of["journal"]), **settings)
    host = WritingHost(Path(made_of["told"])) if made_of["told"] else None
    OwnSMTP(app, SQLAlchemy(app), host=host)
    return app


class WritingHost:
    """Appends notifications to a file that all processes share. Slow, so that a crash leaves pending ones."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def own_smtp_invitations_changed(self, changes: Sequence[InvitationStatus]) -> None:
        time.sleep(0.1)
        with self.path.open("a") as stream:
            # Begins a line: a process that was killed here may have left half of one.
            stream.write("\n" + "".join(f"{change.address} {change.state}\n" for change in changes))
