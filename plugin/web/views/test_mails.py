"""The page of a test mail: send it to the acting person, and watch it until the server has replied."""

from __future__ import annotations

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.errors import ConflictError
from own_smtp.forms.test_mail import TestMailForm
from own_smtp.hooks.events import Action, Content, InvitationStatus
from own_smtp.operations import trial_service
from own_smtp.relays import store, test_mails
from own_smtp.relays.test_mails import TestMail
from own_smtp.reporting.explanations import Explanation, explain
from own_smtp.reporting.state_counts import STATE_LABELS
from own_smtp.smtp.replies.queue_ids import queue_id
from own_smtp.smtp.replies.rules import SPEECHLESS
from own_smtp.states import WAITING, State
from own_smtp.storage.models import Lease, Relay
from own_smtp.web.access import acting, current_actor, own_address, require_admission, requires
from own_smtp.web.pages import blueprint, db_session, note, render, tenant


@blueprint.route("/servers/<int:relay_id>/test-mail", methods=["GET", "POST"])
@requires(Action.TEST)
def show_test_mail(relay_id: int) -> ResponseReturnValue:
    """Offer a test mail, send it, and show the state of the newest one."""
    session, actor = db_session(), current_actor()
    relay = store.get_relay(session, actor.tenant_id, relay_id)
    form = TestMailForm(extension().in_force(), own_address())
    if form.validate_on_submit() and form.recipient:
        _send(relay, form.recipient)
        return redirect(url_for("own_smtp.show_test_mail", relay_id=relay_id))
    mail = test_mails.newest(session, relay, actor.user_id)
    lease = session.get(Lease, relay.id)
    page = render(
        "test_mail.html",
        relay=relay,
        form=form,
        own=form.own,
        mail=mail,
        version=_version(relay, mail),
        is_open=mail is not None and mail.status.state in WAITING,
        labels=STATE_LABELS,
        explanation=_explained(mail.status) if mail else None,
        words=_words(mail.status) if mail else "",
        queue_id=queue_id(mail.status.reply_text or "") if mail and mail.status.state == State.ACCEPTED else None,
        next_at=lease.wake_at if lease else None,
        queue_is_up=mail is None or mail.status.state not in WAITING or extension().queue_is_up(),
    )
    return page, 422 if form.is_submitted() else 200


@blueprint.get("/servers/<int:relay_id>/test-mail/status")
@requires(Action.TEST)
def test_mail_status(relay_id: int) -> ResponseReturnValue:
    """Return whether the page would look different now; the page's script polls it."""
    session, actor = db_session(), current_actor()
    relay = store.get_relay(session, actor.tenant_id, relay_id)
    return {"version": _version(relay, test_mails.newest(session, relay, actor.user_id))}


def _send(relay: Relay, recipient: str) -> None:
    require_admission()
    try:
        trial_service.send_test_mail(extension(), acting(), relay.id, _content(relay), recipient)
    except ConflictError as error:
        note(str(error), "warning")


def _content(relay: Relay) -> Content:
    platform, person = extension().settings.platform_name, current_actor().name
    return test_mails.content_for(relay, tenant(), platform=platform, person=person)


def _version(relay: Relay, mail: TestMail | None) -> str:
    if mail is None:
        return str(relay.state)
    return f"{relay.state}|{mail.status.invitation_id}|{mail.status.state}|{mail.status.attempts}"


def _explained(status: InvitationStatus) -> Explanation | None:
    if status.stage is None or status.state == State.ACCEPTED:
        return None
    return explain(status.stage, status.reply_code, status.enhanced_code, None, status.reply_text or "")


def _words(status: InvitationStatus) -> str:
    return "" if status.stage in SPEECHLESS else status.reply_text or ""
