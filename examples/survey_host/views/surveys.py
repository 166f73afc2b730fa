"""Surveys: list, page, settings, deletion."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, g, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy import func, select, true

from survey_host import plugins, sending
from survey_host.access import needs, own_survey
from survey_host.extensions import db
from survey_host.forms import EmptyForm, SurveyForm
from survey_host.models import Participant, Response, Role, Survey

blueprint = Blueprint("surveys", __name__, url_prefix="/surveys")


@blueprint.get("")
@needs(Role.SURVEY_MANAGER)
def index() -> Any:
    columns = (Participant.id, Participant.invited_at, Participant.answered_at)
    query = (
        select(Survey, *(func.count(column) for column in columns))
        .outerjoin(Participant, Participant.survey_id == Survey.id)
        .where(Survey.tenant_id == g.tenant.id)
        .group_by(Survey.id)
        .order_by(Survey.created_at.desc(), Survey.id.desc())
    )
    return render_template("surveys/index.html", rows=db.session.execute(query).all())


@blueprint.route("/new", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def create() -> Any:
    form = SurveyForm(language=g.tenant.language)
    if not form.validate_on_submit():
        return render_template("surveys/form.html", form=form, survey=None), _status()
    survey = Survey(tenant_id=g.tenant.id)
    _fill(survey, form)
    db.session.add(survey)
    db.session.commit()
    flash(_("The survey is there. Add questions next."), "success")
    return redirect(url_for("questions.index", survey_id=survey.id))


@blueprint.get("/<int:survey_id>")
@needs(Role.SURVEY_MANAGER)
def show(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    figures = {
        _("Participants"): sending.count(survey, true()),
        _("Invited"): sending.count(survey, Participant.invited_at.is_not(None)),
        _("Answered"): sending.count(survey, Participant.answered_at.is_not(None)),
        _("Opted out"): sending.count(survey, Participant.opted_out_at.is_not(None)),
    }
    latest = select(Response).where(Response.survey_id == survey.id).order_by(Response.id.desc()).limit(5)
    return render_template("surveys/show.html", survey=survey, figures=figures, latest=db.session.scalars(latest).all())


@blueprint.route("/<int:survey_id>/edit", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def edit(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    form = SurveyForm(obj=survey, data={"closes_at": _local(survey.closes_at)})
    if not form.validate_on_submit():
        return render_template("surveys/form.html", form=form, survey=survey), _status()
    _fill(survey, form)
    db.session.commit()
    flash(_("Saved."), "success")
    return redirect(url_for("surveys.show", survey_id=survey.id))


@blueprint.route("/<int:survey_id>/delete", methods=["GET", "POST"])
@needs(Role.TENANT_ADMIN)
def delete(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    form = EmptyForm()
    if not form.validate_on_submit():
        return render_template("surveys/delete.html", form=form, survey=survey), _status()
    plugins.current().project_deleted(str(survey.tenant_id), str(survey.id))
    db.session.delete(survey)
    db.session.commit()
    flash(_("The survey is deleted."), "success")
    return redirect(url_for("surveys.index"))


def _status() -> int:
    return 200 if request.method == "GET" else 422


def _fill(survey: Survey, form: SurveyForm) -> None:
    survey.title = form.title.data
    survey.welcome = form.welcome.data or ""
    survey.thanks = form.thanks.data or ""
    survey.language = form.language.data
    closes_at = form.closes_at.data
    survey.closes_at = closes_at.replace(tzinfo=ZoneInfo(g.tenant.timezone)) if closes_at else None


def _local(moment: datetime | None) -> datetime | None:
    return moment.astimezone(ZoneInfo(g.tenant.timezone)) if moment else None
