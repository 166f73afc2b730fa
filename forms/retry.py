"""The form that sends invitations of a batch again."""

from __future__ import annotations

from collections.abc import Mapping

from wtforms import BooleanField, SelectMultipleField
from wtforms.validators import DataRequired, ValidationError
from wtforms.widgets import CheckboxInput, ListWidget

from own_smtp.forms.base import BaseForm
from own_smtp.i18n import Text, gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.states import State


class RetryForm(BaseForm):
    """The final states to send again, and the consent to a possible second copy."""

    states = SelectMultipleField(
        _("Send again"),
        [DataRequired(_("Please choose at least one."))],
        coerce=State,
        widget=ListWidget(),
        option_widget=CheckboxInput(),
    )
    copies = BooleanField(_("I know that recipients of “unknown” invitations may get a second copy"))

    def __init__(self, labels: Mapping[State, Text]) -> None:
        """`labels` has the states that occur in the batch."""
        super().__init__()
        self.states.choices = list(labels.items())

    def validate_copies(self, item: BooleanField) -> None:
        """Require the consent where a copy may exist."""
        if State.UNKNOWN in (self.states.data or ()) and not item.data:
            raise ValidationError(gettext("Please confirm this, or leave the unknown ones out."))
