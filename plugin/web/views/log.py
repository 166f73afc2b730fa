"""The delivery log of a project and of a mail server: filter, pages, downloads and bulk actions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from flask import abort, redirect, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from own_smtp.current import extension
from own_smtp.errors import NotFoundError
from own_smtp.forms.base import arguments
from own_smtp.forms.log import LogFilter, SelectionForm
from own_smtp.hooks.events import Action, StatusFilter
from own_smtp.i18n import gettext, ngettext
from own_smtp.operations import batch_service
from own_smtp.outbox import bulk_actions
from own_smtp.outbox.bulk_actions import STATES, Deed, Selection
from own_smtp.outbox.query import LogScope
from own_smtp.outbox.recipient_search import with_shortened
from own_smtp.relays import store
from own_smtp.reporting import delivery_log, exports
from own_smtp.reporting.reports import project_batch
from own_smtp.reporting.state_counts import ANY_ROUTE_LABELS, state_label
from own_smtp.storage.models import Relay
from own_smtp.web.access import acting, current_actor, current_project, may, requires
from own_smtp.web.pages import blueprint, db_session, download, note, render, tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOwner:
    """The owner of a log: a project or a mail server."""

    scope: LogScope
    kind: str
    """`project` or `relay`: the prefix of its endpoints' names."""
    key: dict[str, Any]
    """The arguments of its URLs."""
    relay: Relay | None = None

    def url(self, page: str, filters: LogFilter | None = None, **more: Any) -> str:
        """Return the URL of one of its pages, with the same filter."""
        arguments = filters.arguments() if filters else {}
        return url_for(f"own_smtp.{self.kind}_log{page}", **self.key, **arguments, **more)


@blueprint.get("/projects/<path:project_id>/log")
@requires(Action.VIEW)
def project_log(project_id: str) -> ResponseReturnValue:
    """Show each invitation of a project with its attempts."""
    return _show(_of_project(project_id))


@blueprint.get("/servers/<int:relay_id>/log")
@requires(Action.VIEW)
def relay_log(relay_id: int) -> ResponseReturnValue:
    """Show each invitation for a mail server with its attempts, of the projects that the actor may see."""
    return _show(_of_relay(relay_id, Action.VIEW))


@blueprint.get(f"/projects/<path:project_id>/log/<any({exports.NAMES}):name>")
@requires(Action.VIEW)
def project_log_file(project_id: str, name: str) -> ResponseReturnValue:
    """Download the filtered log of a project."""
    return _download(_of_project(project_id), name)


@blueprint.get(f"/servers/<int:relay_id>/log/<any({exports.NAMES}):name>")
@requires(Action.VIEW)
def relay_log_file(relay_id: int, name: str) -> ResponseReturnValue:
    """Download the filtered log of a mail server."""
    return _download(_of_relay(relay_id, Action.VIEW), name)


@blueprint.post("/projects/<path:project_id>/log/selection")
@requires(Action.ENABLE)
def project_log_selection(project_id: str) -> ResponseReturnValue:
    """Send again or cancel selected invitations of a project."""
    return _act(_of_project(project_id))


@blueprint.post("/servers/<int:relay_id>/log/selection")
@requires(Action.VIEW)
def relay_log_selection(relay_id: int) -> ResponseReturnValue:
    """Send again or cancel selected invitations of a mail server, of the projects that the actor may change."""
    place = _of_relay(relay_id, Action.ENABLE)
    if not place.scope.project_ids:
        abort(403)
    return _act(place)


def _of_project(project_id: str) -> LogOwner:
    scope = LogScope(tenant_id=current_actor().tenant_id, project_ids=frozenset({project_id}))
    return LogOwner(scope=scope, kind="project", key={"project_id": project_id})


def _of_relay(relay_id: int, action: Action) -> LogOwner:
    tenant_id = current_actor().tenant_id
    relay = store.get_relay(db_session(), tenant_id, relay_id)
    allowed = (item.project_id for item in _projects() if may(action, item.project_id))
    scope = LogScope(tenant_id=tenant_id, project_ids=frozenset(allowed), relay_id=relay_id)
    return LogOwner(scope=scope, kind="relay", key={"relay_id": relay_id}, relay=relay)


def _show(place: LogOwner) -> ResponseReturnValue:
    filters = LogFilter(arguments(), ANY_ROUTE_LABELS)
    if not filters.validate():
        return _page(place, filters, None), 422
    wanted = _wanted(filters, place, after=arguments().get("after"))
    try:
        shown = delivery_log.page(db_session(), place.scope, wanted, before=arguments().get("before"))
    except ValueError as error:
        raise NotFoundError("There is no such place in the log.") from error
    return _page(place, filters, shown)


