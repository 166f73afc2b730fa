"""What follows when a server was saved, whichever page it was: the commit, the confirmation mail, the host's news."""

from __future__ import annotations

from flask import redirect, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from own_smtp.current import extension
from own_smtp.errors import ConflictError
from own_smtp.forms.relay import UNUSUAL
from own_smtp.i18n import gettext
from own_smtp.relays import confirmations, dry_runs, edits, store
from own_smtp.relays.edits import RelayDraft
from own_smtp.states import RelayState, Security
from own_smtp.storage.models import Relay, RelayTest
from own_smtp.web.access import current_actor, insist_on_admission
from own_smtp.web.pages import note


def save_new(session: Session, draft: RelayDraft, test: RelayTest | None = None) -> ResponseReturnValue:
    """Save a new server, and go to its page. `test` is the one that the settings come from."""
    insist_on_admission()
    actor = current_actor()
    relay = edits.create(
        session,
        extension().vault,
        actor.tenant_id,
        draft,
        user_id=actor.user_id,
        ceiling=extension().in_force().relays_per_tenant,
    )
    return _saved(session, relay, test, needs_mail=True)


def save_change(
    session: Session, relay: Relay, draft: RelayDraft, test: RelayTest | None = None
) -> ResponseReturnValue:
    """Save a changed server, and go to its page. `test` is the one that the settings come from."""
    was = relay.state
    locks = edits.change(session, extension().vault, relay, draft, user_id=current_actor().user_id)
    is_unsaid = relay.state != was
    mends_mail = draft.password is not None and relay.state == RelayState.UNCONFIRMED
    answer = _saved(session, relay, test, needs_mail=locks or mends_mail)
    if is_unsaid:
        tell(relay)
    return answer


def _saved(session: Session, relay: Relay, test: RelayTest | None, *, needs_mail: bool) -> ResponseReturnValue:
    if test is not None:
        dry_runs.note_saved(session, test, relay.id)
    if needs_mail:
        request_confirmation(session, relay)
    else:
        session.commit()
        extension().enqueue_drain(relay.id)
        note(gettext("Saved."), "success")
    if (Security(relay.security), relay.port) in UNUSUAL:
        note(
            gettext("Encryption and port rarely go together like this. STARTTLS goes with 587, implicit TLS with 465."),
            "warning",
        )
    return back_to(relay.id)


def request_confirmation(session: Session, relay: Relay) -> None:
    """Commit, with a confirmation mail unless the tenant caused too many of them."""
    try:
        confirmation = confirmations.request_confirmation(
            session, extension().settings, relay, user_id=current_actor().user_id
        )
    except ConflictError as error:
        session.commit()
        note(str(error), "warning")
        return
    session.commit()
    extension().enqueue("send_confirmation", confirmation.id)


def tell(relay: Relay) -> None:
    """Tell the host of the server's state, after the commit."""
    extension().host.relay_changed(store.change_of(relay))


def back_to(relay_id: int) -> ResponseReturnValue:
    """Go to the server's page."""
    return redirect(url_for("own_smtp.show_relay", relay_id=relay_id))
