"""A platform with Own SMTP and nothing else: a database, relays, batches, and drains that a test runs itself.

    with Platform.at(f"sqlite:///{tmp_path / 'a.sqlite3'}", tmp_path / "journal") as platform:
        relay = platform.add_relay(server)
        platform.send(relay, 3)
        platform.drain(relay)
        assert platform.states() == {"accepted": 3}

The fixture `platform` is one on SQLite. Nothing here starts a process or needs Redis.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self

import pytest
from flask import Flask
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import Row, Table, insert, select, update

from own_smtp import OwnSMTP
from own_smtp.delivery.bookkeeping.bookkeeper import DatabaseBookkeeper
from own_smtp.delivery.bookkeeping.channel import ThreadChannel
from own_smtp.delivery.sending.drain import begin_drain
from own_smtp.delivery.workers import drain_job
from own_smtp.hooks.events import Content, Invitation, InvitationBatch, InvitationStatus, Receipt, RelayChange
from own_smtp.relays.store import PASSWORD_FIELD
from own_smtp.settings import Deadlines
from own_smtp.smtp.tls import verifying_context
from own_smtp.states import Security, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Base, Batch, Lease, ProjectRoute, Relay
from own_smtp.storage.models import Invitation as InvitationRow
from tests.scripted import Authority, authority
from tests.servers.tables import make_tables

TENANT = "acme"
PROJECT = "survey"
SENDER = "research@acme.example"

SHORT = Deadlines(connect=2, banner=5, command=5, data=5, body=5, final_dot=5, quit=1)
"""Longer than a loopback ever needs; tests of a deadline shorten the one they are about."""

CONTENT = Content(subject="An invitation for {FIRSTNAME}", text="Dear {FIRSTNAME},\n\nplease take part: {SURVEYURL}\n")


class Server(Protocol):
    """The attributes of a server that a relay row needs; `ScriptedServer` and `SmtpSink` have them."""

    host: str
    port: int


@dataclass
class ListeningHost:
    """A host that records its notifications."""

    changes: list[InvitationStatus] = field(default_factory=list)
    relay_changes: list[RelayChange] = field(default_factory=list)
    is_deaf: bool = False
    """Whether it raises when it is told of a relay."""

    def own_smtp_invitations_changed(self, changes: list[InvitationStatus]) -> None:
        self.changes += changes

    def own_smtp_relay_changed(self, change: RelayChange) -> None:
        if self.is_deaf:
            raise ConnectionError("The platform's own mail is out of order.")
        self.relay_changes.append(change)


class Platform:
    """A Flask application with Own SMTP on an empty, migrated database. A context manager.

    `runtime` is what its drains run with; a test may replace parts of it by `with_parts`: clock, dialer, resolve ...
    """

    def __init__(self, app: Flask, own_smtp: OwnSMTP, host: ListeningHost) -> None:
        self.app = app
        self.own_smtp = own_smtp
        self.host = host
        self.runtime = own_smtp.runtime
        self.engine = self.runtime.engine

    @classmethod
    def at(cls, url: str, journal: Path, *, prepare: bool = True, **settings: Any) -> Self:
        """Set one up. `settings` are `OWN_SMTP_*` keys in small letters without the prefix.

        Another process joins a platform with the same `url` and `journal` and without `prepare`.
        """
        app, host = make_app(url, journal, **settings), ListeningHost()
        own_smtp = OwnSMTP(app, SQLAlchemy(app), host=host)
        platform = cls(app, own_smtp, host)
        if prepare:
            make_tables(platform.engine)
        return platform

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.engine.dispose()

    # What people do

    def add_relay(self, server: Server | None = None, *, password: str | None = None, **values: Any) -> int:
        """Add an active relay without TLS and return its id. `values` are columns; the project's mail goes through it.

        With a `password` it has a user called `user`, too, unless one is given.
        """
        row: dict[str, Any] = {
            "tenant_id": TENANT,
            "label": "Acme",
            "security": Security.NONE,
            "sender_address": SENDER,
            "sender_name": "Acme Research",
            "state": "active",
            "max_connections": 1,
        }
        if server is not None:
            row |= {"host": server.host, "port": server.port}
        if password is not None:
            stored = self.own_smtp.vault.encrypt(password, tenant_id=TENANT, field=PASSWORD_FIELD)
            row |= {"username": "user", "password": stored}
        with self.engine.begin() as connection:
            key = connection.execute(insert(Relay).values(**row | values)).inserted_primary_key
        assert key is not None
        return int(key[0])

    def send(
        self, relay_id: int, recipients: int | Iterable[str] = 1, *, content: Content = CONTENT, **values: Any
    ) -> Receipt:
        """Add a batch: so many invitations to `user1@example.org` ..., or one to each address. References: `1` ..."""
        if isinstance(recipients, int):
            recipients = [f"user{number}@example.org" for number in range(1, recipients + 1)]
        batch = InvitationBatch(
            tenant_id=TENANT,
            project_id=f"{PROJECT}-{relay_id}",
            content=content,
            invitations=[invitation(number, address) for number, address in enumerate(recipients, start=1)],
            **values,
        )
        self._choose(relay_id, batch.project_id)
        with self.app.app_context():
            receipt = self.own_smtp.send_invitations(batch)
            self.own_smtp.db.session.commit()
        assert receipt is not None
        return receipt

    def _choose(self, relay_id: int, project_id: str) -> None:
        with self.engine.begin() as connection:
            chosen = select(ProjectRoute.relay_id).where(ProjectRoute.project_id == project_id)
            if connection.execute(chosen).first() is None:
                row = {"tenant_id": TENANT, "project_id": project_id, "relay_id": relay_id}
                connection.execute(insert(ProjectRoute).values(**row))

    # What workers do

    def drain(self, relay_id: int) -> set[int]:
        """Run a worker's job, and return the relays that are due again."""
        return drain_job.run_drains(self.runtime, relay_id)

    def drain_in_thread(self, relay_id: int) -> None:
        """Run one drain in a thread, without signals and outside the current event loop."""

        async def run() -> None:
            async with ThreadChannel(DatabaseBookkeeper(self.runtime), self.engine) as channel:
                begun = await begin_drain(self.runtime, channel, relay_id)
                assert begun is not None
                await begun.run()

        with ThreadPoolExecutor(1) as threads:
            threads.submit(asyncio.run, run()).result()

    def drain_again(self, relay_id: int) -> set[int]:
        """Let all waits pass (retries, a relay's rest, a learned rate), and run another job."""
        self.let_time_pass(relay_id)
        return self.drain(relay_id)

    def let_time_pass(self, relay_id: int) -> None:
        """Make everything that waits for a later time due now."""
        with self.engine.begin() as connection:
            now = read_clock(connection)
            connection.execute(
                update(InvitationRow).where(InvitationRow.state == State.QUEUED).values(next_attempt_at=now)
            )
            connection.execute(update(Lease).where(Lease.relay_id == relay_id).values(wake_at=None, pace=None))

    def change(self, relay_id: int, **values: Any) -> None:
        """Change columns of a relay, as its owner does: drains notice by the revision."""
        with self.engine.begin() as connection:
            row = update(Relay).where(Relay.id == relay_id)
            connection.execute(row.values(revision=Relay.revision + 1, **values))

    # What is on record

    def states(self) -> dict[str, int]:
        """Count invitations by state."""
        return dict(Counter(row.state for row in self.rows(InvitationRow)))

    def rows(self, model: type[Base]) -> list[Row[Any]]:
        """Return all rows of a table, oldest first."""
        table = model.__table__
        assert isinstance(table, Table)
        with self.engine.connect() as connection:
            return list(connection.execute(select(table).order_by(*table.primary_key.columns)))

    @property
    def invitations(self) -> list[Row[Any]]:
        return self.rows(InvitationRow)

    @property
    def attempts(self) -> list[Row[Any]]:
        return self.rows(Attempt)

    @property
    def batches(self) -> list[Row[Any]]:
        return self.rows(Batch)

    def relay(self, relay_id: int) -> Row[Any]:
        return next(row for row in self.rows(Relay) if row.id == relay_id)

    def lease(self, relay_id: int) -> Row[Any]:
        return next(row for row in self.rows(Lease) if row.relay_id == relay_id)

    def with_parts(self, **parts: Any) -> None:
        """Replace runtime dependencies of drains."""
        self.runtime = replace(self.runtime, **parts)


