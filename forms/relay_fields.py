"""The fields of a mail server's form. `relay` has the checks that combine them, and turns them into a draft."""

from __future__ import annotations

from wtforms import (
    BooleanField,
    HiddenField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.validators import Length, NumberRange, Optional

from own_smtp.forms.base import BaseForm
from own_smtp.forms.checks import Address, number_of, one_line, readable, required, stripped
from own_smtp.forms.windows import window_rows
from own_smtp.i18n import lazy_gettext as _
from own_smtp.relays.presets import PRESETS
from own_smtp.states import Security

DEFAULT_CONNECTIONS = 4


def known_preset(key: str | None) -> str | None:
    """Accept a preset's key; ignore anything else."""
    return key if key in PRESETS else None


class RelayFields(BaseForm):
    """The input for one mail server."""

    label = StringField(
        _("Name of this server"),
        [required(), Length(max=100), one_line],
        filters=[stripped],
        description=_("How you recognise it in lists, for example “Company mail”."),
    )
    preset = HiddenField(filters=[known_preset])
    description = TextAreaField(_("Note"), [Length(max=1000), readable], filters=[stripped])
    host = StringField(
        _("Mail server"),
        [required(), Length(max=255)],
        filters=[stripped],
        description=_("Its name, as your mail administrator or provider gives it, for example mail.example.com."),
    )
    security = RadioField(_("Encryption"), default=Security.STARTTLS)
    port = IntegerField(
        _("Port"),
        [Optional(), NumberRange(1, 65535, _("A port is a number from 1 to 65535."))],
        description=_("Leave empty for the usual one: 587 for STARTTLS, 465 for implicit TLS."),
    )
    auth = BooleanField(_("The server wants a user name and a password"), default=True)
    username = StringField(_("User name"), [Length(max=320), one_line], filters=[stripped])
    password = PasswordField(_("Password"), [Length(max=1000), readable])
    sender_address = StringField(
        _("Sender address"),
        [required(), Address()],
        filters=[stripped],
        description=_("What recipients see as From. The confirmation mail goes there, too."),
    )
    sender_name = StringField(_("Sender name"), [Length(max=200), one_line], filters=[stripped])
    reply_to = StringField(
        _("Replies to"),
        [Address()],
        filters=[stripped],
        description=_("Leave empty to get replies at the sender address."),
    )
    is_default = BooleanField(
        _("Suggest this server for new projects"),
        description=_("To suggest it for some people or projects only, save first: its page leads there."),
    )

    envelope_sender = StringField(
        _("Envelope sender"),
        [Address()],
        filters=[stripped],
        description=_("Where bounce messages go. Leave empty for the sender address."),
    )
    confirmation_address = StringField(
        _("Address for the confirmation mail"),
        [Address()],
        filters=[stripped],
        description=_("Default: the sender address. If you enter another one, the sender may have to confirm as well."),
    )
    ehlo_name = StringField(
        _("EHLO name"),
        [Optional(), one_line],
        filters=[stripped],
        description=_(
            "A full host name by which this platform introduces itself. Leave empty unless your server asks for one."
        ),
    )
    max_connections = IntegerField(
        _("Connections at a time"),
        [Optional(), NumberRange(1, 100, _("A number from %(min)s to %(max)s, please."))],
        default=DEFAULT_CONNECTIONS,
        description=_("All limits hold for all connections together."),
    )
    messages_per_connection = number_of(
        _("Messages per connection"),
        _("After so many a new connection is opened. Leave empty for no limit."),
        least=1,
        most=1_000_000,
    )
    min_interval = number_of(
        _("Least time between two messages, in seconds"),
        _("2 means 30 a minute, 1,800 an hour."),
        least=0.001,
        most=86_400,
        whole=False,
    )
    jitter = number_of(
        _("Random extra time, in percent"),
        _("Lengthens each spacing by up to this much: with 2 seconds and 50 percent, 2 to 3 seconds."),
        least=0,
        most=100,
    )
    per_second = number_of(
        _("Messages per second"), _("0.5 means one every 2 seconds."), least=0.001, most=10_000, whole=False
    )
    per_minute = number_of(_("Messages per minute"), _("In any 60 seconds."), least=1, most=1_000_000)
    per_hour = number_of(_("Messages per hour"), _("In any 60 minutes, not by the clock."), least=1, most=10_000_000)
    per_day = number_of(
        _("Messages per day"),
        _("In any 24 hours: what your provider allows, less what else it sends."),
        least=1,
        most=100_000_000,
    )
    sending_windows = window_rows()
    timezone = SelectField(_("Time zone of these hours"))

    usual_authorities = BooleanField(_("Trust the usual authorities again, and not only this one certificate"))

    more = ("envelope_sender", "confirmation_address", "ehlo_name", "max_connections", "messages_per_connection")
    pace = ("min_interval", "jitter", "per_second", "per_minute", "per_hour", "per_day")
