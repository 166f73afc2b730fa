"""Waiting invitations whose route is about to be closed: the person's choice for them, and its result."""

from __future__ import annotations

from own_smtp.forms.reroute import RerouteForm
from own_smtp.i18n import ngettext
from own_smtp.operations.project_service import WaitingChoice
from own_smtp.web.pages import note


def choice_of(form: RerouteForm) -> WaitingChoice:
    """Return the choice. Only after `validate`."""
    return WaitingChoice(target_id=form.target_id, cancels=form.cancels)


def announce_settled(choice: WaitingChoice, number: int) -> None:
    """Announce on the next page how many invitations were moved or cancelled."""
    if choice.target_id is not None:
        note(ngettext("%(num)s invitation was moved.", "%(num)s invitations were moved.", number))
    elif choice.cancels:
        note(ngettext("%(num)s invitation was cancelled.", "%(num)s invitations were cancelled.", number))
