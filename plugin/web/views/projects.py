"""The pages of one project: its route, and the report on its invitations."""

from __future__ import annotations

from flask import current_app, redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.forms.base import typed_fields
from own_smtp.forms.project import ProjectForm
from own_smtp.forms.reroute import RerouteForm
from own_smtp.hooks.events import Action
from own_smtp.i18n import gettext
from own_smtp.operations import project_service
from own_smtp.outbox import reroute
from own_smtp.outbox.reroute import Scope
from own_smtp.relays import project_routes, store, suggestions
from own_smtp.relays.platform_server import can_take_over
from own_smtp.relays.sender_preview import appearance_of, platform_appearance
from own_smtp.reporting import hourly_stats, reports
from own_smtp.reporting.chart_texts import code_lines, sending_picture
from own_smtp.reporting.known_statuses import STATUSES, hidden_by_own_server
from own_smtp.reporting.progress import Progress, progress_of
from own_smtp.reporting.reports import BatchSummary
from own_smtp.reporting.state_counts import Counts, state_label, status_sentence
from own_smtp.storage.models import ProjectRoute, Relay
from own_smtp.web import user_names
from own_smtp.web.access import acting, current_actor, current_project, may, require_admission, requires
from own_smtp.web.pages import blueprint, db_session, id_argument, note, render, tenant
from own_smtp.web.reroute import announce_settled, choice_of

CARDS = 9
"""Up to this number, routes are shown as cards; further servers are a list."""

MOST_UNDER_WAY = 5
"""The maximum number of running batches that are shown with their blockers."""


@blueprint.get("/projects/<path:project_id>/settings")
@requires(Action.VIEW)
def show_project(project_id: str) -> ResponseReturnValue:
    """Show the project's route, with the form for people who may change it."""
    actor = current_actor()
    route, suggested = project_routes.find_route(db_session(), actor.tenant_id, project_id), None
    if route is None and may(Action.ENABLE, project_id):
        suggested = suggestions.suggested(db_session(), actor.tenant_id, project_id, actor.user_id)
    return _project_page(
        project_id, ProjectForm(_ranked(route, suggested), route, suggested, can_fall_back=_can_fall_back()), suggested
    )


@blueprint.post("/projects/<path:project_id>/settings")
@requires(Action.ENABLE)
def route_project(project_id: str) -> ResponseReturnValue:
    """Choose the project's route, and settle invitations that wait for the previous one."""
    session, actor = db_session(), current_actor()
    form = ProjectForm(_relays(), None, can_fall_back=_can_fall_back())
    if not form.validate_on_submit():
        return _project_page(project_id, form), 422
    relay = store.get_relay(session, actor.tenant_id, form.relay_id) if form.relay_id is not None else None
    if relay is not None:
        require_admission()
    reroute_form = _reroute_form(project_id, relay)
    if reroute_form and not reroute_form.validate_on_submit():
        return _ask_about_waiting(form, reroute_form, relay)
    choice, consequence = choice_of(reroute_form) if reroute_form else None, _consequence(relay)
    routed = project_service.choose_route(
        extension(), acting(), project_id, form.relay_id, fallback_after=form.fallback_after, choice=choice
    )
    if choice is not None:
        announce_settled(choice, routed.settled)
    if routed.is_new:
        note(consequence, "success")
    return redirect(url_for("own_smtp.show_project", project_id=project_id))


def _reroute_form(project_id: str, relay: Relay | None) -> RerouteForm | None:
    """Return the form for waiting invitations; `None` when the route stays the same, or none wait."""
    session, tenant_id = db_session(), current_actor().tenant_id
    route = project_routes.find_route(session, tenant_id, project_id)
    relay_id = relay.id if relay else None
    if (route.relay_id if route else None) == relay_id:
        return None
    if not reroute.count_elsewhere(session.connection(), _scope(), relay_id):
        return None
    return RerouteForm([relay] if relay else [], can_stay=True)


def _scope() -> Scope:
    project = current_project()
    return Scope(tenant_id=project.tenant_id, project_id=project.project_id)


