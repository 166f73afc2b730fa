"""Hook specifications that a host implements. None is a must: each has a default for a single-tenant host."""

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
    """Return the person behind the current request.

    Called in the web process, inside a request, before every page. `None` means that nobody is signed in: the page
    answers 401. Without an implementation nobody is, and every page but the confirmation link is closed.
    """


@hookspec(firstresult=True)
def own_smtp_sign_in_url(next_path: str) -> str | None:
    """Return the address of the platform's sign-in, which leads on to `next_path` afterwards.

    Called in the web process, inside a request of somebody who is not signed in. `next_path` is a path of this
    platform, with a query perhaps. `None` means that there is no such page: who is not signed in is told to do so.
    """


@hookspec(firstresult=True)
def own_smtp_may(actor: Actor, action: Action, project_id: str | None) -> bool | None:
    """Return whether `actor` may do `action` in the actor's own tenant.

    Called in the web process, inside a request. `project_id` is given for actions on one project, else `None`.
    `None` as the answer of every implementation means no, except that `Action.VIEW` is allowed.
    """


@hookspec(firstresult=True)
def own_smtp_tenant(tenant_id: str) -> Tenant | None:
    """Return the tenant's name, language and time zone.

    Called in the web process and in workers, outside transactions. `None` means that the id itself is shown, in
    English and UTC.
    """


@hookspec(firstresult=True)
def own_smtp_tenants() -> Iterable[Tenant] | None:
    """Return all tenants of the platform, in the order in which its administrators expect them.

    Called in the web process, inside a request, for `Action.ADMINISTER` only. `None` means that only those are known
    that have mail servers.
    """


@hookspec(firstresult=True)
def own_smtp_people(tenant_id: str) -> Iterable[Person] | None:
    """Return the tenant's people who send invitations, in the order in which the tenant expects them.

    Called in the web process, inside a request. `None` means that only the acting person is known.
    """


@hookspec(firstresult=True)
def own_smtp_user_name(tenant_id: str, user_id: str) -> str | None:
    """Return what a person is called who once did something in the tenant.

    Called in the web process, inside a request. `None` means that the person is called as `own_smtp_people` or
    `own_smtp_actor` says, else by the id.
    """


@hookspec(firstresult=True)
def own_smtp_projects(tenant_id: str) -> Iterable[Project] | None:
    """Return the tenant's projects in the order in which the tenant expects them.

    Called in the web process, inside a request. `None` means that the tenant has none.
    """


@hookspec(firstresult=True)
def own_smtp_notice_recipients(tenant_id: str, relay_id: int) -> Iterable[str] | None:
    """Return the addresses of the tenant's people whom the platform mails about a relay's problems.

    Called in workers, outside transactions, where the host has neither `own_smtp_relay_changed` nor
    `own_smtp_relay_alert`. The mails quote the relay's name and its server's replies, which the tenant chooses: return
    only addresses that belong to the tenant's people. `None` means the person who last saved the relay.
    """


@hookspec(firstresult=True)
def own_smtp_send_platform_mail(mail: PlatformMail) -> bool | None:
    """Send `mail` through the platform's own mail service and return `True`.

    Called in workers and in the web process, never inside a transaction. `None` means that the host's Flask-Mail
    sends it, where there is one.
    """


@hookspec
def own_smtp_invitations_changed(changes: Sequence[InvitationStatus]) -> None:
    """Take note that invitations changed their state.

    Called in a worker, after the change was committed, outside any transaction, with at most 1,000 changes. At least
    once for each change: after an exception, or when the worker died, the same changes come again, so an
    implementation must bear repetition. Commit what you write.
    """


@hookspec
def own_smtp_relay_changed(change: RelayChange) -> None:
    """Take note that a relay was activated, paused or resumed.

    Called in the web process or in a worker, after the change was committed, outside any transaction. What came by
    itself (`is_automatic`) is told again after an exception, a few minutes later, as long as it is still true.
    """


@hookspec
def own_smtp_relay_alert(alert: RelayAlert) -> None:
    """Take note that something is wrong with a relay, or right again.

    Called in a worker, outside any transaction, once for each cause and once when it is over; again after an exception.
    """


@hookspec(firstresult=True)
def own_smtp_layout() -> str | None:
    """Return the name of the template that Own SMTP's pages extend.

    Called in the web process, once per page. The template must offer the blocks `title` and `content`. `None` means
    Own SMTP's own layout.
    """
