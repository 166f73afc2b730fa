"""Hook specifications that a host implements. All are optional: each has a default for a single-tenant host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from own_smtp.hooks.events import (
    Action,
    Actor,
    InvitationStatus,
    Person,
    PlatformMail,
    Project,
    RelayAlert,
    RelayChange,
    Tenant,
)
from own_smtp.hooks.markers import hookspec


@hookspec(firstresult=True)
def own_smtp_actor() -> Actor | None:
    """Return the signed-in person of the current request.

    Called in the web process, inside a request, before every page. `None` means signed out: the page returns 401.
    Without an implementation every request counts as signed out, and every page but the confirmation link is closed.
    """


@hookspec(firstresult=True)
def own_smtp_sign_in_url(next_path: str) -> str | None:
    """Return the URL of the platform's sign-in page, which continues to `next_path` afterwards.

    Called in the web process, inside a signed-out request. `next_path` is a path of this platform, possibly with a
    query. `None` means that there is no such page: an error page asks the person to sign in.
    """


@hookspec(firstresult=True)
def own_smtp_may(actor: Actor, action: Action, project_id: str | None) -> bool | None:
    """Return whether `actor` may do `action` in the actor's own tenant.

    Called in the web process, inside a request. `project_id` is given for actions on one project, else `None`. If every
    implementation returns `None`, only `Action.VIEW` is allowed.
    """


@hookspec(firstresult=True)
def own_smtp_tenant(tenant_id: str) -> Tenant | None:
    """Return the tenant's name, language and time zone.

    Called in the web process and in workers, outside transactions. `None` means the id as the name, English and UTC.
    """


@hookspec(firstresult=True)
def own_smtp_tenants() -> Iterable[Tenant] | None:
    """Return all tenants of the platform, in the order in which its administrators expect them.

    Called in the web process, inside a request, for `Action.ADMINISTER` only. `None` means that only tenants with mail
    servers are known.
    """


@hookspec(firstresult=True)
def own_smtp_people(tenant_id: str) -> Iterable[Person] | None:
    """Return the tenant's people who send invitations, in the order in which the tenant expects them.

    Called in the web process, inside a request. `None` means that only the acting person is known.
    """


@hookspec(firstresult=True)
def own_smtp_user_name(tenant_id: str, user_id: str) -> str | None:
    """Return the name of a person who has acted in the tenant.

    Called in the web process, inside a request. `None` means the name from `own_smtp_people` or `own_smtp_actor`, else
    the id.
    """


@hookspec(firstresult=True)
def own_smtp_projects(tenant_id: str) -> Iterable[Project] | None:
    """Return the tenant's projects in the order in which the tenant expects them.

    Called in the web process, inside a request. `None` means that the tenant has none.
    """


@hookspec(firstresult=True)
def own_smtp_notice_recipients(tenant_id: str, relay_id: int) -> Iterable[str] | None:
    """Return the addresses of the tenant's people who get notices about a relay's problems by email.

    Called in workers, outside transactions, for changes and alerts whose hook (`own_smtp_relay_changed`,
    `own_smtp_relay_alert`) the host does not implement. The emails quote the relay's name and its server's replies,
    which the tenant controls: return only addresses that belong to the tenant's people. `None` means the person who
    last saved the relay.
    """


@hookspec(firstresult=True)
def own_smtp_send_platform_mail(mail: PlatformMail) -> bool | None:
    """Send `mail` through the platform's own mail service and return `True`.

    Called in workers and in the web process, never inside a transaction. `None` means that the host's Flask-Mail sends
    it, if there is one.
    """


@hookspec
def own_smtp_invitations_changed(changes: Sequence[InvitationStatus]) -> None:
    """Process that invitations changed their state.

    Called in a worker, after the change was committed, outside any transaction, with at most 1,000 changes. At least
    once for each change: after an exception or a crash of the worker the same changes are delivered again, so an
    implementation must be idempotent. Commit your changes.
    """


@hookspec
def own_smtp_relay_changed(change: RelayChange) -> None:
    """Process that a relay was activated, paused or resumed.

    Called in the web process or in a worker, after the change was committed, outside any transaction. After an
    exception, automatic changes (`is_automatic`) are delivered again a few minutes later while they still apply.
    """


@hookspec
def own_smtp_relay_alert(alert: RelayAlert) -> None:
    """Process that a relay has a problem, or that it is over.

    Called in a worker, outside any transaction, once for each cause and once when it is over; again after an exception.
    """


@hookspec(firstresult=True)
def own_smtp_layout() -> str | None:
    """Return the name of the template that Own SMTP's pages extend.

    Called in the web process, once per page. The template must offer the blocks `title` and `content`. `None` means
    Own SMTP's own layout.
    """
