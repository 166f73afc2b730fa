"""A Flask application with the pages and little else: a host whose answers a test sets."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlencode

from flask import Flask
from flask_sqlalchemy import SQLAlchemy

from own_smtp.hooks.events import Action, Actor, Person, PlatformMail, Project, RelayChange, Tenant
from own_smtp.i18n import ensure_babel
from own_smtp.relays.policy import EDITABLE, Policy
from own_smtp.settings import Settings
from own_smtp.smtp.network import NetworkPolicy
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.web.views import blueprint
from tests.servers.tables import make_tables

KEY = generate_key("tests")
ALICE = Actor(user_id="alice", tenant_id="acme", name="Alice", email="alice@acme.example")
MALLORY = Actor(user_id="mallory", tenant_id="evil", name="Mallory", email="mallory@evil.example")


@dataclass
class ScriptedHost:
    """A host whose answers a test sets."""

    present: Actor | None = ALICE
    allowed: set[Action] = field(default_factory=lambda: set(Action))
    tenants: dict[str, Tenant] = field(default_factory=dict)
    surveys: list[Project] = field(
        default_factory=lambda: [
            Project(project_id="p1", tenant_id="acme", title="Staff survey"),
            Project(project_id="p2", tenant_id="acme", title="Customer survey"),
            Project(project_id="q1", tenant_id="evil", title="Not yours"),
        ]
    )
    staff: list[Person] = field(default_factory=list)
    former: dict[str, str] = field(default_factory=dict)
    layout_name: str | None = None
    sign_in: str | None = None
    changes: list[RelayChange] = field(default_factory=list)

    def actor(self) -> Actor | None:
        return self.present

    def sign_in_url(self, next_path: str) -> str | None:
        return self.sign_in and f"{self.sign_in}?{urlencode({'next': next_path})}"

    def may(self, _actor: Actor, action: Action, _project_id: str | None = None) -> bool:
        return action in self.allowed

    def tenant(self, tenant_id: str) -> Tenant:
        return self.tenants.get(tenant_id, Tenant(tenant_id=tenant_id, name="Acme Research"))

    def all_tenants(self) -> list[Tenant]:
        return list(self.tenants.values())

    def people(self, _tenant_id: str) -> list[Person]:
        return self.staff

    def user_name(self, _tenant_id: str, user_id: str) -> str | None:
        return self.former.get(user_id)

    def projects(self, tenant_id: str) -> list[Project]:
        return [project for project in self.surveys if project.tenant_id == tenant_id]

    def send_platform_mail(self, _mail: PlatformMail) -> None: ...

    def relay_changed(self, change: RelayChange) -> None:
        self.changes.append(change)

    def layout(self) -> str | None:
        return self.layout_name


@dataclass
class ThinExtension:
    """The parts of the extension that pages use, put together by hand."""

    settings: Settings
    db: SQLAlchemy
    vault: Vault
    network_policy: NetworkPolicy
    policy: Policy
    host: ScriptedHost = field(default_factory=ScriptedHost)
    queue_works: bool = True
    woken: list[int] = field(default_factory=list)
    jobs: list[tuple[str, int]] = field(default_factory=list)

    def change_settings(self, **values: Any) -> None:
        """Change the platform's configuration."""
        self.settings = replace(self.settings, **values)
        self.policy = replace(self.policy, settings=self.settings)

    def in_force(self) -> Settings:
        return self.policy.in_force(self.db.session())

    def enqueue_drain(self, relay_id: int) -> None:
        self.woken.append(relay_id)

    def enqueue(self, job: str, *arguments: int) -> bool:
        self.jobs.append((job, *arguments))  # type: ignore[arg-type] # one argument in all jobs of today
        return self.queue_works

    def queue_problem(self) -> str | None:
        return None if self.queue_works else "away"

    def queue_is_up(self) -> bool:
        return self.queue_works


def build_app(database_url: str, *, engine_options: dict[str, Any] | None = None, **settings: Any) -> Flask:
    """Return the application with its tables. Networks on loopback are allowed."""
    app = Flask("told_host")
    app.testing = True
    app.config.update(SECRET_KEY="only for tests", SQLALCHEMY_DATABASE_URI=database_url, WTF_CSRF_ENABLED=False)
    app.config.update(MAIL_SERVER="mail.platform.example", MAIL_DEFAULT_SENDER="surveys@platform.example")
    db = SQLAlchemy(app, engine_options=engine_options)
    read = Settings(
        encryption_keys=(KEY,),
        public_url="https://surveys.example",
        platform_name="Survey House",
        **{"allowed_networks": (ip_network("127.0.0.0/8"),), **settings},
    )
    # Servers of tests listen on any free port.
    network_policy = NetworkPolicy.from_settings(replace(read, allowed_ports=frozenset(range(1, 65536))))
    policy = Policy(read, frozenset({"allowed_networks", *settings}) & frozenset(EDITABLE))
    app.extensions["own_smtp"] = ThinExtension(read, db, Vault.from_keys(read.encryption_keys), network_policy, policy)
    ensure_babel(app)
    app.register_blueprint(blueprint, url_prefix=read.url_prefix)
    with app.app_context():
        make_tables(db.engine)
    return app
