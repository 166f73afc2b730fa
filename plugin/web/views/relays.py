"""The pages of a tenant's mail servers."""

from __future__ import annotations

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.errors import LimitError
from own_smtp.forms.base import arguments
from own_smtp.forms.relay import UNUSUAL, RelayForm
from own_smtp.forms.reroute import RerouteForm
from own_smtp.hooks.events import Action
from own_smtp.i18n import gettext, zone_of
from own_smtp.operations import relay_service
from own_smtp.relays import edits, project_routes, store, suggestions
from own_smtp.relays.dry_runs import Kept
from own_smtp.relays.presets import PRESETS
from own_smtp.reporting import hourly_stats, reports
from own_smtp.reporting.chart_texts import Picture, health_picture
from own_smtp.reporting.charts import health_since
from own_smtp.reporting.limit_texts import pace_texts, window_texts
from own_smtp.reporting.relay_health import health_of
from own_smtp.smtp.values import is_reply
from own_smtp.states import WITHOUT_WORDS
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Relay
from own_smtp.web import user_names
from own_smtp.web.access import acting, current_actor, require_admission, requires
from own_smtp.web.pages import ButtonForm, blueprint, check_button, db_session, note, render, tenant
from own_smtp.web.relay_panel import RelayPanel, relay_panel
from own_smtp.web.relay_saving import back_to, save
from own_smtp.web.reroute import announce_settled, choice_of
from own_smtp.web.views import dry_runs


@blueprint.route("/servers/new", methods=["GET", "POST"])
@requires(Action.EDIT)
def new_relay() -> ResponseReturnValue:
    """Create a server."""
    require_admission()
    session = db_session()
    test, tested = dry_runs.tested_settings(session, None)
    zone = zone_of(tenant().timezone).key
    preset = arguments().get("preset")
    form = RelayForm(settings=extension().in_force(), timezone=zone, preset=preset, tested=tested)
    if not form.validate_on_submit() or not _has_password(form, None):
        return _form_page(form, None)
    if dry_runs.is_wanted():
        return dry_runs.begin(Kept(form.draft(), form.typed()), None) or _form_page(form, None)
    return save(None, form.draft(), test)


@blueprint.route("/servers/<int:relay_id>/edit", methods=["GET", "POST"])
@requires(Action.EDIT)
def edit_relay(relay_id: int) -> ResponseReturnValue:
    """Change a server. A new password of a confirmed one is tested before it is saved."""
    session, actor = db_session(), current_actor()
    relay = store.get_relay(session, actor.tenant_id, relay_id)
    require_admission()
    test, tested = dry_runs.tested_settings(session, relay)
    form = RelayForm(settings=extension().in_force(), relay=relay, preset=arguments().get("preset"), tested=tested)
    if not form.validate_on_submit() or not _has_password(form, relay):
        return _form_page(form, relay)
    draft = form.draft()
    saves = not dry_runs.is_wanted()
    if saves and (not edits.is_password_only(relay, draft) or dry_runs.covers_draft(test, tested, draft)):
        return save(relay, draft, test)
    answer = dry_runs.begin(Kept(draft, form.typed()), relay, saves=saves)
    if answer is None:
        return save(relay, draft, test) if saves else _form_page(form, relay)
    return answer


def _form_page(form: RelayForm, relay: Relay | None) -> ResponseReturnValue:
    unusual = " ".join(sorted(f"{security}:{port}" for security, port in UNUSUAL))
    page = render("relay_form.html", form=form, relay=relay, presets=PRESETS.values(), unusual=unusual)
    return page, 422 if form.is_submitted() else 200


def _has_password(form: RelayForm, relay: Relay | None) -> bool:
    """Require the password when the draft would use the stored one for another server or user."""
    if not edits.needs_password(relay, form.draft()):
        return True
    form.password.errors = (
        gettext("Type the password again: the server, its port, its encryption or the user changed."),
    )
    return False


