"""The platform's forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from zoneinfo import available_timezones

from flask_babel import lazy_gettext as _
from flask_wtf import FlaskForm
from flask_wtf.file import FileField, FileRequired
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    EmailField,
    HiddenField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectField,
    StringField,
    TextAreaField,
)
from wtforms.validators import DataRequired, Email, InputRequired, Length, NumberRange, Optional, ValidationError

from survey_host import texts
from survey_host.models import LANGUAGES, QuestionKind, Role

ADDRESS = Email(check_deliverability=False, message=_("This is not an e-mail address."))
ROLES = {Role.SURVEY_MANAGER: _("Survey manager"), Role.TENANT_ADMIN: _("Tenant administrator")}
QUESTION_KINDS = {
    QuestionKind.TEXT: _("Free text"),
    QuestionKind.SINGLE: _("Single choice"),
    QuestionKind.MULTIPLE: _("Multiple choice"),
    QuestionKind.SCALE: _("Scale"),
}


def choices(labels: Mapping[Any, Any]) -> Callable[[], list[tuple[str, Any]]]:
    """Return the choices of a select or radio field, as a function, which every version of WTForms accepts.

    `labels` maps values to texts.
    """
    return lambda: pairs(labels)


def pairs(labels: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    """Return choices for a field of a form that exists already."""
    return [(str(value), label) for value, label in labels.items()]


class SignInForm(FlaskForm):
    email = EmailField(_("E-mail address"), [DataRequired(), Length(max=254)])
    password = PasswordField(_("Password"), [DataRequired(), Length(max=200)])
    next = HiddenField()


class EmptyForm(FlaskForm):
    """Only the CSRF token."""


class ForgetForm(FlaskForm):
    email = EmailField(_("E-mail address"), [DataRequired(), ADDRESS, Length(max=254)])


class SurveyForm(FlaskForm):
    title = StringField(_("Title"), [DataRequired(), Length(max=200)])
    welcome = TextAreaField(_("Welcome text"), [Length(max=5000)])
    thanks = TextAreaField(_("Thank-you text"), [Length(max=5000)])
    language = SelectField(
        _("Main language"),
        choices=choices(LANGUAGES),
        description=_("For participants in whose language there is no text."),
    )
    closes_at = DateTimeLocalField(
        _("Closes at"),
        [Optional()],
        format=["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        description=_("In the time zone of your organisation. Leave empty to keep it open."),
    )


class QuestionForm(FlaskForm):
    text = StringField(_("Question"), [DataRequired(), Length(max=1000)])
    kind = SelectField(_("Type"), choices=choices(QUESTION_KINDS))
    options = TextAreaField(
        _("Choices"),
        [Length(max=5000)],
        description=_("One a line. For a scale: the words at its two ends. Free text needs none."),
    )
    points = IntegerField(_("Steps of a scale"), [InputRequired(), NumberRange(2, 11)], default=5)
    is_required = BooleanField(_("An answer is required"))

    def lines(self) -> list[str]:
        """Return the lines, each once."""
        return list(dict.fromkeys(line.strip() for line in (self.options.data or "").splitlines() if line.strip()))

    def validate_options(self, _field: TextAreaField) -> None:
        """Require at least two choices."""
        if self.kind.data in {QuestionKind.SINGLE, QuestionKind.MULTIPLE} and len(self.lines()) < 2:
            raise ValidationError(_("Enter at least two choices, one a line."))


class TextForm(FlaskForm):
    subject = StringField(_("Subject"), [DataRequired(), Length(max=250)])
    text = TextAreaField(_("Text"), [DataRequired(), Length(max=50_000)])
    html = TextAreaField(
        _("HTML version"), [Length(max=200_000)], description=_("Optional. Sent beside the text, not instead of it.")
    )

    def validate_subject(self, field: StringField) -> None:
        """Reject unknown placeholders: they would be sent as they are."""
        names = texts.unknown_placeholders(field.data or "")
        if names:
            listed = ", ".join(f"{{{name}}}" for name in names)
            raise ValidationError(_("Unknown placeholder: %(names)s", names=listed))

    validate_html = validate_subject

    def validate_text(self, field: TextAreaField) -> None:
        """Require the placeholder of the survey's address."""
        self.validate_subject(field)
        if "{SURVEYURL}" not in (field.data or ""):
            raise ValidationError(_("The text must contain {SURVEYURL}, or nobody finds the survey."))


class ParticipantForm(FlaskForm):
    first_name = StringField(_("First name"), [Length(max=120)])
    last_name = StringField(_("Last name"), [Length(max=120)])
    email = EmailField(_("E-mail address"), [DataRequired(), Length(max=254), ADDRESS])
    language = SelectField(_("Language"), choices=choices(LANGUAGES))


class ImportForm(FlaskForm):
    file = FileField(_("CSV file"), [FileRequired(_("Choose a file first."))])
    keep_good = BooleanField(_("Import the good rows even when others are bad"))


class SendForm(FlaskForm):
    audience = RadioField(_("To whom"), [InputRequired(_("Choose who gets the mail."))])
    sender = RadioField(_("Sent by"), [InputRequired(_("Choose who sends."))])
    nonce = HiddenField(validators=[DataRequired(), Length(max=64)])


class TenantForm(FlaskForm):
    name = StringField(_("Name"), [DataRequired(), Length(max=120)])
    language = SelectField(_("Language"), choices=choices(LANGUAGES))
    timezone = StringField(_("Time zone"), [DataRequired()], default="UTC", description=_("For example Europe/Berlin."))

    def validate_timezone(self, field: StringField) -> None:
        """Accept only names of the IANA time zone database."""
        if field.data not in available_timezones():
            raise ValidationError(_("This is not a time zone such as Europe/Berlin."))


class AccountForm(FlaskForm):
    name = StringField(_("Name"), [DataRequired(), Length(max=120)])
    email = EmailField(_("E-mail address"), [DataRequired(), Length(max=254), ADDRESS])
    role = SelectField(_("Role"), choices=choices(ROLES))
    language = SelectField(_("Language"), choices=choices(LANGUAGES))
    password = PasswordField(
        _("Password"),
        [Optional(), Length(min=10, max=200, message=_("At least 10 characters."))],
        description=_("At least 10 characters. Leave empty to keep the present one."),
    )
    is_active = BooleanField(_("May sign in"), default=True)


class ProfileForm(FlaskForm):
    language = SelectField(_("Language"), choices=choices(LANGUAGES))
    present = PasswordField(_("Present password"), [Length(max=200)])
    password = PasswordField(
        _("New password"),
        [Optional(), Length(min=10, max=200, message=_("At least 10 characters."))],
        description=_("Leave empty to keep the present one."),
    )
