"""The pages of a tenant's mail servers."""

from __future__ import annotations

from flask import redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from own_smtp import confirmations, projects, relay_edits, relays, reports
from own_smtp.access import current_actor, insist_on_admission, requires
from own_smtp.clock import read_clock
from own_smtp.current import extension
from own_smtp.errors import ConflictError
from own_smtp.forms.leftovers import LeftoversForm
from own_smtp.forms.relay import RelayForm
from own_smtp.hooks.events import Action, RelayChange
from own_smtp.leftovers import settle_leftovers
from own_smtp.models import Relay
from own_smtp.moves import Scope
from own_smtp.pages import ButtonForm, blueprint, note, render, tenant
from own_smtp.presets import PRESETS
from own_smtp.relay_views import RelayPanel, pace_texts, panel_of, window_texts
from own_smtp.states import PauseReason, RelayState
from own_smtp.texts import gettext, zone_of


@blueprint.route("/servers/new", methods=["GET", "POST"])
@requires(Action.EDIT)
def new_relay() -> ResponseReturnValue:
    """Enter a new server."""
    insist_on_admission()
    zone = zone_of(tenant().timezone).key
    form = RelayForm(settings=extension().in_force(), timezone=zone, preset=request.args.get("preset"))
    if not form.validate_on_submit() or not _has_password(form, None):
        return _form_page(form, None)
    session, actor = _session(), current_actor()
    relay = relay_edits.create(
        session,
        extension().vault,
        actor.tenant_id,
        form.draft(),
        user_id=actor.user_id,
        ceiling=extension().in_force().relays_per_tenant,
    )
    return _saved(session, form, relay, is_locked=True)


@blueprint.route("/servers/<int:relay_id>/edit", methods=["GET", "POST"])
@requires(Action.EDIT)
def edit_relay(relay_id: int) -> ResponseReturnValue:
    """Change a server."""
    session, actor = _session(), current_actor()
    relay = relays.get(session, actor.tenant_id, relay_id)
    insist_on_admission()
    form = RelayForm(settings=extension().in_force(), relay=relay, preset=request.args.get("preset"))
    if not form.validate_on_submit() or not _has_password(form, relay):
        return _form_page(form, relay)
    was = relay.state
    locks = relay_edits.change(session, extension().vault, relay, form.draft(), user_id=actor.user_id)
    is_unsaid = relay.state != was
    answer = _saved(session, form, relay, is_locked=locks)
    if is_unsaid:
        _tell(relay)
    return answer


def _form_page(form: RelayForm, relay: Relay | None) -> ResponseReturnValue:
    page = render("relay_form.html", form=form, relay=relay, presets=PRESETS.values())
    return page, 422 if form.is_submitted() else 200


def _has_password(form: RelayForm, relay: Relay | None) -> bool:
    """Refuse a draft that must not reach the stored password's server, or another, without its password."""
    if not relay_edits.needs_password(relay, form.draft()):
        return True
    form.password.errors = (
        gettext("Type the password again: the server, its port, its encryption or the user changed."),
    )
    return False


def _saved(session: Session, form: RelayForm, relay: Relay, *, is_locked: bool) -> ResponseReturnValue:
    if is_locked:
        _request_confirmation(session, relay)
    else:
        session.commit()
        extension().wake(relay.id)
        note(gettext("Saved."), "success")
    if form.is_unusual:
        note(
            gettext("Encryption and port rarely go together like this. STARTTLS goes with 587, implicit TLS with 465."),
            "warning",
        )
    return _back_to(relay.id)


def _request_confirmation(session: Session, relay: Relay) -> None:
    """Commit, with a confirmation mail unless the tenant caused too many of them."""
    try:
        confirmation = confirmations.request(session, extension().settings, relay, user_id=current_actor().user_id)
    except ConflictError as error:
        session.commit()
        note(str(error), "warning")
        return
    session.commit()
    extension().enqueue("send_confirmation", confirmation.id)


@blueprint.get("/servers/<int:relay_id>")
@requires(Action.VIEW)
def show_relay(relay_id: int) -> ResponseReturnValue:
    """Show one server: its state and what to do now."""
    panel = _panel(relay_id)
    needs_queue = panel.waiting or (panel.mail and panel.mail.next_attempt_at)
    return render(
        "relay.html",
        panel=panel,
        relay=panel.relay,
        button=ButtonForm(),
        pace=pace_texts(panel.relay),
        windows=window_texts(panel.relay),
        users=projects.using(_session(), relay_id),
        queue_is_up=not needs_queue or extension().queue_is_up(),
    )


