"""Acts on a mail server: each one changes, records, commits, enqueues jobs and notifies the host.

Pages, commands and jobs call these functions and nothing below them. They need the current extension, hence their place
in this room and not in `own_smtp.relays`, which knows neither the queue nor the host.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from sqlalchemy.orm import Session

from own_smtp.current import Extension
from own_smtp.errors import ConflictError, LimitError, NotFoundError
from own_smtp.hooks.events import RelayChange
from own_smtp.i18n import gettext
from own_smtp.operations.acts import Acting, act
from own_smtp.operations.project_service import WaitingChoice, settle_waiting
from own_smtp.outbox import reroute
from own_smtp.outbox.leases import lock_leases
from own_smtp.outbox.reroute import Scope
from own_smtp.relays import confirmations, dry_runs, edits, lifecycle, store, suggestions
from own_smtp.relays.confirmations import LinkState
from own_smtp.relays.edits import RelayDraft
from own_smtp.settings import Settings
from own_smtp.states import PauseReason, RelayState
from own_smtp.storage.models import Confirmation, Relay, RelayTest


@dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """A saved server."""

    relay_id: int
    refusal: str | None = None
    """Why a required confirmation mail was not sent; `None` when it was sent, or none is required."""
    mails: tuple[int, ...] = ()
    """The confirmations whose mails are to be sent."""
    change: RelayChange | None = None
    """The event for the host; `None` when the server's state did not change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmResult:
    """The result of a click on a confirmation link."""

    state: LinkState
    confirmation_id: int | None
    waits_for: tuple[str, ...] = ()
    """Further addresses that must confirm before the server may send."""


def save_new(extension: Extension, acting: Acting, draft: RelayDraft, test_id: int | None = None) -> Saved:
    """Save a new server and request its confirmation. `test_id` is the test that tried the settings.

    Raises `ConflictError` when the tenant has too many servers, or saved this test already.
    """
    settings = extension.in_force()
    with act(extension, acting.tenant_id) as session:
        test = _locked_test(session, acting, test_id)
        relay = edits.create(
            session,
            extension.vault,
            acting.tenant_id,
            draft,
            user_id=acting.user_id,
            ceiling=settings.relays_per_tenant,
            address=acting.address,
        )
        saved = _saved(settings, session, acting, relay, test, needs_mail=True)
    return _announce(extension, saved)


def save_change(
    extension: Extension, acting: Acting, relay_id: int, draft: RelayDraft, test_id: int | None = None
) -> Saved:
    """Save a changed server; request a confirmation if the change requires one.

    Raises `ConflictError` when the password must be typed again for the current server, or this test was saved already.
    """
    settings = extension.in_force()
    with act(extension, acting.tenant_id) as session:
        relay = store.lock_relay(session, acting.tenant_id, relay_id)
        test = _locked_test(session, acting, test_id)
        saved = _change(_Change(extension, settings, acting, draft), session, relay, test)
    return _announce(extension, saved)


def save_test(extension: Extension, acting: Acting, test_id: int) -> Saved:
    """Save the settings of a test, for its server or as a new one. Raises `ConflictError`."""
    draft, relay_id = _read_test(extension, acting, test_id)
    if relay_id is None:
        return save_new(extension, acting, draft, test_id)
    return save_change(extension, acting, relay_id, draft, test_id)


def save_passed(extension: Extension, test_id: int, draft: RelayDraft) -> None:
    """Save a new password whose test passed. If the relay was changed meanwhile, the person must decide."""
    found = extension.db.session().get_one(RelayTest, test_id, populate_existing=True)
    acting, relay_id = Acting(tenant_id=found.tenant_id, user_id=found.requested_by), found.relay_id or 0
    settings = extension.in_force()
    try:
        with act(extension, acting.tenant_id) as session:
            relay = store.lock_relay(session, acting.tenant_id, relay_id)
            test = _locked_test(session, acting, test_id)
            if not edits.is_password_only(relay, draft):
                return
            saved = _change(_Change(extension, settings, acting, draft), session, relay, test)
    except (ConflictError, NotFoundError):
        return
    _announce(extension, saved)


def request_confirmation(extension: Extension, acting: Acting, relay_id: int) -> None:
    """Send the confirmation mails again. Raises `ConflictError` when that is not possible now."""
    settings = extension.in_force()
    with act(extension, acting.tenant_id) as session:
        relay = store.lock_relay(session, acting.tenant_id, relay_id)
        wanted = confirmations.request_confirmation(session, settings, relay, user_id=acting.user_id, is_repeat=True)
        mails = [confirmation.id for confirmation in wanted]
    _send(extension, mails)


def confirm(extension: Extension, token: str) -> ConfirmResult:
    """Confirm by a link; the last confirmation that a server needs activates it."""
    state, found = confirmations.look_up(extension.db.session(), token)
    if found is None:
        return ConfirmResult(state=state, confirmation_id=None)
    tenant_id = extension.db.session().get_one(Relay, found.relay_id).tenant_id
    with act(extension, tenant_id) as session:
        state, confirmation = confirmations.confirm(session, token)
        waits_for = _open_addresses(session, confirmation) if state is LinkState.VALID else ()
        change = _change_by(session, confirmation) if state is LinkState.VALID and not waits_for else None
        result = ConfirmResult(
            state=state, confirmation_id=confirmation.id if confirmation else None, waits_for=waits_for
        )
    _notify_change(extension, change)
    return result


