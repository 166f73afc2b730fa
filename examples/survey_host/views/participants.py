"""A survey's participants: list, single entries, CSV import."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, abort, current_app, flash, g, redirect, render_template, request, url_for
from flask_babel import gettext as _
from flask_babel import ngettext
from sqlalchemy import or_, select

from survey_host import people, texts
from survey_host.access import needs, own_child, own_survey
from survey_host.extensions import db
from survey_host.forms import EmptyForm, ImportForm, ParticipantForm
from survey_host.models import Participant, Role, Survey
from survey_host.people_csv import FileError, Reading

blueprint = Blueprint("participants", __name__, url_prefix="/surveys/<int:survey_id>/participants")
PAGE = 50


@blueprint.get("")
@needs(Role.SURVEY_MANAGER)
def index(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    search = request.args.get("q", "").strip()
    query = select(Participant).where(Participant.survey_id == survey.id).order_by(Participant.id)
    page = db.paginate(_matching(query, search), per_page=PAGE)
    return render_template("participants/index.html", survey=survey, page=page, search=search)


def _matching(query: Any, search: str) -> Any:
    if not search:
        return query
    columns = (Participant.first_name, Participant.last_name, Participant.email)
    return query.where(or_(*(column.icontains(search, autoescape=True) for column in columns)))


@blueprint.route("/new", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def create(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    form = ParticipantForm(language=survey.language)
    if form.validate_on_submit() and _is_free(survey, form):
        participant = Participant(survey_id=survey.id, email=form.email.data, attributes={})
        _fill(participant, form)
        db.session.add(participant)
        db.session.commit()
        flash(_("The participant is added."), "success")
        return redirect(url_for("participants.index", survey_id=survey.id))
    return _form_page(survey, None, form)


@blueprint.route("/<int:participant_id>", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def edit(survey_id: int, participant_id: int) -> Any:
    survey = own_survey(survey_id)
    participant = own_child(Participant, survey, participant_id)
    form = ParticipantForm(obj=participant)
    if form.validate_on_submit() and _is_free(survey, form, participant):
        people.move_to(participant, form.email.data)
        _fill(participant, form)
        db.session.commit()
        flash(_("Saved."), "success")
        return redirect(url_for("participants.index", survey_id=survey.id))
    return _form_page(survey, participant, form)


@blueprint.post("/<int:participant_id>/delete")
@needs(Role.SURVEY_MANAGER)
def delete(survey_id: int, participant_id: int) -> Any:
    survey = own_survey(survey_id)
    db.session.delete(own_child(Participant, survey, participant_id))
    db.session.commit()
    flash(_("The participant is deleted."), "success")
    return redirect(url_for("participants.index", survey_id=survey.id))


def _is_free(survey: Survey, form: ParticipantForm, participant: Participant | None = None) -> bool:
    taken = people.is_taken(survey, form.email.data, participant)
    if taken:
        form.email.errors = (*form.email.errors, _("Another participant has this address."))
    return not taken


def _fill(participant: Participant, form: ParticipantForm) -> None:
    participant.first_name = (form.first_name.data or "").strip()
    participant.last_name = (form.last_name.data or "").strip()
    participant.language = form.language.data


def _form_page(survey: Survey, participant: Participant | None, form: ParticipantForm) -> Any:
    base = current_app.config["SURVEY_PUBLIC_URL"]
    link = texts.survey_url(base, participant) if participant else None
    page = render_template(
        "participants/form.html", survey=survey, participant=participant, form=form, survey_link=link
    )
    return page, 200 if request.method == "GET" else 422


@blueprint.route("/import", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def import_file(survey_id: int) -> Any:
    """Import a file if all of its rows are valid, or if the person asked to import the valid ones."""
    survey = own_survey(survey_id)
    form = ImportForm()
    if not form.validate_on_submit():
        return _import_page(survey, form, status=200 if request.method == "GET" else 422)
    data = form.file.data.read()
    try:
        reading = people.read_file(survey, data)
    except FileError as error:
        form.file.errors = (*form.file.errors, str(error))
        return _import_page(survey, form, status=422)
    if reading.bad and not form.keep_good.data:
        people.keep_draft(survey, g.account, data)
        db.session.commit()
        return _import_page(survey, form, reading, status=422)
    return _import(survey, form, reading)


@blueprint.post("/import/good-rows")
@needs(Role.SURVEY_MANAGER)
def import_good_rows(survey_id: int) -> Any:
    """The second step: the valid rows of the file uploaded before."""
    survey = own_survey(survey_id)
    draft = people.draft_of(survey, g.account)
    if draft is None:
        abort(404)
    return _import(survey, ImportForm(), people.read_file(survey, draft.data))


def _import(survey: Survey, form: ImportForm, reading: Reading) -> Any:
    people.add_all(survey, reading.good)
    people.drop_draft(survey, g.account)
    db.session.commit()
    count = len(reading.good)
    flash(ngettext("%(num)d participant imported.", "%(num)d participants imported.", count), "success")
    if reading.bad:
        return _import_page(survey, form, reading, is_done=True)
    return redirect(url_for("participants.index", survey_id=survey.id))


def _import_page(
    survey: Survey, form: ImportForm, reading: Reading | None = None, *, is_done: bool = False, status: int = 200
) -> Any:
    page = render_template(
        "participants/import.html",
        survey=survey,
        form=form,
        reading=reading,
        is_done=is_done,
        empty=EmptyForm(),
    )
    return page, status
