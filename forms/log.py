"""The forms of the delivery log: its filter, and its bulk actions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any

from wtforms import BooleanField, DateField, HiddenField, IntegerField, SelectField, SelectMultipleField, StringField
from wtforms.validators import InputRequired, Length, NumberRange, Optional, Regexp, ValidationError
from wtforms.widgets import CheckboxInput, HiddenInput, ListWidget

from own_smtp.forms.base import BaseForm
from own_smtp.forms.checks import stripped
from own_smtp.hooks.events import StatusFilter
from own_smtp.i18n import Text, gettext, zone_of
from own_smtp.i18n import lazy_gettext as _
from own_smtp.states import State
from own_smtp.storage.models import LARGEST_ID

NEWEST, OLDEST = "newest", "oldest"
_REPLY = r"^([2-5]([0-9]?[0-9]|[0-9]?x|xx)?|[245]\.[0-9]{1,3}\.[0-9]{1,3})$"


def _part(label: Any, help_text: Any = "") -> StringField:
    return StringField(label, [Optional(), Length(max=200)], filters=[stripped], description=help_text)


class LogFilter(BaseForm):
    """The log's filter. It is submitted by GET, so that a filtered log has an address of its own."""

    class Meta:
        """No CSRF token: it changes nothing."""

        csrf = False

    state = SelectMultipleField(
        _("State"), [Optional()], coerce=State, widget=ListWidget(), option_widget=CheckboxInput()
    )
    recipient = _part(_("Recipient"), _("A part of the address is enough."))
    reply = StringField(
        _("Reply code"),
        [Optional(), Regexp(_REPLY, message=_("A code such as 550, 5xx or 5.1.1, please."))],
        filters=[stripped],
        description=_("Such as 550, 5xx or 5.1.1."),
    )
    text = _part(_("Words"), _("A part of what the server said last, or of what happened."))
    since = DateField(_("From this day on"), [Optional()])
    until = DateField(_("Until this day"), [Optional()])
    order = SelectField(_("Order"), default=NEWEST)
    batch = IntegerField(validators=[Optional(), NumberRange(0, LARGEST_ID)], widget=HiddenInput())

    def __init__(self, given: Any, labels: Mapping[State, Text]) -> None:
        """`given` are the arguments of the address, `labels` the states' labels."""
        super().__init__(formdata=given)
        self.state.choices = list(labels.items())
        self.order.choices = [(NEWEST, gettext("Newest first")), (OLDEST, gettext("Oldest first"))]

    def validate_since(self, item: DateField) -> None:
        """Reject the first and the last year: calendars cannot calculate beyond them."""
        _check_year(item)

    def validate_until(self, item: DateField) -> None:
        """Reject a period that ends before it begins."""
        _check_year(item)
        if item.data and self.since.data and item.data < self.since.data:
            raise ValidationError(gettext("This is before the beginning."))

    def wanted(self, timezone: str, after: str | None = None) -> StatusFilter:
        """Return the filter; its days are in the given time zone. Only after `validate`."""
        until = self.until.data + timedelta(days=1) if self.until.data else None
        return StatusFilter(
            batch_id=self.batch.data,
            states=frozenset(self.state.data or ()),
            recipient=self.recipient.data or "",
            reply=(self.reply.data or "").rstrip("x"),
            text=self.text.data or "",
            since=_midnight(self.since.data, timezone),
            until=_midnight(until, timezone),
            oldest_first=self.order.data == OLDEST,
            after=after,
        )

    @property
    def is_narrow(self) -> bool:
        """Whether it excludes anything from the page."""
        return any(item.data for item in self if item.name not in {"order", "batch"})

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of an address with the same filter."""
        given = {item.name: item.data for item in self if item.data}
        given |= {name: given[name].isoformat() for name in ("since", "until") if name in given}
        if given.get("order") == NEWEST:
            del given["order"]
        return given


def _check_year(item: DateField) -> None:
    if item.data and not date.min.year < item.data.year < date.max.year:
        raise ValidationError(gettext("Please check the year."))


def _midnight(day: date | None, timezone: str) -> datetime | None:
    return datetime.combine(day, time(), zone_of(timezone)) if day else None


class SelectionForm(BaseForm):
    """The bulk action and the selected invitations: first asked for, then confirmed."""

    deed = SelectField(_("What to do"), [InputRequired()])
    ids = SelectMultipleField(coerce=int, validate_choice=False)
    everything = BooleanField(_("Not only those that are ticked: all that the filter finds, on every page"))
    confirmed = HiddenField()
    copies = BooleanField(_("I know that recipients of “unknown” invitations may get a second copy"))

    def __init__(self, deeds: list[str], most: int) -> None:
        """`deeds` are the possible actions; `most` is how many invitations can be selected one by one."""
        super().__init__()
        self.deed.choices = [(deed, deed) for deed in deeds]
        self._most = most

    def validate_ids(self, item: SelectMultipleField) -> None:
        """Require a selection, no larger than a page."""
        if not self.everything.data and not item.data:
            raise ValidationError(gettext("Please tick at least one."))
        if len(item.data or ()) > self._most:
            raise ValidationError(gettext("That is more than one page holds."))
        if any(abs(number) > LARGEST_ID for number in item.data or ()):
            raise ValidationError(gettext("Please choose again."))