@blueprint.get("/servers/<int:relay_id>")
@requires(Action.VIEW)
def show_relay(relay_id: int) -> ResponseReturnValue:
    """Show one server: its state and the next step."""
    panel = _panel(relay_id)
    needs_queue = panel.waiting or (panel.mail and panel.mail.next_attempt_at)
    return render(
        "relay.html",
        panel=panel,
        relay=panel.relay,
        button=ButtonForm(),
        pace=pace_texts(panel.relay),
        windows=window_texts(panel.relay),
        users=project_routes.using(db_session(), relay_id),
        health=_health(relay_id),
        for_whom=suggestions.by_relay(db_session(), panel.relay.tenant_id).get(relay_id),
        name_of=user_names.name_of,
        titles={item.project_id: item.title for item in extension().host.projects(panel.relay.tenant_id)},
        without_words=WITHOUT_WORDS,
        is_reply=is_reply,
        condition=health_of(db_session(), panel.relay, extension().settings.certificate_warning),
        queue_is_up=not needs_queue or extension().queue_is_up(),
    )


def _health(relay_id: int) -> Picture:
    session, timezone = db_session(), tenant().timezone
    now = read_clock(session.connection())
    return health_picture(hourly_stats.of_relay(session, relay_id, health_since(now, zone_of(timezone))), timezone, now)


@blueprint.get("/servers/<int:relay_id>/status")
@requires(Action.VIEW)
def relay_status(relay_id: int) -> ResponseReturnValue:
    """Return whether the page would look different now; the page's script polls it."""
    return {"version": _panel(relay_id).version}


def _panel(relay_id: int) -> RelayPanel:
    session, tenant_id = db_session(), current_actor().tenant_id
    relay = store.get_relay(session, tenant_id, relay_id)
    waiting = reports.waiting_by_relay(session, tenant_id).get(relay_id, 0)
    return relay_panel(session, extension().in_force(), relay, waiting)


@blueprint.post("/servers/<int:relay_id>/confirmation")
@requires(Action.TEST)
def send_confirmation_again(relay_id: int) -> ResponseReturnValue:
    """Send the confirmation mail again, unless that was done a moment ago."""
    _check_press(relay_id)
    require_admission()
    try:
        relay_service.request_confirmation(extension(), acting(), relay_id)
    except LimitError as error:
        note(str(error), "warning")
    return back_to(relay_id)


@blueprint.post("/servers/<int:relay_id>/pause")
@requires(Action.EDIT)
def pause_relay(relay_id: int) -> ResponseReturnValue:
    """Pause a server; its invitations wait."""
    _check_press(relay_id)
    relay_service.pause(extension(), acting(), relay_id)
    return back_to(relay_id)


@blueprint.post("/servers/<int:relay_id>/resume")
@requires(Action.EDIT)
def resume_relay(relay_id: int) -> ResponseReturnValue:
    """Resume a paused server; with `refusals=accept` its refusals are taken as being about the recipients."""
    _check_press(relay_id)
    accepts = arguments().get("refusals") == "accept"
    relay_service.resume(extension(), acting(), relay_id, accepts_refusals=accepts)
    return back_to(relay_id)


@blueprint.route("/servers/<int:relay_id>/delete", methods=["GET", "POST"])
@requires(Action.EDIT)
def delete_relay(relay_id: int) -> ResponseReturnValue:
    """Ask for confirmation and for a choice on waiting invitations; then delete the server."""
    session, actor = db_session(), current_actor()
    relay = store.get_relay(session, actor.tenant_id, relay_id)
    waiting = reports.waiting_by_relay(session, actor.tenant_id).get(relay_id, 0)
    others = [other for other in store.list_relays(session, actor.tenant_id) if other.id != relay_id]
    form: RerouteForm | ButtonForm = RerouteForm(others, can_stay=False) if waiting else ButtonForm()
    if not form.validate_on_submit():
        users = project_routes.using(session, relay_id)
        page = render("relay_delete.html", relay=relay, form=form, waiting=waiting, users=users)
        return page, 422 if form.is_submitted() else 200
    label = relay.label
    choice = choice_of(form) if isinstance(form, RerouteForm) else None
    settled = relay_service.delete(extension(), acting(), relay_id, choice)
    if choice is not None:
        announce_settled(choice, settled)
    note(gettext("“%(label)s” is deleted.", label=label), "success")
    return redirect(url_for("own_smtp.overview"))


def _check_press(relay_id: int) -> None:
    """Reject a button that was pressed on another site, or for another tenant's server."""
    store.get_relay(db_session(), current_actor().tenant_id, relay_id)
    check_button()
