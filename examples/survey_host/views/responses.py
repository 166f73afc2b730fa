"""Participants' answers."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, render_template
from sqlalchemy import Select, select
from sqlalchemy.orm import joinedload

from survey_host import answers, models
from survey_host.access import needs, own_survey
from survey_host.extensions import db
from survey_host.models import Role, Survey

blueprint = Blueprint("responses", __name__, url_prefix="/surveys/<int:survey_id>")
PAGE = 50


@blueprint.get("/responses")
@needs(Role.SURVEY_MANAGER)
def index(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    page = db.paginate(_of(survey), per_page=PAGE)
    return render_template("responses/index.html", survey=survey, page=page)


@blueprint.get("/responses.csv")
@needs(Role.SURVEY_MANAGER)
def download(survey_id: int) -> Any:
    survey = own_survey(survey_id)
    # Not streamed: Flask-SQLAlchemy closes the session before a stream is read.
    lines = answers.as_csv(list(survey.questions), db.session.scalars(_of(survey)))
    headers = {"Content-Disposition": f'attachment; filename="responses-{survey.id}.csv"'}
    return Response("".join(lines), mimetype="text/csv", headers=headers)


def _of(survey: Survey) -> Select[Any]:
    query = select(models.Response).where(models.Response.survey_id == survey.id)
    return query.options(joinedload(models.Response.participant)).order_by(models.Response.id)
