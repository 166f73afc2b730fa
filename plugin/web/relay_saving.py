"""Saving a server, from any page: the message for the next page."""

from __future__ import annotations

from flask import redirect, url_for
from flask.typing import ResponseReturnValue

from own_smtp.current import extension
from own_smtp.forms.relay import UNUSUAL
from own_smtp.i18n import gettext
from own_smtp.operations import relay_service
from own_smtp.operations.relay_service import Saved
from own_smtp.relays.edits import RelayDraft
from own_smtp.storage.models import Relay, RelayTest
from own_smtp.web.access import acting, require_admission
from own_smtp.web.pages import note


def save(relay: Relay | None, draft: RelayDraft, test: RelayTest | None = None) -> ResponseReturnValue:
    """Save a server, a new one if `relay` is `None`, and redirect to its page. `test` is the test that tried the
    settings.
    """
    test_id = test.id if test else None
    if relay is None:
        require_admission()
        return report(relay_service.save_new(extension(), acting(), draft, test_id), draft)
    return report(relay_service.save_change(extension(), acting(), relay.id, draft, test_id), draft)


def report(saved: Saved, draft: RelayDraft) -> ResponseReturnValue:
    """Announce the result on the server's page, and redirect to it."""
    if saved.refusal is not None:
        note(saved.refusal, "warning")
    elif not saved.mails:
        note(gettext("Saved."), "success")
    if (draft.security, draft.port) in UNUSUAL:
        note(
            gettext("Encryption and port rarely go together like this. STARTTLS goes with 587, implicit TLS with 465."),
            "warning",
        )
    return back_to(saved.relay_id)


def back_to(relay_id: int) -> ResponseReturnValue:
    """Redirect to the server's page."""
    return redirect(url_for("own_smtp.show_relay", relay_id=relay_id))
