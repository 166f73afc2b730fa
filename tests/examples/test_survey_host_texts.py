"""The example platform's mails to participants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask

from survey_host import texts
from survey_host.models import Participant, Survey, SurveyText
from tests.survey_host_kit import (
    URL,
    Visitor,
    add_people,
    platform,
    signed_in,
    text_of,
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        yield made


@pytest.fixture
def manager(app: Flask) -> Visitor:
    return signed_in(app, "manager@north.example")


@pytest.fixture
def ada() -> Participant:
    return Participant(
        survey_id=1, first_name="{TOKEN}", last_name="<b>", email="a@r.example", token="t", attributes={}
    )


def compose(participant: Participant, **text: str) -> texts.Letter:
    survey = Survey(id=1, title="Work & life")
    given = {"subject": "S", "text": "T"} | text
    return texts.compose(SurveyText(**given), texts.values_for(survey, participant, URL))


def test_placeholders_are_replaced_once(ada: Participant) -> None:
    """A value that looks like a placeholder stays; an unknown placeholder stays as well."""
    assert compose(ada, text="{FIRSTNAME} {NOPE} {firstname}").text == "{TOKEN} {NOPE} {firstname}"


def test_values_are_escaped_in_html_only(ada: Participant) -> None:
    """A name cannot add tags to a mail."""
    letter = compose(ada, text="{LASTNAME}", html="<i>{LASTNAME}</i> {SURVEYNAME}")
    assert (letter.text, letter.html) == ("<b>", "<i>&lt;b&gt;</i> Work &amp; life")


def test_a_value_cannot_begin_a_header(ada: Participant) -> None:
    """Line ends in a name are removed from a subject."""
    ada.first_name = "A\r\nBcc: x@r.example"
    assert compose(ada, subject="Dear {FIRSTNAME}").subject == "Dear A Bcc: x@r.example"


def test_attributes_have_placeholders(ada: Participant) -> None:
    """A column's heading becomes a name of capitals, digits and underscores."""
    ada.attributes = {"Cost centre (no.)": "4711"}
    assert compose(ada, text="{ATTRIBUTE_COST_CENTRE_NO}").text == "4711"


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"text": "no link"}, "must contain {SURVEYURL}"),
        ({"subject": "Hello {FIRSTNAM}"}, "Unknown placeholder: {FIRSTNAM}"),
        ({"html": "{SURVEYURLS}"}, "Unknown placeholder: {SURVEYURLS}"),
    ],
)
def test_a_text_that_would_embarrass_is_not_saved(manager: Visitor, given: dict[str, str], complaint: str) -> None:
    """A misspelt placeholder and a missing link are detected before the text is sent."""
    data = {"subject": "S", "text": "{SURVEYURL}", "html": ""} | given
    answer = manager.post("/surveys/1/texts/invitation/en", data)
    assert answer.status_code == 422
    assert complaint in text_of(answer)


def test_the_preview_shows_one_participant(app: Flask, manager: Visitor) -> None:
    """Text and HTML are filled in for the selected person; the HTML's frame cannot run or load anything."""
    add_people(app, "ada@r.example", "bob@r.example")
    path = "/surveys/1/texts/invitation/en/preview"
    assert "Dear Bob Example," in text_of(manager.get(f"{path}?participant=2"))
    frame = manager.get(f"{path}.html?participant=2")
    assert "Dear Bob Example," in frame.text
    assert frame.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert manager.get(f"{path}?participant=99").status_code == 404


def test_the_preview_works_before_there_are_participants(manager: Visitor) -> None:
    """An invented participant is used."""
    assert "participant@recipient.example" in text_of(manager.get("/surveys/1/texts/invitation/en/preview"))
