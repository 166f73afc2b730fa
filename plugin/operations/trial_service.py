"""Acts that try a mail server: tests of settings, trust in a certificate shown in one, test mails."""

from __future__ import annotations

from own_smtp.current import Extension
from own_smtp.errors import ConflictError
from own_smtp.hooks.events import Content
from own_smtp.i18n import gettext
from own_smtp.operations.acts import Acting, act
from own_smtp.relays import dry_runs, store, test_mails
from own_smtp.relays.dry_runs import Kept
from own_smtp.states import PauseReason


def request_test(extension: Extension, acting: Acting, kept: Kept, relay_id: int | None, *, saves: bool = False) -> int:
    """Have a worker test settings, and return the test's id. Raises `ConflictError` after too many tests.

    With `saves` the settings are saved if the test passes.
    """
    settings = extension.in_force()
    with act(extension, acting.tenant_id) as session:
        relay = store.get_relay(session, acting.tenant_id, relay_id) if relay_id is not None else None
        test_id = dry_runs.request_run(
            session,
            extension.vault,
            settings,
            kept,
            tenant_id=acting.tenant_id,
            user_id=acting.user_id,
            relay=relay,
            saves=saves,
        ).id
    extension.enqueue("run_test", test_id)
    return test_id


def trust_certificate(extension: Extension, acting: Acting, test_id: int) -> int:
    """Trust the certificate that a test received, and test again with it. Return the new test's id.

    Raises `ConflictError` without such a certificate, and after too many tests: then nothing is trusted.
    """
    settings = extension.in_force()
    with act(extension, acting.tenant_id) as session:
        test = dry_runs.lock_unsaved(session, acting.tenant_id, acting.user_id, test_id)
        if test.certificate is None or test.pause_reason != PauseReason.CERTIFICATE:
            raise ConflictError(gettext("There is no certificate to be trusted."))
        again_id = dry_runs.request_trusting(session, extension.vault, settings, test).id
    extension.enqueue("run_test", again_id)
    return again_id


def send_test_mail(extension: Extension, acting: Acting, relay_id: int, content: Content, recipient: str) -> None:
    """Send a test mail through a server. Raises `ConflictError` when that is not possible now."""
    settings = extension.in_force()
    with act(extension, acting.tenant_id) as session:
        relay = store.get_relay(session, acting.tenant_id, relay_id)
        test_mails.send(session, extension.vault, settings, relay, content, recipient=recipient, user_id=acting.user_id)
    extension.enqueue_drain(relay_id)
