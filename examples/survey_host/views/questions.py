"""A survey's questions."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask_babel import gettext as _

from survey_host.access import needs, own_child, own_survey
from survey_host.extensions import db
from survey_host.forms import QUESTION_KINDS, QuestionForm
from survey_host.models import Question, Role, Survey

blueprint = Blueprint("questions", __name__, url_prefix="/surveys/<int:survey_id>/questions")


@blueprint.route("", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def index(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    form = QuestionForm()
    if form.validate_on_submit():
        question = Question(survey_id=survey.id, position=_next_position(survey))
        _fill(question, form)
        db.session.add(question)
        db.session.commit()
        flash(_("The question is added."), "success")
        return redirect(url_for("questions.index", survey_id=survey.id))
    status = 200 if request.method == "GET" else 422
    return render_template("questions/index.html", survey=survey, form=form, kinds=QUESTION_KINDS), status


@blueprint.route("/<int:question_id>", methods=["GET", "POST"])
@needs(Role.SURVEY_MANAGER)
def edit(survey_id: int, question_id: int) -> Any:
    survey = own_survey(survey_id)
    question = own_child(Question, survey, question_id)
    form = QuestionForm(obj=question, data={"options": "\n".join(question.options)})
    if form.validate_on_submit():
        _fill(question, form)
        db.session.commit()
        flash(_("Saved."), "success")
        return redirect(url_for("questions.index", survey_id=survey.id))
    status = 200 if request.method == "GET" else 422
    return render_template("questions/form.html", survey=survey, question=question, form=form), status


@blueprint.post("/<int:question_id>/delete")
@needs(Role.SURVEY_MANAGER)
def delete(survey_id: int, question_id: int) -> Any:
    survey = own_survey(survey_id)
    db.session.delete(own_child(Question, survey, question_id))
    db.session.commit()
    flash(_("The question is deleted."), "success")
    return redirect(url_for("questions.index", survey_id=survey.id))


@blueprint.post("/<int:question_id>/up")
@needs(Role.SURVEY_MANAGER)
def move_up(survey_id: int, question_id: int) -> Any:
    survey = own_survey(survey_id)
    question = own_child(Question, survey, question_id)
    order = list(survey.questions)
    place = order.index(question)
    order.insert(max(place - 1, 0), order.pop(place))
    for position, item in enumerate(order):
        item.position = position
    db.session.commit()
    return redirect(url_for("questions.index", survey_id=survey.id))


def _next_position(survey: Survey) -> int:
    return max((question.position for question in survey.questions), default=-1) + 1


def _fill(question: Question, form: QuestionForm) -> None:
    question.text = form.text.data
    question.kind = form.kind.data
    question.options = form.lines()
    question.points = form.points.data
    question.is_required = form.is_required.data
