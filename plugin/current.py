"""What pages and jobs may ask of the extension that serves the present application."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from flask import current_app
from flask_sqlalchemy import SQLAlchemy

from own_smtp.hooks.events import Action, Actor, Person, PlatformMail, Project, RelayChange, Tenant
from own_smtp.relays.policy import Policy
from own_smtp.runtime import Runtime
from own_smtp.settings import Settings
from own_smtp.smtp.network import NetworkPolicy
from own_smtp.storage.encryption import Vault

KEY = "own_smtp"
"""Where the extension stands in `app.extensions`."""


class Host(Protocol):
    """The host's answers, with the defaults of the contract filled in."""

    def actor(self) -> Actor | None: ...
    def sign_in_url(self, next_path: str) -> str | None: ...
    def may(self, actor: Actor, action: Action, project_id: str | None = None) -> bool: ...
    def tenant(self, tenant_id: str) -> Tenant: ...
    def all_tenants(self) -> Sequence[Tenant]: ...
    def people(self, tenant_id: str) -> Sequence[Person]: ...
    def user_name(self, tenant_id: str, user_id: str) -> str | None: ...
    def projects(self, tenant_id: str) -> Sequence[Project]: ...
    def send_platform_mail(self, mail: PlatformMail) -> object: ...
    def relay_changed(self, change: RelayChange) -> object: ...
    def layout(self) -> str | None: ...


class Extension(Protocol):
    """The one place where the parts are put together, as seen by those who use them."""

    @property
    def settings(self) -> Settings: ...
    @property
    def db(self) -> SQLAlchemy: ...
    @property
    def vault(self) -> Vault: ...
    @property
    def network_policy(self) -> NetworkPolicy: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def host(self) -> Host: ...

    def in_force(self) -> Settings:
        """Return the settings with what administrators changed on the page of the platform's policy."""
        ...

    @property
    def runtime(self) -> Runtime: ...

    def job_started(self, relay_id: int) -> None:
        """A drain's job has begun: wakes from now on are news."""

    def enqueue_drain(self, relay_id: int) -> object:
        """Enqueue a drain of the relay, best effort; call it after the commit."""

    def enqueue(self, job: str, *arguments: int) -> bool:
        """Enqueue a job by its name; `False` means that Redis did not answer in time."""
        ...

    def queue_depth(self) -> int | None:
        """Return how many jobs wait; `None` when Redis does not answer."""
        ...

    def queue_problem(self) -> str | None:
        """Return why no job would be taken or run; `None` when all is well. Asks by a write, with short time-outs."""
        ...

    def queue_is_up(self) -> bool:
        """Whether jobs are taken and run."""
        ...


def extension() -> Extension:
    """Return the extension of the present application."""
    return cast(Extension, current_app.extensions[KEY])
