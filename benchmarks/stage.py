"""A platform that sends the benchmarks' messages, described so that other processes can join it.

Workers import this: it loads nothing that a platform's worker would not.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import func, insert, select

from benchmarks.composing import CONTENT, IDENTITY, recipients
from own_smtp import OwnSMTP
from own_smtp.hooks.events import Invitation, InvitationBatch, InvitationStatus, Receipt
from own_smtp.states import RelayState, Security
from own_smtp.storage.models import Attempt, ProjectRoute, Relay
from own_smtp.storage.models import Invitation as InvitationRow

VARIABLE = "OWN_SMTP_BENCHMARK"
"""The environment variable that gives a worker its stage."""
TENANT = "acme"
PROJECT = "survey"


class Server(Protocol):
    """The address of a relay."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Stage:
    """A platform's database, journal folder and settings."""

    url: str
    folder: str
    settings: dict[str, Any] = field(default_factory=dict)
    """`OWN_SMTP_*` keys in lower case without the prefix; the values must be JSON."""

    @classmethod
    def on_sqlite(cls, folder: Path, **settings: Any) -> Stage:
        return cls(f"sqlite:///{folder}/platform.sqlite3", str(folder), settings)

    def dump(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def load(cls, text: str) -> Stage:
        return cls(**json.loads(text))

    def open(self, *, prepare: bool = False) -> Platform:
        """Join the platform; with `prepare` the tables are created first."""
        platform = Platform(self)
        if prepare:
            from own_smtp.storage import schema  # loads Alembic, which a worker never loads

            with platform.app.app_context():
                schema.upgrade(platform.engine)
        return platform

    def config(self) -> dict[str, Any]:
        """Return the platform's configuration: the defaults, except for networks, ports and TLS on loopback."""
        settings = {
            "allowed_networks": "127.0.0.0/8",
            "allowed_ports": range(1, 65536),
            "allow_plaintext": True,
            "journal_dir": Path(self.folder, "journal"),
            "public_url": "http://platform.example",
            "redis_url": "redis://127.0.0.1:1/0",  # no server is there
            **self.settings,
        }
        config = {f"OWN_SMTP_{name.upper()}": value for name, value in settings.items()}
        return {"SECRET_KEY": "a key for benchmarks", "TESTING": True, "SQLALCHEMY_DATABASE_URI": self.url, **config}


class Host:
    """A host that counts events, in memory shared by all processes of a job."""

    def __init__(self) -> None:
        self._notified = multiprocessing.Value("q")

    @property
    def notified(self) -> int:
        return self._notified.value

    def own_smtp_invitations_changed(self, changes: Sequence[InvitationStatus]) -> None:
        with self._notified.get_lock():
            self._notified.value += len(changes)


class Platform:
    """An application with Own SMTP, whose invitations are the same that all peers send. A context manager."""

    def __init__(self, stage: Stage) -> None:
        self.app = Flask("platform")
        self.app.config.update(stage.config())
        self.host = Host()
        self.own_smtp = OwnSMTP(self.app, SQLAlchemy(self.app), host=self.host)
        self.runtime = self.own_smtp.runtime
        self.engine = self.runtime.engine

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.engine.dispose()

    def add_relay(self, server: Server, **columns: Any) -> int:
        """Add an active relay without TLS, and return its id."""
        row = {
            "tenant_id": TENANT,
            "label": "Benchmark",
            "host": server.host,
            "port": server.port,
            "security": Security.NONE,
            "sender_address": IDENTITY.address,
            "sender_name": IDENTITY.name,
            "reply_to": IDENTITY.reply_to,
            "state": RelayState.ACTIVE,
        }
        with self.engine.begin() as connection:
            added = connection.execute(insert(Relay).values(**row | columns))
        key = added.inserted_primary_key
        assert key is not None
        return int(key[0])

    def fill(self, relay_id: int, count: int, project_id: str = PROJECT) -> Receipt:
        """Add a batch of `count` invitations by the host's own hook call, and commit."""
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
    """Yield invitations as a host hands them over."""
    for number, values in recipients(count):
        name = f"{values['FIRSTNAME']} {values['LASTNAME']}"
        yield Invitation(reference=str(number), address=f"person{number}@example.net", name=name, values=values)


def create_app() -> Flask:
    """Create the application of a worker: `flask --app benchmarks.stage own-smtp worker`."""
    return Stage.load(os.environ[VARIABLE]).open().app
