"""A platform that sends what the benchmarks send, described so that other processes can join it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, insert, select

from benchmarks.composing import CONTENT, recipients
from own_smtp import OwnSMTP, schema
from own_smtp.config import Deadlines
from own_smtp.hooks.events import Invitation, InvitationBatch, InvitationStatus, Receipt
from own_smtp.models import Attempt, ProjectRoute
from own_smtp.models import Invitation as InvitationRow
from tests.engine import TENANT, ListeningHost, Platform, make_app

DEADLINES = Deadlines()
VARIABLE = "OWN_SMTP_BENCHMARK"
"""The environment variable in which a worker finds its stage."""


@dataclass(frozen=True, slots=True)
class Stage:
    """Where a platform's database and journal are, and how it is set."""

    url: str
    folder: str
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def on_sqlite(cls, folder: Path, **settings: Any) -> Stage:
        return cls(f"sqlite:///{folder}/platform.sqlite3", str(folder), settings)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Stage:
        return cls(**json.loads(text))

    def open(self, *, prepare: bool = False) -> BenchPlatform:
        """Join the platform; with `prepare` on an empty database that becomes one."""
        app = self.make_app()
        host = CountingHost()
        platform = BenchPlatform(app, OwnSMTP(app, SQLAlchemy(app), host=host), host)
        if prepare:
            schema.upgrade(platform.engine)
        return platform

    def make_app(self) -> Flask:
        # The deadlines are the ones that a platform has when nobody sets any.
        return make_app(self.url, Path(self.folder, "journal"), **{"deadlines": DEADLINES, **self.settings})


class CountingHost(ListeningHost):
    """A host that listens, and keeps no more than a count: its memory is not ours."""

    told = 0

    def own_smtp_invitations_changed(self, changes: list[InvitationStatus]) -> None:
        self.told += len(changes)


class BenchPlatform(Platform):
    """A platform whose invitations are those that all peers send, too."""

    host: CountingHost

    def fill(self, relay_id: int, count: int, project_id: str = "survey") -> Receipt:
        """Add a batch of `count` invitations through the host's own call, and commit."""
        with self.engine.begin() as connection:
            row = {"tenant_id": TENANT, "project_id": project_id, "relay_id": relay_id}
            connection.execute(insert(ProjectRoute).values(**row))
        batch = InvitationBatch(
            tenant_id=TENANT, project_id=project_id, content=CONTENT, invitations=invitations(count)
        )
        with self.app.app_context():
            receipt = self.own_smtp.send_invitations(batch)
            self.own_smtp.db.session.commit()
        assert receipt is not None
        assert receipt.taken == count, receipt
        return receipt

    def counts(self) -> dict[str, int]:
        """Count invitations by state."""
        query = select(InvitationRow.state, func.count()).group_by(InvitationRow.state)
        with self.engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def count_attempts(self) -> int:
        with self.engine.connect() as connection:
            return int(connection.scalar(select(func.count()).select_from(Attempt)) or 0)


def invitations(count: int) -> Iterator[Invitation]:
    """Yield what a host hands over, one after the other."""
    for number, values in recipients(count):
        name = f"{values['FIRSTNAME']} {values['LASTNAME']}"
        yield Invitation(reference=str(number), address=f"person{number}@example.net", name=name, values=values)


def create_app() -> Flask:
    """Make the application of a worker: `flask --app benchmarks.stage own-smtp worker`."""
    return Stage.load(os.environ[VARIABLE]).open().app
