"""The texts of invitations and reminders, and their preview for one participant."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, abort, current_app, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy import select

from survey_host import texts
from survey_host.access import needs, own_child, own_survey
from survey_host.extensions import db
from survey_host.forms import TextForm
from survey_host.models import LANGUAGES, Kind, Participant, Role, Survey, SurveyText
from survey_host.sending import texts_of

blueprint = Blueprint("wording", __name__, url_prefix="/surveys/<int:survey_id>/texts")

# The mail's own styles may apply in its frame; nothing in it may load, run or navigate.
PREVIEW_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; sandbox"


@blueprint.get("")
@needs(Role.SURVEY_MANAGER)
def index(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    kinds = {kind: texts_of(survey, kind) for kind in Kind}
    return render_template("wording/index.html", survey=survey, kinds=kinds, languages=LANGUAGES)


@blueprint.route("/<kind>/<language>", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def edit(survey_id: int, kind: str, language: str) -> Any:
    survey = own_survey(survey_id)
    present = texts_of(survey, _kind(kind)).get(language)
    if language not in LANGUAGES:
        abort(404)
    form = TextForm(obj=present)
    if not form.validate_on_submit():
        page = render_template(
            "wording/form.html",
            survey=survey,
            form=form,
            kind=_kind(kind),
            language=LANGUAGES[language],
            placeholders=texts.PLACEHOLDERS,
        )
        return page, 200 if request.method == "GET" else 422
    _save(present or SurveyText(survey_id=survey.id, kind=_kind(kind), language=language), form)
    flash(_("Saved."), "success")
    return redirect(url_for("wording.preview", survey_id=survey.id, kind=kind, language=language))


@blueprint.get("/<kind>/<language>/preview")
@needs(Role.SURVEY_MANAGER)
def preview(survey_id: int, kind: str, language: str) -> Any:
    survey = own_survey(survey_id)
    text = _existing(survey, kind, language)
    participant = _participant(survey)
    people = select(Participant).where(Participant.survey_id == survey.id).order_by(Participant.id).limit(100)
    return render_template(
        "wording/preview.html",
        survey=survey,
        text=text,
        letter=_letter(survey, text, participant),
        participant=participant,
        people=db.session.scalars(people).all(),
    )


@blueprint.get("/<kind>/<language>/preview.html")
@needs(Role.SURVEY_MANAGER)
def preview_html(survey_id: int, kind: str, language: str) -> Any:
    """The HTML version alone, for the frame on the preview page."""
    survey = own_survey(survey_id)
    letter = _letter(survey, _existing(survey, kind, language), _participant(survey))
    headers = {"Content-Security-Policy": PREVIEW_POLICY, "X-Frame-Options": "SAMEORIGIN"}
    return Response(letter.html or "", headers=headers)


def _kind(word: str) -> Kind:
    if word not in set(Kind):
        abort(404)
    return Kind(word)


def _existing(survey: Survey, kind: str, language: str) -> SurveyText:
    text = texts_of(survey, _kind(kind)).get(language)
    if text is None:
        abort(404)
    return text


def _participant(survey: Survey) -> Participant:
    """Return the requested participant, else the first one, else an invented one."""
    chosen = request.args.get("participant", type=int)
    if chosen is not None:
        return own_child(Participant, survey, chosen)
    first = select(Participant).where(Participant.survey_id == survey.id).order_by(Participant.id).limit(1)
    return db.session.scalar(first) or Participant(
        survey_id=survey.id,
        first_name=_("First name"),
        last_name=_("Last name"),
        email="participant@recipient.example",
        token="token",
        attributes={},
    )


def _letter(survey: Survey, text: SurveyText, participant: Participant) -> texts.Letter:
    return texts.compose(text, texts.values_for(survey, participant, current_app.config["SURVEY_PUBLIC_URL"]))


def _save(text: SurveyText, form: TextForm) -> None:
    text.subject = form.subject.data
    text.text = form.text.data
    text.html = form.html.data or None
    db.session.add(text)
    db.session.commit()
