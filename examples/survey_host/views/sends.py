"""Sending: the page, the "send" button, the result, and the report."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, current_app, flash, g, redirect, render_template, request, url_for
from flask_babel import gettext as _

from survey_host import delivery, mailer, plugins, report, sending
from survey_host.access import needs, own_child, own_survey
from survey_host.forms import EmptyForm, SendForm, pairs
from survey_host.models import Kind, Role, SendRun, Survey
from survey_host.sending import PLATFORM, Audience

blueprint = Blueprint("sends", __name__, url_prefix="/surveys/<int:survey_id>")


@blueprint.route("/send", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def send(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    senders = plugins.current().senders(str(survey.tenant_id), str(survey.id))
    form = _form(survey, senders)
    problem = _obstacle(survey, form) if form.is_submitted() else None
    if form.validate_on_submit() and problem is None:
        return _press(survey, form, has_choice=bool(senders))
    if problem:
        flash(problem, "danger")
    page = render_template(
        "sends/send.html",
        survey=survey,
        form=form,
        senders=senders,
        audiences=sending.audiences(survey),
        ready_made="own_smtp" in current_app.blueprints,
        estimates=sending.estimates(survey, senders),
        platform_address=mailer.sender_address(),
        missing=[kind for kind in Kind if survey.language not in sending.texts_of(survey, kind)],
    )
    return page, 200 if request.method == "GET" else 422


def _form(survey: Survey, senders: list[Any]) -> SendForm:
    """Return the form with the survey's current audiences and senders."""
    default = next((item.key for item in senders if item.is_default and item.is_available), PLATFORM)
    form = SendForm(audience=Audience.NEW.value, sender=default)
    form.audience.choices = pairs({audience: audience for audience in Audience})
    form.sender.choices = pairs({PLATFORM: PLATFORM} | {item.key: item.label for item in senders if item.is_available})
    if not form.is_submitted():
        form.nonce.data = secrets.token_urlsafe(16)
    return form


def _obstacle(survey: Survey, form: SendForm) -> str | None:
    """Return why the survey cannot be sent now, or `None`."""
    if survey.is_closed:
        return str(_("The survey is closed. Nobody could answer."))
    if form.audience.data not in set(Audience):
        return None
    kind = Audience(form.audience.data).kind
    if survey.language not in sending.texts_of(survey, kind):
        return str(_("There is no text in the survey's main language yet. Write it first."))
    return None


def _press(survey: Survey, form: SendForm, *, has_choice: bool) -> Any:
    order = sending.Order(
        survey=survey,
        audience=Audience(form.audience.data),
        sender=form.sender.data if has_choice else None,
        nonce=form.nonce.data,
        account=g.account,
    )
    try:
        run, is_new = sending.hand_over(order)
    except sending.NothingToSendError:
        flash(_("Nobody is left to send to."), "warning")
        return redirect(url_for("sends.send", survey_id=survey.id))
    if not is_new:
        flash(_("This was sent before. Nothing was sent a second time."), "info")
    elif not run.is_taken_over:
        delivery.deliver(run)
    return redirect(url_for("sends.show", survey_id=survey.id, run_id=run.id))


@blueprint.get("/sends/<int:run_id>")
@needs(Role.SURVEY_MANAGER)
def show(survey_id: int, run_id: int) -> Any:
    survey = own_survey(survey_id)
    run = own_child(SendRun, survey, run_id)
    return render_template("sends/show.html", survey=survey, run=run, waiting=delivery.waiting(run), empty=EmptyForm())


@blueprint.post("/sends/<int:run_id>/continue")
@needs(Role.SURVEY_MANAGER)
def go_on(survey_id: int, run_id: int) -> Any:
    """Send the mails that the platform's own sending left over."""
    survey = own_survey(survey_id)
    run = own_child(SendRun, survey, run_id)
    if delivery.waiting(run):
        delivery.deliver(run)
    return redirect(url_for("sends.show", survey_id=survey.id, run_id=run.id))


@blueprint.get("/report")
@needs(Role.SURVEY_MANAGER)
def show_report(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    return render_template("sends/report.html", survey=survey, report=report.mails(survey), runs=report.runs(survey))
