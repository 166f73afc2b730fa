"""The participants' pages: the survey, its end, and opting out. The token in the address is the only credential."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask_babel import gettext as _
from sqlalchemy.exc import IntegrityError

from survey_host import answers, models
from survey_host.access import participant_of
from survey_host.base import now
from survey_host.extensions import csrf, db
from survey_host.forms import EmptyForm
from survey_host.models import Participant, Survey

blueprint = Blueprint("public", __name__)


@blueprint.after_request
def keep_private(response: Response) -> Response:
    """The address is a secret: keep it out of caches, search indexes and other sites' logs."""
    response.headers["Cache-Control"] = "no-store"
    response.headers["X-Robots-Tag"] = "noindex"
    return response


@blueprint.route("/s/<int:survey_id>/<token>", methods=["GET", "POST"])
def survey(survey_id: int, token: str) -> Any:
    survey, participant = _open(survey_id, token)
    if participant.answered_at is not None:
        return redirect(url_for("public.thanks", survey_id=survey_id, token=token))
    if survey.is_closed:
        return render_template("public/closed.html", survey=survey), 410
    form = EmptyForm()
    if not form.validate_on_submit():
        return _page(survey, form, {})
    given, problems = answers.read_all(survey.questions, request.form)
    if problems:
        flash(_("Some answers are missing or cannot be used."), "danger")
        return _page(survey, form, problems), 422
    _keep(survey, participant, given)
    return redirect(url_for("public.thanks", survey_id=survey_id, token=token))


def _open(survey_id: int, token: str) -> tuple[Survey, Participant]:
    survey, participant = participant_of(survey_id, token)
    g.language = participant.language
    return survey, participant


def _page(survey: Survey, form: EmptyForm, problems: dict[int, str]) -> str:
    return render_template("public/survey.html", survey=survey, form=form, problems=problems, given=request.form)


def _keep(survey: Survey, participant: Participant, given: dict[str, answers.Answer]) -> None:
    participant.answered_at = now()
    db.session.add(models.Response(survey_id=survey.id, participant_id=participant.id, answers=given))
    try:
        db.session.commit()
    except IntegrityError:
        # Posted twice at the same moment: the first one counts.
        db.session.rollback()


@blueprint.get("/s/<int:survey_id>/<token>/thanks")
def thanks(survey_id: int, token: str) -> Any:
    survey, participant = _open(survey_id, token)
    if participant.answered_at is None:
        return redirect(url_for("public.survey", survey_id=survey_id, token=token))
    return render_template("public/thanks.html", survey=survey)


@blueprint.route("/opt-out/<int:survey_id>/<token>", methods=["GET", "POST"])
def opt_out(survey_id: int, token: str) -> Any:
    """Show on GET, because mail scanners follow links; opt out on POST.

    A mail program's one-click POST (RFC 8058) has no cookie and no form token, and must be answered without a redirect.
    A person's POST is checked like any other.
    """
    survey, participant = _open(survey_id, token)
    is_one_click = request.form.get("List-Unsubscribe") == "One-Click"
    if request.method == "POST" and not is_one_click:
        csrf.protect()
    if request.method == "POST" and participant.opted_out_at is None:
        participant.opted_out_at = now()
        db.session.commit()
    if is_one_click:
        return Response(_("You get no more mail about this survey."), mimetype="text/plain")
    return render_template("public/opt_out.html", survey=survey, participant=participant, form=EmptyForm())


csrf.exempt(opt_out)
