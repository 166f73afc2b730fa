"""The base of all forms, and the only way to a request's input: text that a database would refuse never comes in."""

from __future__ import annotations

import re
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from werkzeug.datastructures import ImmutableMultiDict, MultiDict

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

# PostgreSQL takes no NUL in any text, and no database takes half of a surrogate pair: it has no UTF-8.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """Return the text with U+FFFD for each character that no database takes, as browsers do with NUL."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def arguments() -> MultiDict[str, str]:
    """Return what the address asks for, behind its question mark."""
    return _storable_all(request.args)


def typed_fields() -> MultiDict[str, str]:
    """Return the fields that the browser sent."""
    return _storable_all(request.form)


def _storable_all(given: MultiDict[str, str]) -> MultiDict[str, str]:
    return ImmutableMultiDict([(storable(name), storable(value)) for name, value in given.items(multi=True)])


class BaseForm(FlaskForm):
    """A form that reads only what can be stored."""

    class Meta(FlaskForm.Meta):
        """Where WTForms takes the input from."""

        def wrap_formdata(self, form: FlaskForm, formdata: Any) -> MultiDict[str, Any] | None:
            """Return the input, cleaned; `None` when nothing was sent.

            Only the fields of a form: values of JSON and files, which Flask-WTF would take too, are not text.
            """
            if isinstance(formdata, MultiDict):
                return _storable_all(formdata)
            return (typed_fields() or None) if form.is_submitted() else None
