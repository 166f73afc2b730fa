"""The base of all forms, and the only access to a request's input: it replaces characters that databases refuse."""

from __future__ import annotations

import re
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# PostgreSQL accepts no NUL in text, and no database accepts half of a surrogate pair, which has no UTF-8 encoding.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with U+FFFD for each character that a database would refuse, as browsers do with NUL."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def arguments() -> MultiDict[str, str]:
    """Return the arguments of the request's address (its query string)."""
    return _storable_all(request.args)


def typed_fields() -> MultiDict[str, str]:
    """Return the posted fields."""
    return _storable_all(request.form)


def _storable_all(given: MultiDict[str, str]) -> MultiDict[str, str]:
    return ImmutableMultiDict([(storable(name), storable(value)) for name, value in given.items(multi=True)])


class BaseForm(FlaskForm):
    """A form that reads storable text only."""

    class Meta(FlaskForm.Meta):
        """Tells WTForms where to read the input."""

        def wrap_formdata(self, form: FlaskForm, formdata: Any) -> MultiDict[str, Any] | None:
            """Return the cleaned input; `None` when nothing was posted.

            Only the fields of a form: values of JSON and files, which Flask-WTF would take too, are not text.
            """
            if isinstance(formdata, MultiDict):
                return _storable_all(formdata)
            return (typed_fields() or None) if form.is_submitted() else None
