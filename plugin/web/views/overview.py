"""The first page: the current routes, the possible routes, and a tenant's servers and projects."""

from __future__ import annotations

from collections.abc import Mapping

from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.forms.base import arguments
from own_smtp.hooks.events import Action, Project
from own_smtp.i18n import gettext, ngettext
from own_smtp.relays import project_routes, store, suggestions
from own_smtp.relays.sender_preview import appearance_of, platform_appearance
from own_smtp.reporting import relay_lists
from own_smtp.reporting.relay_lists import PAGE, RelayQuery, RelayStateFilter
from own_smtp.states import RelayState
from own_smtp.storage.models import ProjectRoute, Relay
from own_smtp.web import user_names
from own_smtp.web.access import current_actor, is_admitted, requires
from own_smtp.web.pages import blueprint, db_session, render


@blueprint.get("/")
@requires(Action.VIEW)
def overview() -> ResponseReturnValue:
    """Show the current routes, the tenant's servers and its projects."""
    session, tenant_id = db_session(), current_actor().tenant_id
    wanted, routes = requested(tenant_id), project_routes.list_routes(session, tenant_id)
    every = {relay.id: relay for relay in store.list_relays(session, tenant_id)}
    all_projects = list(extension().host.projects(tenant_id))
    found = [item for item in all_projects if wanted.text.lower() in item.title.lower()]
    return render(
        "overview.html",
        listing=relay_lists.find_relays(session, wanted),
        every=every,
        shown=_shown(every),
        suggested=suggestions.by_relay(session, tenant_id),
        name_of=user_names.name_of,
        titles={item.project_id: item.title for item in all_projects},
        routes=routes,
        users=_users(routes, every, all_projects),
        projects=found[(_projects_page() - 1) * PAGE : _projects_page() * PAGE],
        projects_page=_projects_page(),
        projects_pages=max(1, -(-len(found) // PAGE)),
        is_long=max(len(every), len(all_projects)) > PAGE // 2,
        sentence=_route_sentences(_users(routes, every, all_projects), every, is_admitted=is_admitted(tenant_id)),
        platform=platform_appearance(),
        appearance_of=appearance_of,
        is_admitted=is_admitted(tenant_id),
    )


def requested(tenant_id: str | None) -> RelayQuery:
    """Return the filter in the page's address. Invalid values are ignored."""
    show = arguments().get("show", RelayStateFilter.ALL, type=RelayStateFilter)
    page = max(1, min(arguments().get("page", 1, type=int), 10_000))
    return RelayQuery(tenant_id=tenant_id, text=arguments().get("q", "").strip()[:100], show=show, page=page)


def _projects_page() -> int:
    return max(1, min(arguments().get("projects", 1, type=int), 10_000))


def _users(
    routes: Mapping[str, ProjectRoute], every: Mapping[int, Relay], all_projects: list[Project]
) -> dict[str, Relay]:
    """Return the servers that projects send through, by project."""
    used = {item.project_id: routes[item.project_id].relay_id for item in all_projects if item.project_id in routes}
    return {project_id: every[relay_id] for project_id, relay_id in used.items() if relay_id and relay_id in every}


def _shown(every: Mapping[int, Relay]) -> Relay | None:
    """Return the server to show on the card: the default, else one that may send."""
    ranked = sorted(every.values(), key=lambda relay: (not relay.is_default, relay.state != RelayState.ACTIVE))
    return next(iter(ranked), None)


def _route_sentences(users: Mapping[str, Relay], every: Mapping[int, Relay], *, is_admitted: bool) -> str:
    """Describe the current routes in one sentence, and waiting invitations in another."""
    if not every:
        return gettext("In force now: all invitations leave by the platform's mail.")
    if not users:
        return gettext(
            "In force now: all invitations leave by the platform's mail. A server is used only where a project chooses"
            " it."
        )
    text = ngettext(
        "In force now: %(num)s project sends through an own server, all others by the platform's mail.",
        "In force now: %(num)s projects send through an own server, all others by the platform's mail.",
        len(users),
    )
    held = sum(not is_admitted or relay.state != RelayState.ACTIVE for relay in users.values())
    if not held:
        return text
    return f"{text} " + ngettext(
        "Invitations of %(num)s project wait, because its server may not send.",
        "Invitations of %(num)s projects wait, because their server may not send.",
        held,
    )
