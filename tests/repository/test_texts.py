"""The catalogues: complete, consistent and compiled."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from flask import Flask
from flask_babel import force_locale

from own_smtp import i18n
from own_smtp.states import State

REPOSITORY = Path(__file__).parents[2]
KEYWORDS = {"_": None, "gettext": None, "lazy_gettext": None, "ngettext": (1, 2), "tr": None, "ntr": (1, 2)}
PLACEHOLDER = re.compile(r"%\(\w+\)s")
LANGUAGES = [name for name in i18n.LANGUAGES if name != "en"]


def _texts_in_code() -> set[str | tuple[str, ...]]:
    mappings = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["babel"]["mappings"]
    method_map = [(mapping["pattern"], mapping["method"]) for mapping in mappings]
    found = extract_from_dir(REPOSITORY, method_map, keywords=KEYWORDS)
    return {message if isinstance(message, str) else tuple(message) for _file, _line, message, *_ in found}


def _catalogue(language: str) -> Catalog:
    path = REPOSITORY / "plugin" / "translations" / language / "LC_MESSAGES" / "own_smtp.po"
    with path.open("rb") as file:
        return read_po(file, locale=language)


def test_there_is_a_german_catalogue():
    """English is in the code; German is the first translation."""
    assert "de" in LANGUAGES


@pytest.mark.tree
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_translated(language):
    """The catalogue has each text of the code and no other, and none is empty or doubtful.

    `make catalogs` brings it up to date.
    """
    messages = [message for message in _catalogue(language) if message.id]
    assert {message.id for message in messages} == _texts_in_code()
    assert [message.id for message in messages if not all(_forms(message.string)) or message.fuzzy] == []


@pytest.mark.tree
@pytest.mark.parametrize("language", LANGUAGES)
def test_translations_keep_the_placeholders(language):
    """No translation forgets or invents a `%(name)s`."""
    for message in _catalogue(language):
        wanted = set(PLACEHOLDER.findall(str(message.id)))
        for form in _forms(message.string) if message.id else ():
            assert set(PLACEHOLDER.findall(form)) == wanted, message.id


@pytest.mark.tree
@pytest.mark.parametrize("language", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_the_text(language):
    """The catalogue read at run time has the messages, plural forms, charset and plural rule of the text beside it.

    Messages are compared, not bytes: the header also names the version of Babel that wrote it.
    """
    path = REPOSITORY / "plugin" / "translations" / language / "LC_MESSAGES" / "own_smtp.mo"
    with path.open("rb") as file:
        compiled = read_mo(file)
    text = _catalogue(language)
    assert _translations(compiled) == _translations(text)
    assert (compiled.charset, compiled.plural_forms) == (text.charset, text.plural_forms)


def test_texts_work_without_an_application():
    """Code that runs outside an application gets English."""
    assert i18n.gettext("Saved.") == "Saved."
    assert i18n.ngettext("%(num)s project", "%(num)s projects", 2) == "2 projects"


def test_a_host_without_babel_gets_the_browsers_language():
    """A host without translations shows German to a German browser."""
    app = Flask("plain")
    i18n.ensure_babel(app)
    with app.test_request_context(headers={"Accept-Language": "de-AT,de;q=0.9"}):
        assert i18n.gettext("Saved.") == "Gespeichert."
    with app.test_request_context(headers={"Accept-Language": "fr"}):
        assert i18n.gettext("Saved.") == "Saved."


def test_numbers_and_plurals_follow_the_language():
    """Germans write 1.000, and one is not many."""
    app = Flask("plain")
    i18n.ensure_babel(app)
    with app.app_context(), force_locale("de"):
        assert i18n.ngettext("%(num)s project", "%(num)s projects", 1) == "1 Projekt"
        assert i18n.ngettext("%(num)s project", "%(num)s projects", 1000).startswith("1.000 ")


@pytest.mark.parametrize(
    ("locale", "words"),
    [
        (
            "en",
            ["9:40\u202fPM", "12:00\u202fAM tomorrow", "Nov 24, 2026, 12:00\u202fAM", "Nov 21, 2026, 11:59\u202fPM"],
        ),
        ("de", ["21:40", "morgen, 00:00", "24.11.2026, 00:00", "21.11.2026, 23:59"]),
    ],
)
def test_a_near_time_has_no_date(locale, words):
    """Today and tomorrow are those of the tenant's zone, also if UTC has another date."""
    app = Flask("plain")
    i18n.ensure_babel(app)
    now = datetime.fromisoformat("2026-11-22T00:30+01:00")
    moments = ["2026-11-22T20:40+00:00", "2026-11-22T23:00+00:00", "2026-11-23T23:00+00:00", "2026-11-21T22:59+00:00"]
    with app.app_context(), force_locale(locale):
        said = [i18n.format_soon(datetime.fromisoformat(moment), now, "Europe/Berlin") for moment in moments]
    assert said == words


def test_every_state_has_a_label_and_a_meaning():
    """No page shows a state without a text."""
    from own_smtp.reporting.state_counts import SENTENCE, STATE_LABELS, STATE_MEANINGS

    assert set(STATE_LABELS) == set(STATE_MEANINGS) == set(SENTENCE) == set(State)


def _forms(string: str | Sequence[str]) -> tuple[str, ...]:
    return (string,) if isinstance(string, str) else tuple(string)


def _translations(catalogue: Catalog) -> dict[tuple[str | None, tuple[str, ...]], tuple[str, ...]]:
    return {(message.context, _forms(message.id)): _forms(message.string) for message in catalogue if message.id}
