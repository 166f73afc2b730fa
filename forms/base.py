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


def _storable_all(given: MultiDict[str, Any]) -> MultiDict[str, Any]:
    return ImmutableMultiDict([(storable(name), _storable(value)) for name, value in given.items(multi=True)])


def _storable(value: Any) -> Any:
    return storable(value) if isinstance(value, str) else value  # a file is not


class BaseForm(FlaskForm):
    """A form that reads only what can be stored."""

    class Meta(FlaskForm.Meta):
        """Where WTForms takes the input from."""

        def wrap_formdata(self, form: FlaskForm, formdata: Any) -> MultiDict[str, Any] | None:
            """Return the input, cleaned; `None` when nothing was sent."""
            given = super().wrap_formdata(form, formdata)
            return None if given is None else _storable_all(given)
