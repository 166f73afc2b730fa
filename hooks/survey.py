"""Hook specifications that a host fires. Own SMTP implements them; other plugins of the host may, too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from own_smtp.hooks.events import (
    Estimate,
    InvitationBatch,
    InvitationStatus,
    KnownStatus,
    Link,
    Receipt,
    ReportColumn,
    SenderChoice,
    StatusFilter,
)
from own_smtp.hooks.markers import hookspec


@hookspec
def survey_init_app(app: Any, db: Any, plugins: Any) -> None:
    """The application starts.

    Fired once per application, after its configuration is complete and before its first request. `app` is the
    `flask.Flask`, `db` its `flask_sqlalchemy.SQLAlchemy` and `plugins` the `pluggy.PluginManager` that the host's own
    hook implementations are registered with.
    """


@hookspec(firstresult=True)
def survey_send_invitations(batch: InvitationBatch) -> Receipt | None:
    """A person sends invitations or reminders.

    Fired in the web process, inside the host's own database transaction: the batch is accepted when the host commits,
    and discarded when it rolls back. Neither the network nor Redis is used before that. `None` means that no plugin
    accepts this batch, and the host sends it itself; its `invitations` have not been read then.
    """


@hookspec
def survey_settings_links(tenant_id: str) -> Sequence[Link]:
    """Return the pages for the tenant's settings menu.

    Fired in the web process, inside a request.
    """


@hookspec
def survey_project_links(tenant_id: str, project_id: str) -> Sequence[Link]:
    """Return the pages for one project's menu.

    Fired in the web process, inside a request.
    """


@hookspec
def survey_senders(tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
    """Return the senders that the "send" page of a project can offer beside the platform's own.

    Fired in the web process, inside a request: only senders that the acting person may use in this project are
    returned.
    """


@hookspec(firstresult=True)
def survey_estimate(
    tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None
) -> Estimate | None:
    """Estimate when `count` invitations would be sent if the host sent them now.

    Fired in the web process, inside a request: before sending, on the "send" page. `sender` is the `key` of a
    `SenderChoice`; `None` means the project's setting. `None` as the result means that no plugin would send them.
    """


@hookspec
def survey_known_statuses(tenant_id: str, project_id: str, counted: Sequence[str]) -> Sequence[KnownStatus]:
    """Return the availability of each status by each route, with the reason.

    Fired in the web process. `counted` are the statuses that the host counts itself, such as `opened` and `clicked`;
    they are `Knowledge.REPORTED` if the route leaves them to the host, and otherwise `Knowledge.NOT_KNOWN`.
    """


@hookspec
def survey_report_columns(tenant_id: str, project_id: str) -> Sequence[ReportColumn]:
    """Return the statuses that the project's report can show, and the reason for those that are not available.

    Fired in the web process. An empty result means that no plugin sends for this project: the host shows its own.
    """


@hookspec
def survey_invitation_statuses(
    tenant_id: str, project_id: str, references: Sequence[str] | None, wanted: StatusFilter | None
) -> Iterable[InvitationStatus]:
    """Return the statuses of the project's invitations, newest batch first.

    Fired anywhere inside an application context. `references` restricts the result; `None` means all, read as a stream.
    `wanted` filters it further, and pages through it; `None` means no filter.
    """


@hookspec
def survey_project_deleted(tenant_id: str, project_id: str) -> None:
    """The host deletes a project.

    Fired inside the host's transaction. Waiting invitations are cancelled and all stored data of the project is deleted
    with it.
    """


@hookspec
def survey_tenant_deleted(tenant_id: str) -> None:
    """The host deletes a tenant.

    Fired inside the host's transaction. Waiting invitations are cancelled and all stored data of the tenant is deleted
    with it.
    """


@hookspec
def survey_person_deleted(tenant_id: str, address: str) -> None:
    """A person requests erasure.

    Fired inside the host's transaction. Waiting invitations to `address` in the tenant's projects are cancelled, and
    the person's address, name and values are deleted from all stored data; references, states and codes stay.
    """
