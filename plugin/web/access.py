"""Access to pages: the only place that asks the host for permissions."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask import abort, g, request

from own_smtp.current import extension
from own_smtp.errors import AddressError, ConflictError, NotFoundError
from own_smtp.hooks.events import Action, Actor, Project
from own_smtp.i18n import gettext
from own_smtp.operations.acts import Acting
from own_smtp.smtp.addresses import parse_address
from own_smtp.smtp.network import NetworkPolicy

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")


def current_actor() -> Actor:
    """Return the person behind the request. Only for pages behind `requires`."""
    actor: Actor = g.own_smtp_actor
    return actor


def acting() -> Acting:
    """Return the person behind the request as the acts of `own_smtp.operations` take it. Only for pages behind
    `requires`.
    """
    actor = current_actor()
    return Acting(tenant_id=actor.tenant_id, user_id=actor.user_id, address=own_address() or None)


def own_address() -> str:
    """Return the acting person's address; empty when the host gives no valid one."""
    try:
        return parse_address(current_actor().email)
    except AddressError:
        return ""


def requires(action: Action) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Require `action`: 401 when signed out, 403 when not permitted.

    With `project_id` in the page's address the action is checked for that project; the page answers 404 when the
    actor's tenant has no such project.
    """

    def guard(page: Callable[P, R]) -> Callable[P, R]:
        @wraps(page)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
            project_id = kwargs.get("project_id")
            _enter(action, project_id if isinstance(project_id, str) else None)
            return page(*args, **kwargs)

        return guarded

    return guard


def _enter(action: Action, project_id: str | None) -> None:
    actor = extension().host.actor()
    if actor is None:
        abort(401)
    g.own_smtp_actor = actor
    if project_id is not None:
        g.own_smtp_project = find_project(actor.tenant_id, project_id)
    if not extension().host.may(actor, action, project_id):
        log.warning(
            "User %s of tenant %s may not %s at %s.",
            ascii(actor.user_id),
            ascii(actor.tenant_id),
            action,
            request.endpoint,
        )
        abort(403)


def is_admitted(tenant_id: str) -> bool:
    """Return whether the platform's policy lets a tenant use its own mail servers."""
    return NetworkPolicy.from_settings(extension().in_force()).admits(tenant_id)


def require_admission() -> None:
    """Raise `ConflictError` when the policy does not let the tenant use its own mail servers."""
    if not is_admitted(current_actor().tenant_id):
        raise ConflictError(gettext("This platform does not offer own mail servers to your account at present."))


def current_project() -> Project:
    """Return the project in the page's address. Only for pages behind `requires`."""
    project: Project = g.own_smtp_project
    return project


def find_project(tenant_id: str, project_id: str) -> Project:
    """Return the tenant's project. Raises `NotFoundError` when the tenant has none with this id."""
    for project in extension().host.projects(tenant_id):
        if project.project_id == project_id and project.tenant_id == tenant_id:
            return project
    raise NotFoundError(f"There is no project {project_id}.")


def may(action: Action, project_id: str | None = None) -> bool:
    """Return whether the acting person may do `action`: decides what a page offers."""
    return extension().host.may(current_actor(), action, project_id)
