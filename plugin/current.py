"""The extension of the current application, as an interface for pages and jobs."""

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
"""The extension's key in `app.extensions`."""


class Host(Protocol):
    """The host's answers, with the contract's defaults."""

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
    """The interface of the composition root."""

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
        """Return the settings with the changes that administrators made on the policy page."""
        ...

    @property
    def runtime(self) -> Runtime: ...

    def enqueue_drain(self, relay_id: int) -> object:
        """Enqueue a drain of the relay, best effort. Call it after the commit."""

    def enqueue(self, job: str, *arguments: int) -> bool:
        """Enqueue a job by its name; `False` means that Redis did not answer in time."""
        ...

    def queue_depth(self) -> int | None:
        """Return the number of waiting jobs; `None` if Redis does not answer."""
        ...

    def queue_problem(self) -> str | None:
        """Return why jobs would not be accepted or run; `None` if they would. Tests a write, with short timeouts."""
        ...

    def queue_is_up(self) -> bool:
        """Whether jobs are accepted and run."""
        ...


def extension() -> Extension:
    """Return the extension of the current application."""
    return cast(Extension, current_app.extensions[KEY])
