"""Placeholders in invitations and reminders, and the links that replace them. No database access."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from survey_host.models import Participant, Survey, SurveyText

PLACEHOLDERS = ("FIRSTNAME", "LASTNAME", "EMAIL", "SURVEYNAME", "SURVEYURL", "OPTOUTURL", "TOKEN")
_PLACEHOLDER = re.compile(r"\{([A-Z][A-Z0-9_:]*)\}")


@dataclass(frozen=True, slots=True)
class Letter:
    """The text for one participant."""

    subject: str
    text: str
    html: str | None


def survey_url(base: str, participant: Participant) -> str:
    """Return a participant's own address of the survey; `base` is the platform's public URL."""
    return f"{base}/s/{participant.survey_id}/{participant.token}"


def opt_out_url(base: str, participant: Participant) -> str:
    """Return a participant's address for opting out."""
    return f"{base}/opt-out/{participant.survey_id}/{participant.token}"


def values_for(survey: Survey, participant: Participant, base: str) -> dict[str, str]:
    """Return the value of each placeholder, including `ATTRIBUTE_<NAME>` for each attribute."""
    attributes = {f"ATTRIBUTE_{attribute_name(key)}": value for key, value in participant.attributes.items()}
    return attributes | {
        "FIRSTNAME": participant.first_name,
        "LASTNAME": participant.last_name,
        "EMAIL": participant.email,
        "SURVEYNAME": survey.title,
        "SURVEYURL": survey_url(base, participant),
        "OPTOUTURL": opt_out_url(base, participant),
        "TOKEN": participant.token,
    }


def attribute_name(column: str) -> str:
    """Return a column's heading as a placeholder: capitals, digits and `_`."""
    return re.sub(r"[^A-Z0-9]+", "_", column.upper()).strip("_")


def fill(template: str, values: Mapping[str, str], *, html: bool = False) -> str:
    """Replace placeholders, once and from left to right; an unknown one stays as it is."""

    def value(match: re.Match[str]) -> str:
        found = values.get(match[1])
        if found is None:
            return match[0]
        return escape(found) if html else found

    return _PLACEHOLDER.sub(value, template)


def compose(text: SurveyText, values: Mapping[str, str]) -> Letter:
    """Return the text for one participant. Line ends in the subject become spaces, so that no value can begin a new
    header.
    """
    return Letter(
        subject=" ".join(fill(text.subject, values).split()),
        text=fill(text.text, values),
        html=fill(text.html, values, html=True) if text.html else None,
    )


def unknown_placeholders(template: str) -> list[str]:
    """Return the unknown placeholders in `template`, except attributes."""
    names = dict.fromkeys(_PLACEHOLDER.findall(template))
    return [name for name in names if name not in PLACEHOLDERS and not name.startswith("ATTRIBUTE_")]


def text_for(texts: Mapping[str, SurveyText], survey: Survey, language: str) -> SurveyText:
    """Return the text in the participant's language, else in the survey's. Raises `KeyError` if that is missing."""
    return texts.get(language) or texts[survey.language]
