"""The form for a mail server's suggestions."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import BooleanField, SelectMultipleField
from wtforms.widgets import CheckboxInput, ListWidget

from own_smtp.forms.base import BaseForm
from own_smtp.hooks.events import Person, Project
from own_smtp.i18n import lazy_gettext as _


class SuggestionsForm(BaseForm):
    """The whole tenant, some people, some projects."""

    everybody = BooleanField(
        _("All projects"), description=_("Where neither a project nor a person has a suggestion of its own.")
    )
    projects = SelectMultipleField(_("These projects"), widget=ListWidget(), option_widget=CheckboxInput())
    users = SelectMultipleField(
        _("Projects that these people set up"), widget=ListWidget(), option_widget=CheckboxInput()
    )

    def __init__(
        self,
        people: Sequence[Person],
        projects: Sequence[Project],
        *,
        everybody: bool,
        chosen_users: Sequence[str],
        chosen_projects: Sequence[str],
    ) -> None:
        super().__init__(data={"everybody": everybody, "users": chosen_users, "projects": chosen_projects})
        self.users.choices = [(person.user_id, person.name) for person in people]
        self.projects.choices = [(project.project_id, project.title) for project in projects]
