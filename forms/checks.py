"""Validators and filters that several fields share."""

from __future__ import annotations

import re
from typing import Any

from flask_wtf import FlaskForm
from wtforms import Field, FloatField, IntegerField
from wtforms.validators import DataRequired, NumberRange, Optional, StopValidation, ValidationError

from own_smtp.errors import AddressError
from own_smtp.i18n import gettext, undirected
from own_smtp.i18n import lazy_gettext as _
from own_smtp.smtp.addresses import parse_address

CONTROL = re.compile("[\x00-\x1f\x7f\ufffd]")
"""Characters that no line of text may have: control characters, and U+FFFD for those that could not be stored."""


class Address:
    """Accepts one email address and normalises it; an empty field passes."""

    def __call__(self, _form: FlaskForm, item: Field) -> None:
        if not item.data:
            item.data = None
            raise StopValidation
        one_line(_form, item)
        try:
            item.data = parse_address(item.data)
        except AddressError as error:
            raise ValidationError(gettext("This is not an e-mail address.")) from error


def one_line(_form: FlaskForm, item: Field) -> None:
    """Reject control characters: a line end in a name would start another header."""
    if item.data and _has_controls(item.data):
        raise ValidationError(gettext("Line ends and other control characters are not possible here."))


def readable(_form: FlaskForm, item: Field) -> None:
    """Reject control characters in text of several lines, and in a password."""
    text = (item.data or "").replace("\n", "").replace("\r", "").replace("\t", "")
    if _has_controls(text):
        raise ValidationError(gettext("Control characters are not possible here."))


def _has_controls(text: str) -> bool:
    """Also detect direction controls: one in a name would reverse the sentence around it."""
    return bool(CONTROL.search(text)) or undirected(text) != text


def stripped(text: str | None) -> str | None:
    """Remove white space at both ends."""
    return text.strip() if text else text


def required() -> DataRequired:
    """Reject an empty field."""
    return DataRequired(_("Please fill in this field."))


def number_of(label: Any, text: Any, *, least: float, most: float, whole: bool = True) -> Field:
    """Return an optional number field; empty means no limit."""
    limits = NumberRange(least, most, _("A number from %(min)s to %(max)s, please."))
    kind = IntegerField if whole else FloatField
    return kind(label, [Optional(), limits], description=text)
