"""Questions and answers of the example platform, and the participants' pages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from survey_host import answers
from survey_host.extensions import db
from survey_host.models import Question, Response, Survey
from tests.survey_host_kit import (
    Visitor,
    add_people,
    people,
    platform,
    signed_in,
    text_of,
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        add_people(made, "ada@recipient.example")
        yield made


def token(app: Flask) -> str:
    return people(app)["ada@recipient.example"].token


def test_a_survey_is_made_with_each_type_of_question(app: Flask) -> None:
    """A manager creates a survey, adds the four types and orders them; closing times are in the tenant's zone."""
    visitor = signed_in(app, "manager@north.example")
    made = visitor.post("/surveys/new", {"title": "Fresh", "language": "de", "closes_at": "2030-07-01T12:00"})
    path = made.location
    for kind, options in {"text": "", "single": "a\nb", "multiple": "a\nb\na", "scale": "low\nhigh"}.items():
        visitor.post(path, {"text": kind, "kind": kind, "options": options, "points": "7"})
    with app.app_context():
        survey = db.session.scalars(db.select(Survey).where(Survey.title == "Fresh")).one()
        last = survey.questions[-1]
        assert [question.kind for question in survey.questions] == ["text", "single", "multiple", "scale"]
        assert survey.questions[2].options == ["a", "b"]
        assert survey.closes_at is not None
        assert survey.closes_at.isoformat() == "2030-07-01T10:00:00+00:00"
    visitor.post(f"{path}/{last.id}/up", page=path)
    with app.app_context():
        survey = db.session.scalars(db.select(Survey).where(Survey.title == "Fresh")).one()
        assert [question.kind for question in survey.questions] == ["text", "single", "scale", "multiple"]


def test_choices_need_two_options(app: Flask) -> None:
    """A choice with one option is rejected, and no input is lost."""
    visitor = signed_in(app, "manager@north.example")
    answer = visitor.post("/surveys/1/questions", {"text": "One?", "kind": "single", "options": "only", "points": "5"})
    assert answer.status_code == 422
    assert "at least two choices" in text_of(answer)
    assert 'value="One?"' in answer.text


def answer_all(app: Flask, **given: object) -> dict[str, object]:
    """Return form data for the seeded questions, by their type."""
    with app.app_context():
        rows = db.session.scalars(db.select(Question).where(Question.survey_id == 1)).all()
        return {f"q{row.id}": given[row.kind] for row in rows if row.kind in given}


def test_a_participant_answers_once(app: Flask) -> None:
    """Answers are stored; a second visit shows the thanks only."""
    visitor, path = Visitor(app), f"/s/1/{token(app)}"
    data = answer_all(app, scale="4", single="Yes", multiple=["Rooms", "Information"], text="=1+1 <b>")
    assert visitor.post(path, data).location == f"{path}/thanks"
    assert "Thank you very much" in text_of(visitor.get(f"{path}/thanks"))
    assert visitor.get(path).location == f"{path}/thanks"
    with app.app_context():
        kept = db.session.scalars(db.select(Response)).one().answers
    assert list(kept.values()) == [4, "Yes", ["Rooms", "Information"], "=1+1 <b>"]


def test_answers_that_were_not_on_offer_are_refused(app: Flask) -> None:
    """A missing required answer and an invented choice are shown at their question; the input stays."""
    data = answer_all(app, scale="", single="Invented", text="Kept words")
    answer = Visitor(app).post(f"/s/1/{token(app)}", data)
    assert answer.status_code == 422
    assert "Please answer this question." in text_of(answer)
    assert "Choose one of the answers on offer." in text_of(answer)
    assert "Kept words" in answer.text
    assert people(app)["ada@recipient.example"].answered_at is None


def test_a_closed_survey_takes_no_answers(app: Flask) -> None:
    """After its closing time a survey says so and stores nothing."""
    visitor, path = Visitor(app), f"/s/1/{token(app)}"
    csrf = visitor.get(path)
    with app.app_context():
        db.session.get_one(Survey, 1).closes_at = db.session.get_one(Survey, 1).created_at
        db.session.commit()
    assert csrf.status_code == 200
    assert visitor.get(path).status_code == 410


@pytest.mark.parametrize("path", ["/s/1/wrong", "/s/2/{token}", "/opt-out/1/wrong", "/s/1/wrong/thanks"])
def test_a_wrong_token_opens_nothing(app: Flask, path: str) -> None:
    """A token works for its own survey only."""
    assert Visitor(app).get(path.format(token=token(app))).status_code == 404


def test_looking_at_the_opt_out_page_changes_nothing(app: Flask) -> None:
    """Mail scanners follow links, so only the button opts out."""
    visitor, path = Visitor(app), f"/opt-out/1/{token(app)}"
    assert "ada@recipient.example" in text_of(visitor.get(path))
    assert people(app)["ada@recipient.example"].opted_out_at is None
    assert "You get no more mail" in text_of(visitor.post(path))
    assert people(app)["ada@recipient.example"].opted_out_at is not None


def test_one_click_opts_out_without_cookie_and_token(app: Flask) -> None:
    """The POST of RFC 8058 is answered with 200 and no redirect; a form without token is rejected."""
    path = f"/opt-out/1/{token(app)}"
    assert Visitor(app).client.post(path).status_code == 400
    assert people(app)["ada@recipient.example"].opted_out_at is None
    assert Visitor(app).client.post(path, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert people(app)["ada@recipient.example"].opted_out_at is not None


def test_public_pages_stay_out_of_caches_and_indexes(app: Flask) -> None:
    """A page with a secret address is neither cached nor indexed, and shows no menu."""
    page = signed_in(app, "manager@north.example").get(f"/s/1/{token(app)}")
    assert page.headers["Cache-Control"] == "no-store"
    assert page.headers["X-Robots-Tag"] == "noindex"
    assert "Sign out" not in page.text


def test_responses_are_shown_and_exported_safely(app: Flask) -> None:
    """The table escapes the answers, and the CSV file has no formulas."""
    Visitor(app).post(f"/s/1/{token(app)}", answer_all(app, scale="4", text='=HYPERLINK("x") <b>'))
    visitor = signed_in(app, "manager@north.example")
    assert "&lt;b&gt;" in visitor.get("/surveys/1/responses").text
    lines = visitor.get("/surveys/1/responses.csv").get_data(as_text=True)
    assert lines.startswith("\ufeffsubmitted_at,")
    assert "'=HYPERLINK" in lines


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\tx", "\rx", "  =1"])
def test_formulas_are_disarmed(cell: str) -> None:
    """Each text that a spreadsheet would read as a formula gets an apostrophe."""
    assert answers.harmless(cell) == f"'{cell}"
    assert answers.harmless("plain - text") == "plain - text"