def pause(extension: Extension, acting: Acting, relay_id: int, note: str = "") -> bool:
    """Pause a server; its invitations wait. Return whether it was active before. `note` is shown to the tenant's
    people.
    """
    with act(extension, acting.tenant_id) as session:
        relay = store.lock_relay(session, acting.tenant_id, relay_id)
        is_new = lifecycle.pause(session, relay_id, PauseReason.PERSON, note, None, user_id=acting.user_id)
        change = _refreshed(session, relay) if is_new else None
    _notify_change(extension, change)
    return is_new


def resume(extension: Extension, acting: Acting, relay_id: int, *, accepts_refusals: bool = False) -> bool:
    """Resume a paused server. Return whether it was paused before.

    With `accepts_refusals` the relay is no longer paused when the server refuses everything: the refusals are about the
    recipients.
    """
    move = lifecycle.accept_refusals if accepts_refusals else lifecycle.resume
    with act(extension, acting.tenant_id) as session:
        relay = store.lock_relay(session, acting.tenant_id, relay_id)
        is_new = move(session, relay_id, user_id=acting.user_id)
        change = _refreshed(session, relay) if is_new else None
    _notify_change(extension, change)
    return is_new


def delete(extension: Extension, acting: Acting, relay_id: int, choice: WaitingChoice | None = None) -> int:
    """Delete a server, and settle its waiting invitations by `choice`. Return their number.

    Raises `ConflictError` when some wait and there is no choice: they may have been added since the page was shown.
    """
    scope = Scope(tenant_id=acting.tenant_id, relay_id=relay_id)
    target_id = choice.target_id if choice else None
    with act(extension, acting.tenant_id) as session:
        connection = session.connection()
        lock_leases(connection, [relay_id, *([] if target_id is None else [target_id])])
        relay = store.lock_relay(session, acting.tenant_id, relay_id, for_deletion=True)
        is_settled = choice is not None and choice.is_final
        if not is_settled and reroute.count_elsewhere(connection, scope, None):
            raise ConflictError(gettext("Invitations wait for this server by now. Open the page again and choose."))
        settled = settle_waiting(connection, scope, choice, user_id=acting.user_id) if choice else 0
        edits.delete(session, relay, user_id=acting.user_id)
    for touched in (relay_id, target_id):
        if touched is not None:
            extension.enqueue_drain(touched)
    return settled


def suggest(
    extension: Extension,
    acting: Acting,
    relay_id: int,
    *,
    everybody: bool,
    users: Collection[str],
    projects: Collection[str],
) -> bool:
    """Suggest a server to these people and projects, or to the whole tenant. Return whether anything changed."""
    with act(extension, acting.tenant_id) as session:
        relay = store.lock_relay(session, acting.tenant_id, relay_id)
        return suggestions.choose_suggestions(
            session, relay, everybody=everybody, users=users, projects=projects, user_id=acting.user_id
        )


@dataclass(frozen=True, slots=True)
class _Change:
    extension: Extension
    settings: Settings
    acting: Acting
    draft: RelayDraft


def _change(wanted: _Change, session: Session, relay: Relay, test: RelayTest | None) -> Saved:
    before, acting, draft = relay.state, wanted.acting, wanted.draft
    needs_mail = edits.change(
        session, wanted.extension.vault, relay, draft, user_id=acting.user_id, address=acting.address
    )
    mends_mail = draft.password is not None and relay.state == RelayState.UNCONFIRMED
    saved = _saved(wanted.settings, session, acting, relay, test, needs_mail=needs_mail or mends_mail)
    return saved if relay.state == before else replace(saved, change=store.change_of(relay))


def _saved(
    settings: Settings, session: Session, acting: Acting, relay: Relay, test: RelayTest | None, *, needs_mail: bool
) -> Saved:
    if test is not None:
        dry_runs.note_saved(session, test, relay.id)
    if not needs_mail:
        return Saved(relay_id=relay.id)
    try:
        wanted = confirmations.request_confirmation(session, settings, relay, user_id=acting.user_id)
    except LimitError as error:
        return Saved(relay_id=relay.id, refusal=str(error))
    return Saved(relay_id=relay.id, mails=tuple(confirmation.id for confirmation in wanted))


def _announce(extension: Extension, saved: Saved) -> Saved:
    """After the commit: send the mails, enqueue the drain, notify the host."""
    _send(extension, saved.mails)
    if not saved.mails and saved.refusal is None:
        extension.enqueue_drain(saved.relay_id)
    if saved.change is not None:
        extension.host.relay_changed(saved.change)
    return saved


def _send(extension: Extension, mails: Collection[int]) -> None:
    for confirmation_id in mails:
        extension.enqueue("send_confirmation", confirmation_id)


def _notify_change(extension: Extension, change: RelayChange | None) -> None:
    if change is not None:
        extension.enqueue_drain(change.relay_id)
        extension.host.relay_changed(change)


def _refreshed(session: Session, relay: Relay) -> RelayChange:
    session.refresh(relay)
    return store.change_of(relay)


def _change_by(session: Session, confirmation: Confirmation | None) -> RelayChange | None:
    return store.change_of(session.get_one(Relay, confirmation.relay_id)) if confirmation else None


def _open_addresses(session: Session, confirmation: Confirmation | None) -> tuple[str, ...]:
    return confirmations.open_addresses(session, confirmation.relay_id) if confirmation else ()


def _read_test(extension: Extension, acting: Acting, test_id: int) -> tuple[RelayDraft, int | None]:
    test = dry_runs.get_run(extension.db.session(), acting.tenant_id, acting.user_id, test_id)
    return dry_runs.unsaved_settings(extension.vault, test).draft, test.relay_id


def _locked_test(session: Session, acting: Acting, test_id: int | None) -> RelayTest | None:
    """Return the test, behind its relay's lock."""
    if test_id is None:
        return None
    return dry_runs.lock_unsaved(session, acting.tenant_id, acting.user_id, test_id)