def _ask_about_waiting(form: ProjectForm, reroute_form: RerouteForm, relay: Relay | None) -> ResponseReturnValue:
    waiting = reroute.count_elsewhere(db_session().connection(), _scope(), relay.id if relay else None)
    is_answered = "is_answered" in typed_fields()
    if not is_answered:
        reroute_form.waiting.errors = ()  # only the route was posted
    page = render(
        "project_leave.html",
        project=current_project(),
        form=form,
        reroute_form=reroute_form,
        relay=relay,
        waiting=waiting,
        is_answered=is_answered,
    )
    return page, 422 if is_answered else 200


def _consequence(relay: Relay | None) -> str:
    if relay is None:
        return gettext("From now on invitations of this project leave by the platform's mail.")
    return gettext("From now on invitations of this project leave through “%(label)s”.", label=relay.label)


def _project_page(project_id: str, form: ProjectForm, suggested: Relay | None = None) -> str:
    session, tenant_id = db_session(), current_actor().tenant_id
    return render(
        "project.html",
        project=current_project(),
        form=form,
        suggested=suggested,
        cards=CARDS,
        can_fall_back=_can_fall_back(),
        route=project_routes.find_route(session, tenant_id, project_id),
        chosen=project_routes.relay_of(session, tenant_id, project_id),
        relays={str(relay.id): relay for relay in _relays()},
        appearances={str(relay.id): appearance_of(relay) for relay in _relays()} | {"platform": platform_appearance()},
        name_of=user_names.name_of,
        counts=reports.project_counts(session, tenant_id, project_id),
    )


@blueprint.get("/projects/<path:project_id>/report")
@requires(Action.VIEW)
def show_report(project_id: str) -> ResponseReturnValue:
    """Show the report on the project's invitations, and why no more is known."""
    session, tenant_id = db_session(), current_actor().tenant_id
    counts = reports.project_counts(session, tenant_id, project_id)
    batches = reports.project_batches(session, tenant_id, project_id)
    figures = hourly_stats.stats_of_project(session, tenant_id, project_id)
    under_way = _under_way(batches)
    return render(
        "report.html",
        sending=sending_picture(figures, tenant().timezone),
        codes=code_lines(figures),
        project=current_project(),
        counts=counts,
        batches=batches,
        under_way=under_way,
        queue_is_up=not counts.waiting or extension().queue_is_up(),
        refusals=reports.refusals(session, tenant_id, project_id, before=id_argument("before")),
        page=reports.PAGE,
        label_of=state_label,
        hidden=hidden_by_own_server(),
        statuses=STATUSES,
        sentence=status_sentence(counts),
        version=_version(counts, under_way),
    )


@blueprint.get("/projects/<path:project_id>/status")
@requires(Action.VIEW)
def report_status(project_id: str) -> ResponseReturnValue:
    """Return whether the report would look different now; the page's script polls it."""
    session, tenant_id = db_session(), current_actor().tenant_id
    counts = reports.project_counts(session, tenant_id, project_id)
    batches = reports.project_batches(session, tenant_id, project_id) if counts.waiting else []
    return {"version": _version(counts, _under_way(batches))}


def _version(counts: Counts, under_way: list[tuple[BatchSummary, Progress]]) -> str:
    return "|".join([counts.version, *(progress.version for _batch, progress in under_way)])


def _under_way(batches: list[BatchSummary]) -> list[tuple[BatchSummary, Progress]]:
    """Return the newest batches with waiting invitations, each with its progress."""
    waiting = [batch for batch in batches if batch.counts.waiting][:MOST_UNDER_WAY]
    if not waiting:
        return []
    settings, zone, queue_is_up = extension().in_force(), tenant().timezone, extension().queue_is_up()
    found = [
        (
            batch,
            progress_of(
                db_session(),
                settings,
                batch,
                closes_at=current_project().closes_at,
                timezone=zone,
                queue_is_up=queue_is_up,
            ),
        )
        for batch in waiting
    ]
    return [(batch, progress) for batch, progress in found if progress is not None]


def _ranked(route: ProjectRoute | None, suggested: Relay | None) -> list[Relay]:
    """Return the tenant's relays, with the current and the suggested one first."""
    in_front = {route.relay_id if route else None, suggested.id if suggested else None}
    return sorted(_relays(), key=lambda relay: relay.id not in in_front)


def _can_fall_back() -> bool:
    return can_take_over(current_app.config)


def _relays() -> list[Relay]:
    return list(store.list_relays(db_session(), current_actor().tenant_id))
