"""The platform's only access to plugins; it also works without any.

The contract comes from `own_smtp.hooks`. If that is not installed, every call here returns an empty answer and the
platform sends its mail itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from flask import Flask, current_app

from survey_host.extensions import db

PROJECT: str | None
"""The name of the contract's pluggy project; `None` if the contract is not installed."""
try:
    from own_smtp.hooks import PROJECT as _PROJECT
except ModuleNotFoundError as error:
    # Only a missing package is fine; an incomplete installation must raise.
    if error.name not in {"own_smtp", "own_smtp.hooks"}:
        raise
    PROJECT = None
else:
    PROJECT = _PROJECT

if TYPE_CHECKING:
    from own_smtp.hooks import Estimate, InvitationBatch, InvitationStatus, KnownStatus, Link, Receipt, SenderChoice

GROUP = "survey.plugins"


class Plugins:
    """The platform's plugins: calls their hooks, and returns an empty answer if there are none."""

    def __init__(self, manager: Any = None) -> None:
        self.manager = manager
        """The `pluggy.PluginManager`, or `None` if the contract is not installed."""

    @property
    def are_possible(self) -> bool:
        """Whether the contract is installed, so that there can be plugins."""
        return self.manager is not None

    def _fire(self, hook: str, **arguments: Any) -> list[Any]:
        """Return one answer per plugin; none for a hook without an implementation."""
        caller = getattr(self.manager.hook, hook, None) if self.manager is not None else None
        return caller(**arguments) or [] if caller is not None else []

    def _gather(self, hook: str, **arguments: Any) -> list[Any]:
        return [item for answer in self._fire(hook, **arguments) for item in answer or ()]

    def send_invitations(self, batch: InvitationBatch) -> Receipt | None:
        """Offer a batch to the plugins; `None` means that the platform sends it itself."""
        caller = getattr(self.manager.hook, "survey_send_invitations", None) if self.manager is not None else None
        receipt: Receipt | None = caller(batch=batch) or None if caller is not None else None
        return receipt

    def settings_links(self, tenant_id: str) -> list[Link]:
        """Return the plugins' pages for a tenant's settings menu."""
        return self._gather("survey_settings_links", tenant_id=tenant_id)

    def project_links(self, tenant_id: str, project_id: str) -> list[Link]:
        """Return the plugins' pages for a survey's menu."""
        return self._gather("survey_project_links", tenant_id=tenant_id, project_id=project_id)

    def senders(self, tenant_id: str, project_id: str) -> list[SenderChoice]:
        """Return the senders offered besides the platform's own."""
        return self._gather("survey_senders", tenant_id=tenant_id, project_id=project_id)

    def estimate(
        self, tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None
    ) -> Estimate | None:
        """Estimate when so many mails would have been sent; `None` if the platform sends them."""
        caller = getattr(self.manager.hook, "survey_estimate", None) if self.manager is not None else None
        if caller is None:
            return None
        found: Estimate | None = (
            caller(tenant_id=tenant_id, project_id=project_id, sender=sender, count=count, expires_at=expires_at)
            or None
        )
        return found

    def known_statuses(self, tenant_id: str, project_id: str, counted: Sequence[str]) -> list[KnownStatus]:
        """Return what can be known of a survey's mails; an empty answer means the platform's own report."""
        return self._gather("survey_known_statuses", tenant_id=tenant_id, project_id=project_id, counted=counted)

    def statuses(
        self, tenant_id: str, project_id: str, references: Sequence[str] | None = None
    ) -> Iterable[InvitationStatus]:
        """Stream the statuses of a survey's invitations, newest batch first."""
        answers = self._fire(
            "survey_invitation_statuses",
            tenant_id=tenant_id,
            project_id=project_id,
            references=references,
            wanted=None,
        )
        return (status for answer in answers for status in answer or ())

    def project_deleted(self, tenant_id: str, project_id: str) -> None:
        """Announce, inside the transaction, that a survey is deleted."""
        self._fire("survey_project_deleted", tenant_id=tenant_id, project_id=project_id)

    def person_deleted(self, tenant_id: str, address: str) -> None:
        """Announce, inside the transaction, that a person's data must be erased."""
        self._fire("survey_person_deleted", tenant_id=tenant_id, address=address)

    def tenant_deleted(self, tenant_id: str) -> None:
        """Announce, inside the transaction, that a tenant is deleted."""
        self._fire("survey_tenant_deleted", tenant_id=tenant_id)


def init_app(app: Flask) -> Plugins:
    """Load the plugins of `app` and pass it to them. Call it last: they rely on everything else."""
    plugins = Plugins(_manager(app, PROJECT) if PROJECT else None)
    app.extensions["survey_plugins"] = plugins
    plugins._fire("survey_init_app", app=app, db=db, plugins=plugins.manager)
    return plugins


def _manager(app: Flask, project: str) -> Any:
    # Both come with the contract, and neither is needed without it.
    import pluggy

    from survey_host import host_hooks

    manager = pluggy.PluginManager(project)
    manager.register(host_hooks, "survey_host")
    if app.config["SURVEY_LOAD_PLUGINS"]:
        manager.load_setuptools_entrypoints(GROUP)
    return manager


def current() -> Plugins:
    """Return the plugins of the current application."""
    plugins: Plugins = current_app.extensions["survey_plugins"]
    return plugins
