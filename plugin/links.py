"""The pages of Own SMTP, for the host's menus."""

from __future__ import annotations

from flask import has_request_context, url_for

from own_smtp.current import Host
from own_smtp.hooks.events import Action, InvitationBatch, Link
from own_smtp.texts import gettext


def settings_links(host: Host, tenant_id: str) -> list[Link]:
    """Return the settings page, for people who may see it."""
    if not _may_view(host, tenant_id, None):
        return []
    return [Link(key="own_smtp", label=gettext("Own SMTP server"), url=url_for("own_smtp.overview"))]


def project_links(host: Host, tenant_id: str, project_id: str) -> list[Link]:
    """Return the project's page and its report, for people who may see them."""
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
    """Return the page of a sending; `None` outside a request, where no address can be made."""
    if not has_request_context():
        return None
    return url_for("own_smtp.show_batch", project_id=batch.project_id, batch_id=batch_id)


def _may_view(host: Host, tenant_id: str, project_id: str | None) -> bool:
    actor = host.actor()
    return actor is not None and actor.tenant_id == tenant_id and host.may(actor, Action.VIEW, project_id)
