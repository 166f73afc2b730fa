"""The pages of a test: started from the form or a server's page, watched, its certificate trusted, saved."""

from __future__ import annotations

from flask import abort, redirect, request, url_for
from flask.typing import ResponseReturnValue
from sqlalchemy.orm import Session

from own_smtp.current import extension
from own_smtp.errors import LimitError, NotFoundError, SecretError
from own_smtp.forms.base import typed_fields
from own_smtp.hooks.events import Action
from own_smtp.i18n import gettext
from own_smtp.operations import trial_service
from own_smtp.relays import dry_runs, store
from own_smtp.relays.dry_runs import Kept
from own_smtp.relays.edits import GUARDS_PASSWORD, RelayDraft
from own_smtp.states import RelayTestState
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Relay, RelayTest
from own_smtp.web.access import acting, current_actor, may, require_admission, requires
from own_smtp.web.dry_run_panel import TestPanel, dry_run_panel
from own_smtp.web.pages import ButtonForm, blueprint, check_button, db_session, id_argument, note, render
from own_smtp.web.relay_saving import back_to, save


def is_wanted() -> bool:
    """Whether the form's "test" button was pressed, and not "save"."""
    if "test" not in typed_fields():
        return False
    if not may(Action.TEST):
        abort(403)
    return True


def tested_settings(session: Session, relay: Relay | None) -> tuple[RelayTest | None, Kept | None]:
    """Return the test in the form's address, with the values typed for it; nothing when it was deleted."""
    test_id = id_argument("test")
    if test_id is None:
        return None, None
    test = None
    try:
        test = _own(session, test_id)
        kept = dry_runs.read_settings(extension().vault, test)
    except (NotFoundError, SecretError):
        kept = None
    if kept is None and test is not None and test.saved_at is not None and request.method == "POST":
        dry_runs.unsaved_settings(extension().vault, test)  # a second click must not create a second server
    if kept is None or test is None or test.relay_id != (relay.id if relay else None):
        if request.method == "GET":
            note(gettext("What was typed for the test is not kept any more."), "warning")
        return None, None
    return test, kept


def covers_draft(test: RelayTest | None, tested: Kept | None, draft: RelayDraft) -> bool:
    """Whether a test passed with the settings that the password depends on."""
    if test is None or tested is None or test.state != RelayTestState.PASSED:
        return False
    return all(getattr(tested.draft, name) == getattr(draft, name) for name in (*GUARDS_PASSWORD, "password"))


def begin(kept: Kept, relay: Relay | None, *, saves: bool = False) -> ResponseReturnValue | None:
    """Request a test and redirect to its page; `None` after too many tests, with a message for the next page.

    With `saves` settings that pass are saved, and the caller saves settings that cannot be tested.
    """
    require_admission()
    try:
        test_id = trial_service.request_test(extension(), acting(), kept, relay.id if relay else None, saves=saves)
    except LimitError as error:
        untested = gettext("The new password was not tested: there were too many tests within an hour.")
        note(untested if saves else str(error), "warning")
        return None
    return _to_test(test_id)


@blueprint.post("/servers/<int:relay_id>/test")
@requires(Action.TEST)
def test_relay(relay_id: int) -> ResponseReturnValue:
    """Test a server's saved settings."""
    relay = store.get_relay(db_session(), current_actor().tenant_id, relay_id)
    check_button()
    return begin(Kept(dry_runs.draft_of(relay), None), relay) or back_to(relay_id)


@blueprint.get("/tests/<int:test_id>")
@requires(Action.VIEW)
def show_test(test_id: int) -> ResponseReturnValue:
    """Show a test's progress, and then its result."""
    panel = _panel(test_id)
    return render(
        "relay_test.html",
        panel=panel,
        test=panel.test,
        button=ButtonForm(),
        queue_is_up=not panel.is_late or extension().queue_is_up(),
    )


@blueprint.get("/tests/<int:test_id>/status")
@requires(Action.VIEW)
def test_status(test_id: int) -> ResponseReturnValue:
    """Return whether the page would look different now; the page's script polls it."""
    return {"version": _panel(test_id).version}


@blueprint.post("/tests/<int:test_id>/again")
@requires(Action.TEST)
def test_again(test_id: int) -> ResponseReturnValue:
    """Run the test with the same settings again."""
    test, kept, relay = _test_of_button(test_id)
    return begin(kept, relay, saves=test.saves and may(Action.EDIT)) or _to_test(test_id)


@blueprint.post("/tests/<int:test_id>/trust")
@requires(Action.EDIT)
def trust_certificate(test_id: int) -> ResponseReturnValue:
    """Trust the certificate that the test received, by its fingerprint, and test again with it."""
    _test_of_button(test_id)
    require_admission()
    try:
        return _to_test(trial_service.trust_certificate(extension(), acting(), test_id))
    except LimitError as error:
        note(str(error), "warning")
        return _to_test(test_id)


@blueprint.post("/tests/<int:test_id>/save")
@requires(Action.EDIT)
def save_test(test_id: int) -> ResponseReturnValue:
    """Save the settings of a test."""
    test, kept, relay = _test_of_button(test_id)
    return save(relay, kept.draft, test)


def _test_of_button(test_id: int) -> tuple[RelayTest, Kept, Relay | None]:
    """Return the test of the button, with its settings and its server."""
    session = db_session()
    test = _own(session, test_id)
    check_button()
    kept = dry_runs.unsaved_settings(extension().vault, test)
    relay = store.get_relay(session, test.tenant_id, test.relay_id) if test.relay_id is not None else None
    return test, kept, relay


def _panel(test_id: int) -> TestPanel:
    session = db_session()
    test = _own(session, test_id)
    relay = store.get_relay(session, test.tenant_id, test.relay_id) if test.relay_id is not None else None
    try:
        kept = dry_runs.read_settings(extension().vault, test)
    except SecretError:
        kept = None
    return dry_run_panel(test, kept, relay, read_clock(session.connection()), extension().settings.certificate_warning)


def _own(session: Session, test_id: int) -> RelayTest:
    actor = current_actor()
    return dry_runs.get_run(session, actor.tenant_id, actor.user_id, test_id)


def _to_test(test_id: int) -> ResponseReturnValue:
    return redirect(url_for("own_smtp.show_test", test_id=test_id))
