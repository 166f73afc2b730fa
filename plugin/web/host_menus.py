"""Links and sender choices for the host's own pages and menus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flask import has_request_context, url_for
from sqlalchemy.orm import Session

from own_smtp.current import Host
from own_smtp.hooks.events import Action, InvitationBatch, Link, SenderChoice
from own_smtp.i18n import gettext
from own_smtp.relays import store, suggestions
from own_smtp.relays.policy import Policy
from own_smtp.relays.routing import sender_choices
from own_smtp.smtp.network import NetworkPolicy


def settings_links(host: Host, tenant_id: str) -> list[Link]:
    """Return the link to the settings page, for people who may see it."""
    if not _may_view(host, tenant_id, None):
        return []
    return [Link(key="own_smtp", label=gettext("Own SMTP server"), url=url_for("own_smtp.overview"))]


def project_links(host: Host, tenant_id: str, project_id: str) -> list[Link]:
    """Return the links to the project's page and its report, for people who may see them."""
    if not _may_view(host, tenant_id, project_id):
        return []
    return [
        Link(
            key="own_smtp_project",
            label=gettext("Own SMTP server"),
            url=url_for("own_smtp.show_project", project_id=project_id),
        ),
        Link(
            key="own_smtp_report",
            label=gettext("Delivery report"),
            url=url_for("own_smtp.show_report", project_id=project_id),
        ),
    ]


def batch_url(batch: InvitationBatch, batch_id: int) -> str | None:
    """Return the address of a batch's page; `None` outside a request, where no address can be built."""
    if not has_request_context():
        return None
    return url_for("own_smtp.show_batch", project_id=batch.project_id, batch_id=batch_id)


def _may_view(host: Host, tenant_id: str, project_id: str | None) -> bool:
    actor = host.actor()
    return actor is not None and actor.tenant_id == tenant_id and host.may(actor, Action.VIEW, project_id)


def senders(session: Session, host: Host, policy: Policy, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
    """Return the relays that the acting person may use in a project; outside a request all that the tenant may.

    A person who may not choose the project's route is offered the chosen one only. If the policy excludes the tenant,
    the chosen one is offered with the reason why it cannot be used.
    """
    actor = host.actor() if has_request_context() else None
    if has_request_context() and (actor is None or actor.tenant_id != tenant_id):
        return []
    reason = refusal(session, policy, tenant_id)
    if reason is not None:
        chosen = sender_choices(session, tenant_id, project_id, only_chosen=True)
        return [replace(choice, is_available=False, reason=reason) for choice in chosen]
    if actor is None:
        return sender_choices(session, tenant_id, project_id)
    if not host.may(actor, Action.ENABLE, project_id):
        return sender_choices(session, tenant_id, project_id, only_chosen=True)
    suggested = suggestions.suggested(session, tenant_id, project_id, actor.user_id)
    return sender_choices(session, tenant_id, project_id, suggested=suggested)


def has_pages(session: Session, host: Host, policy: Policy, tenant_id: str) -> bool:
    """Return whether a tenant has any use for the pages: not when the policy excludes it and it has no servers.

    Administrators of the platform always have, because they find the platform's pages there.
    """
    if _admits(session, policy, tenant_id) or store.list_relays(session, tenant_id):
        return True
    actor = host.actor()
    return actor is not None and host.may(actor, Action.ADMINISTER)


def refusal(session: Session, policy: Policy, tenant_id: str) -> str | None:
    """Return why the policy excludes a tenant's own servers; `None` when it does not."""
    if _admits(session, policy, tenant_id):
        return None
    return gettext("This platform does not offer own mail servers to your account at present.")


def _admits(session: Session, policy: Policy, tenant_id: str) -> bool:
    return NetworkPolicy.from_settings(policy.in_force(session)).admits(tenant_id)