@blueprint.get("/servers/<int:relay_id>/status")
@requires(Action.VIEW)
def relay_status(relay_id: int) -> ResponseReturnValue:
    """Say whether the page would look different now; asked by the page's script."""
    return {"version": _panel(relay_id).version}


def _panel(relay_id: int) -> RelayPanel:
    session, tenant_id = _session(), current_actor().tenant_id
    relay = relays.get(session, tenant_id, relay_id)
    waiting = reports.waiting_by_relay(session, tenant_id).get(relay_id, 0)
    return panel_of(session, extension().in_force(), relay, waiting)


@blueprint.post("/servers/<int:relay_id>/confirmation")
@requires(Action.TEST)
def send_confirmation_again(relay_id: int) -> ResponseReturnValue:
    """Send the confirmation mail once more, unless that was done a moment ago."""
    relay, session = _pressed(relay_id), _session()
    insist_on_admission()
    if relay.state != RelayState.UNCONFIRMED:
        raise ConflictError(gettext("This server is confirmed already."))
    again_at = confirmations.cooldown_until(confirmations.latest(session, relay.id), extension().settings)
    if again_at and again_at > read_clock(session.connection()):
        note(gettext("A mail was asked for just now. Please wait a moment."), "warning")
    else:
        _request_confirmation(session, relay)
    return _back_to(relay_id)


@blueprint.post("/servers/<int:relay_id>/pause")
@requires(Action.EDIT)
def pause_relay(relay_id: int) -> ResponseReturnValue:
    """Stop a server; what waits for it keeps waiting."""
    relay, session = _pressed(relay_id), _session()
    done = relays.pause(session, relay_id, PauseReason.PERSON, "", None, user_id=current_actor().user_id)
    return _moved(session, relay, is_new=done)


@blueprint.post("/servers/<int:relay_id>/resume")
@requires(Action.EDIT)
def resume_relay(relay_id: int) -> ResponseReturnValue:
    """Let a paused server go on."""
    relay, session = _pressed(relay_id), _session()
    done = relays.resume(session, relay_id, user_id=current_actor().user_id)
    return _moved(session, relay, is_new=done)


def _moved(session: Session, relay: Relay, *, is_new: bool) -> ResponseReturnValue:
    session.commit()
    if is_new:
        session.refresh(relay)
        extension().wake(relay.id)
        _tell(relay)
    return _back_to(relay.id)


@blueprint.route("/servers/<int:relay_id>/delete", methods=["GET", "POST"])
@requires(Action.EDIT)
def delete_relay(relay_id: int) -> ResponseReturnValue:
    """Ask once more, and what becomes of invitations that wait for it; then delete."""
    session, actor = _session(), current_actor()
    relay = relays.get(session, actor.tenant_id, relay_id)
    waiting = reports.waiting_by_relay(session, actor.tenant_id).get(relay_id, 0)
    others = [other for other in relays.listed(session, actor.tenant_id) if other.id != relay_id]
    form: LeftoversForm | ButtonForm = LeftoversForm(others, can_stay=False) if waiting else ButtonForm()
    if not form.validate_on_submit():
        users = projects.using(session, relay_id)
        page = render("relay_delete.html", relay=relay, form=form, waiting=waiting, users=users)
        return page, 422 if form.is_submitted() else 200
    scope = Scope(tenant_id=actor.tenant_id, relay_id=relay_id)
    to_wake = settle_leftovers(session, form, scope) if isinstance(form, LeftoversForm) else []
    relay_edits.delete(session, relay, user_id=actor.user_id)
    session.commit()
    for woken in (relay_id, *to_wake):
        extension().wake(woken)
    note(gettext("“%(label)s” is deleted.", label=relay.label), "success")
    return redirect(url_for("own_smtp.overview"))


def _pressed(relay_id: int) -> Relay:
    """Return the relay whose button was pressed."""
    relay = relays.get(_session(), current_actor().tenant_id, relay_id)
    if not ButtonForm().validate_on_submit():
        raise ConflictError(gettext("This page was open for too long. Go back, reload it and try again."))
    return relay


def _tell(relay: Relay) -> None:
    """Tell the host, after the commit."""
    change = RelayChange(
        relay_id=relay.id,
        tenant_id=relay.tenant_id,
        label=relay.label,
        state=relay.state,
        reason=relay.pause_reason,
    )
    extension().host.relay_changed(change)


def _session() -> Session:
    return extension().db.session()


def _back_to(relay_id: int) -> ResponseReturnValue:
    return redirect(url_for("own_smtp.show_relay", relay_id=relay_id))
