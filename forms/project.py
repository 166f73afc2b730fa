"""The form that chooses how a project's invitations leave."""

from __future__ import annotations

from collections.abc import Sequence

from flask_wtf import FlaskForm
from wtforms import RadioField

from own_smtp.models import Relay
from own_smtp.texts import gettext
from own_smtp.texts import lazy_gettext as _

PLATFORM = "platform"


class ProjectForm(FlaskForm):
    """The platform's mail, or one of the tenant's servers."""

    route = RadioField(_("Invitations of this project leave through"))

    def __init__(self, relays: Sequence[Relay], chosen: int | None) -> None:
        super().__init__(data={"route": PLATFORM if chosen is None else str(chosen)})
        self.route.choices = [(PLATFORM, gettext("The platform's mail"))] + [
            (str(relay.id), relay.label) for relay in relays
        ]

    @property
    def relay_id(self) -> int | None:
        """The chosen relay; `None` means the platform's mail. Only after `validate`."""
        return None if self.route.data == PLATFORM else int(self.route.data)
