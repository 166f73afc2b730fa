"""The form for invitations whose route is closed."""

from __future__ import annotations

from collections.abc import Sequence

from wtforms import RadioField
from wtforms.validators import DataRequired

from own_smtp.forms.base import BaseForm
from own_smtp.i18n import gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.states import RelayState
from own_smtp.storage.models import Relay

KEEP, CANCEL, MOVE = "keep", "cancel", "move:"


class RerouteForm(BaseForm):
    """Keep the old route, move to another server, or cancel."""

    waiting = RadioField(_("What shall become of them?"), [DataRequired(_("Please choose one."))])

    def __init__(self, targets: Sequence[Relay], *, can_stay: bool) -> None:
        super().__init__()
        stay = [(KEEP, gettext("Deliver them the old way"))] if can_stay else []
        moves = [(f"{MOVE}{relay.id}", _move_to(relay)) for relay in targets]
        self.waiting.choices = [*stay, *moves, (CANCEL, gettext("Cancel them: they are not sent at all"))]

    @property
    def target_id(self) -> int | None:
        """The relay to move to; `None` when they do not move. Only after `validate`."""
        choice: str = self.waiting.data
        return int(choice.removeprefix(MOVE)) if choice.startswith(MOVE) else None

    @property
    def cancels(self) -> bool:
        """Whether they are cancelled. Only after `validate`."""
        return bool(self.waiting.data == CANCEL)


def _move_to(relay: Relay) -> str:
    """Return a server's label; if the server may not send, it says that invitations would wait there."""
    text = gettext("Move them to “%(label)s”", label=relay.label)
    if relay.state == RelayState.PAUSED:
        return f"{text} " + gettext("(paused: they wait there)")
    return text if relay.state == RelayState.ACTIVE else f"{text} " + gettext("(not confirmed: they wait there)")
