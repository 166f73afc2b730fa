"""Waiting invitations whose way is about to be closed: done with as a person said."""

from __future__ import annotations

from sqlalchemy.orm import Session

from own_smtp.forms.leftovers import LeftoversForm
from own_smtp.i18n import ngettext
from own_smtp.outbox import reroute
from own_smtp.outbox.reroute import Scope
from own_smtp.web.access import current_actor
from own_smtp.web.pages import note


def settle_leftovers(session: Session, form: LeftoversForm, scope: Scope) -> list[int]:
    """Move or withdraw what waits, or let it be. Return the relays to wake after the commit.

    Says on the next page what was done. Raises `ConflictError` when it cannot be done now.
    """
    user_id, connection = current_actor().user_id, session.connection()
    if form.target_id is not None:
        moved = reroute.move_waiting(connection, scope, form.target_id, user_id=user_id)
        note(ngettext("%(num)s invitation was moved.", "%(num)s invitations were moved.", moved))
        return [form.target_id]
    if form.cancels:
        cancelled = reroute.cancel_waiting(connection, scope, user_id=user_id)
        note(ngettext("%(num)s invitation was cancelled.", "%(num)s invitations were cancelled.", cancelled))
    return []
