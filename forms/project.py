"""The form for a project's route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wtforms import BooleanField, IntegerField, RadioField
from wtforms.validators import NumberRange, Optional

from own_smtp.forms.base import BaseForm
from own_smtp.i18n import gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.storage.models import ProjectRoute, Relay

PLATFORM = "platform"
DEFAULT_HOURS = 24
MOST_HOURS = 30 * 24


class ProjectForm(BaseForm):
    """The platform's mail, or one of the tenant's servers with or without platform fallback."""

    route = RadioField(_("Invitations of this project leave through"))
    falls_back = BooleanField(
        _("If the own server does not take an invitation in time, let the platform's mail send it")
    )
    hours = IntegerField(
        _("After how many hours"),
        [Optional(), NumberRange(1, MOST_HOURS, _("A number from %(min)s to %(max)s, please."))],
        default=DEFAULT_HOURS,
        description=_("Counted from the moment that the invitations are sent."),
    )

    def __init__(
        self,
        relays: Sequence[Relay],
        chosen: ProjectRoute | None,
        suggested: Relay | None = None,
        *,
        can_fall_back: bool,
    ) -> None:
        """`suggested` is preselected as long as no choice was made.

        Without `can_fall_back` the platform has no mail server that could take over, and the form does not offer it.
        """
        super().__init__(data=_values(chosen) if chosen or not suggested else {"route": str(suggested.id)})
        self.route.choices = [(PLATFORM, gettext("The platform's mail"))] + [
            (str(relay.id), relay.label) for relay in relays
        ]
        if not can_fall_back:
            del self.falls_back, self.hours

    @property
    def relay_id(self) -> int | None:
        """The chosen relay; `None` means the platform's mail. Only after `validate`."""
        return None if self.route.data == PLATFORM else int(self.route.data)

    @property
    def fallback_after(self) -> int | None:
        """Seconds until the platform's mail may take over; `None` means never. Only after `validate`."""
        if self.relay_id is None or self.falls_back is None or not self.falls_back.data:
            return None
        return (self.hours.data or DEFAULT_HOURS) * 3600


def _values(chosen: ProjectRoute | None) -> dict[str, Any]:
    if chosen is None or chosen.relay_id is None:
        return {"route": PLATFORM}
    seconds = chosen.fallback_after
    hours = DEFAULT_HOURS if seconds is None else max(1, seconds // 3600)
    return {"route": str(chosen.relay_id), "falls_back": seconds is not None, "hours": hours}