def _page(place: LogOwner, filters: LogFilter, shown: delivery_log.LogPage | None) -> str:
    return render(
        "log.html",
        **_common(place, filters),
        filters=filters,
        shown=shown,
        files=exports.FILES,
        may_change=_may_change(place),
        button=SelectionForm([], 0),
    )


def _common(place: LogOwner, filters: LogFilter) -> dict[str, Any]:
    return {
        "place": place,
        "url": lambda page, **more: place.url(page, filters, **more),
        "project": current_project() if place.kind == "project" else None,
        "relay": place.relay,
        "projects": {item.project_id: item.title for item in _projects()},
        "batch": _batch(place, filters),
        "labels": ANY_ROUTE_LABELS,
        "label_of": state_label,
        "Deed": Deed,
    }


def _batch(place: LogOwner, filters: LogFilter) -> Any:
    """Return the batch that the log is filtered by; `None` without such a filter, or in a server's log."""
    if not isinstance(filters.batch.data, int) or filters.batch.errors or place.kind != "project":
        return None
    return project_batch(db_session(), place.scope.tenant_id, place.key["project_id"], filters.batch.data)


def _may_change(place: LogOwner) -> bool:
    return any(may(Action.ENABLE, project_id) for project_id in place.scope.project_ids or ())


def _download(place: LogOwner, name: str) -> ResponseReturnValue:
    filters = LogFilter(arguments(), ANY_ROUTE_LABELS)
    if not filters.validate():
        return _page(place, filters, None), 422
    wanted, file = _wanted(filters, place), exports.FILES[name]

    def write(session: Session) -> Iterator[str]:
        return file.write(delivery_log.stream(session, place.scope, wanted))

    return download(write, f"own-smtp-{name}", file.mimetype)


def _act(place: LogOwner) -> ResponseReturnValue:
    filters = LogFilter(arguments(), ANY_ROUTE_LABELS)
    form = SelectionForm(list(Deed), delivery_log.PAGE)
    if not filters.validate() or not form.validate_on_submit():
        problems = [text for texts in form.errors.values() for text in texts]
        note(" ".join(map(str, problems)) or gettext("Please choose again."), "warning")
        return redirect(place.url("", filters if not filters.errors else None))
    deed, chosen = Deed(form.deed.data), _selection(place, form, _wanted(filters, place))
    if not form.confirmed.data or (deed is Deed.RESEND and not form.copies.data):
        return _ask(place, filters, form, deed, chosen)
    done = batch_service.perform(extension(), acting(), deed, chosen)
    _announce(deed, done)
    return redirect(place.url("", filters))


def _wanted(filters: LogFilter, place: LogOwner, after: str | None = None) -> StatusFilter:
    """Return the person's filter; it also finds recipients whose address was shortened."""
    wanted = filters.wanted(tenant().timezone, after=after)
    return with_shortened(wanted, extension().vault, place.scope.tenant_id)


def _selection(place: LogOwner, form: SelectionForm, wanted: StatusFilter) -> Selection:
    if form.everything.data:
        return Selection(scope=place.scope, wanted=wanted)
    return Selection(scope=place.scope, wanted=replace(wanted, states=()), ids=frozenset(form.ids.data))


def _ask(
    place: LogOwner, filters: LogFilter, form: SelectionForm, deed: Deed, chosen: Selection
) -> ResponseReturnValue:
    """Show the action and the number of invitations, and ask for confirmation; sending unknown ones again needs a tick
    too.
    """
    counts = bulk_actions.count_selected(db_session().connection(), chosen)
    meant = {state: number for state, number in counts.items() if state in STATES[deed]}
    left_alone = {state: number for state, number in counts.items() if state not in STATES[deed]}
    page = render(
        "log_confirm.html",
        **_common(place, filters),
        form=form,
        deed=deed,
        meant=meant,
        left_alone=left_alone,
        is_answered=bool(form.confirmed.data),
    )
    return page, 422 if form.confirmed.data else 200


def _announce(deed: Deed, done: bulk_actions.Done) -> None:
    say: Callable[[int], str] = _RESULT_TEXTS[deed]
    note(say(done.changed), "success" if done.changed else "warning")
    for reason, number in done.problems.items():
        left = ngettext("%(num)s invitation was left alone:", "%(num)s invitations were left alone:", number)
        note(f"{left} {reason}", "warning")


def _sent_again_text(number: int) -> str:
    return ngettext("%(num)s invitation is sent again.", "%(num)s invitations are sent again.", number)


def _cancelled_text(number: int) -> str:
    return ngettext("%(num)s invitation was cancelled.", "%(num)s invitations were cancelled.", number)


_RESULT_TEXTS = {Deed.RETRY: _sent_again_text, Deed.RESEND: _sent_again_text, Deed.CANCEL: _cancelled_text}


def _projects() -> Iterator[Any]:
    return iter(extension().host.projects(current_actor().tenant_id))