def make_app(url: str, journal: Path, **settings: Any) -> Flask:
    """Return an application whose relays may be on loopback, on any port and without TLS.

    `engine_options` are SQLAlchemy's.
    """
    app = Flask("platform")
    app.config.update(SECRET_KEY="a key for tests", TESTING=True, SQLALCHEMY_DATABASE_URI=url)
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = settings.pop("engine_options", {})
    defaults: dict[str, Any] = {
        "allowed_networks": "127.0.0.0/8 ::1/128",
        "allowed_ports": range(1, 65536),
        "allow_plaintext": True,
        "journal_dir": journal,
        "public_url": "http://platform.example",
        "redis_url": "redis://127.0.0.1:1/0",  # nobody is there
        "deadlines": SHORT,
    }
    app.config.update({f"OWN_SMTP_{name.upper()}": value for name, value in (defaults | settings).items()})
    return app


def invitation(number: int, address: str) -> Invitation:
    """Return the invitation with the reference `number`."""
    values = {"FIRSTNAME": f"Jürgen {number}", "SURVEYURL": f"https://surveys.example/s/{number}"}
    return Invitation(reference=str(number), address=address, name=f"User {number}", values=values)


def recipients_of(copies: Iterable[Any]) -> list[str]:
    """Return the recipients of a server's copies, sorted, so that duplicates are visible."""
    return sorted(recipient for copy in copies for recipient in copy.recipients)


@pytest.fixture(scope="session")
def trusted() -> Authority:
    """Make this process trust the tests' own certificate authority, like the system's."""
    verifying_context().load_verify_locations(cadata=authority().pem)
    return authority()


@pytest.fixture
def make_platform(tmp_path: Path) -> Iterator[Callable[..., Platform]]:
    """Create platforms on SQLite, each with the given settings."""
    with ExitStack() as made:

        def make(**settings: Any) -> Platform:
            folder = tmp_path / secrets.token_hex(4)
            folder.mkdir()
            return made.enter_context(
                Platform.at(f"sqlite:///{folder}/platform.sqlite3", folder / "journal", **settings)
            )

        yield make


@pytest.fixture
def platform(make_platform: Callable[..., Platform]) -> Platform:
    """A platform on SQLite with the settings that suit most tests."""
    return make_platform()
