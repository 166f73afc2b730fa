"""Connection tests of a relay's settings: requested, claimed, recorded, deleted. Nothing here commits.

The typed settings are stored encrypted, password included, until they are saved, but for an hour at most.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, delete, func, select, update
from sqlalchemy.orm import Session

from own_smtp.errors import ConflictError, LimitError, NotFoundError
from own_smtp.i18n import gettext, ngettext
from own_smtp.relays import store
from own_smtp.relays.edits import RELAY_FIELDS, RelayDraft, needs_password
from own_smtp.relays.urgent_queries import next_tasks
from own_smtp.relays.urgent_tasks import UrgentKind, UrgentTask
from own_smtp.settings import Settings
from own_smtp.smtp.values import Credentials, Identity, Limits, Outcome, RelayProfile
from own_smtp.states import RelayTestState, Security
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.clock import read_clock
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import Relay, RelayTest

SETTINGS_FIELD = "test.settings"
"""The field that the encrypted settings are bound to, beside their tenant."""

LIFETIME = timedelta(hours=1)
"""How long a test can be viewed, its settings be saved, and it counts against the limits."""

PATIENCE = timedelta(minutes=2)
"""A test that no worker has claimed within this time is not run: the person is no longer waiting."""

LOST = timedelta(minutes=2)
"""A test that runs longer than this counts as lost with its worker."""

BRAKE = timedelta(minutes=5)
"""A tenant's minimum interval between two tests of a server that all tenants together test too often."""

Typed = dict[str, list[str]]
"""A form's fields as the browser sent them."""


@dataclass(frozen=True, slots=True)
class Kept:
    """The stored settings of a test."""

    draft: RelayDraft
    typed: Typed | None
    """`None` if they were not typed, but are those of a saved relay."""

    def trusting(self, fingerprint: str) -> Kept:
        """Return the same settings with one trusted certificate."""
        return replace(self, draft=replace(self.draft, fingerprint=fingerprint))


def draft_of(relay: Relay) -> RelayDraft:
    """Return a saved relay's settings without its password."""
    values = {name: getattr(relay, name) for name in RELAY_FIELDS}
    return RelayDraft(**{**values, "security": Security(relay.security)})


def request_run(
    session: Session,
    vault: Vault,
    settings: Settings,
    kept: Kept,
    *,
    tenant_id: str,
    user_id: str,
    relay: Relay | None,
    saves: bool = False,
) -> RelayTest:
    """Request a test. Call it after `lock_tenant`; commit, then enqueue `run_test`.

    With `saves` the settings are saved when the test is passed. Raises `LimitError` if the tenant or the person had too
    many tests within an hour, or if the tenant must wait before it tests this server again.
    """
    draft = kept.draft
    now = read_clock(session.connection())
    own = (RelayTest.tenant_id == tenant_id, RelayTest.created_at > now - timedelta(hours=1))
    is_over = _count(session, *own) >= settings.tests_per_tenant
    if is_over or _count(session, *own, RelayTest.requested_by == user_id) >= settings.tests_per_person:
        raise LimitError(gettext("Too many tests within an hour. Try again later, or save without a test."))
    _brake(session, settings, draft, tenant_id, now)
    test = RelayTest(
        tenant_id=tenant_id,
        requested_by=user_id,
        relay_id=relay.id if relay else None,
        host=draft.host,
        port=draft.port,
        settings=_seal(vault, tenant_id, kept),
        saves=saves,
        state=RelayTestState.WAITING,
        steps=[],
        transcript=[],
    )
    session.add(test)
    session.flush()
    return test


def request_trusting(session: Session, vault: Vault, settings: Settings, test: RelayTest) -> RelayTest:
    """Trust the certificate that a test found, and request another test with it. See `request_run`."""
    kept = read_settings(vault, test)
    assert kept is not None
    assert test.certificate is not None
    trusted = test.certificate["fingerprint"]
    relay = store.get_relay(session, test.tenant_id, test.relay_id) if test.relay_id is not None else None
    again = request_run(
        session,
        vault,
        settings,
        kept.trusting(trusted),
        tenant_id=test.tenant_id,
        user_id=test.requested_by,
        relay=relay,
    )
    audit.record(
        session,
        AuditAction.CERTIFICATE_TRUSTED,
        tenant_id=test.tenant_id,
        user_id=test.requested_by,
        relay_id=test.relay_id,
        changes={"host": (None, f"{test.host}:{test.port}"), "fingerprint": (kept.draft.fingerprint, trusted)},
    )
    return again


def _brake(session: Session, settings: Settings, draft: RelayDraft, tenant_id: str, now: datetime) -> None:
    """Limit a tenant's tests of a server that is tested very often. Other tenants' tests never lock a tenant out."""
    here = (RelayTest.host == draft.host, RelayTest.port == draft.port)
    if _count(session, *here, RelayTest.created_at > now - timedelta(hours=1)) < settings.tests_per_target:
        return
    if _count(session, *here, RelayTest.tenant_id == tenant_id, RelayTest.created_at > now - BRAKE):
        raise LimitError(
            ngettext(
                "This server is being tested very often. Try again in %(num)s minute, or save without a test.",
                "This server is being tested very often. Try again in %(num)s minutes, or save without a test.",
                BRAKE // timedelta(minutes=1),
            )
        )


def _count(session: Session, *where: ColumnElement[bool]) -> int:
    return session.scalars(select(func.count(RelayTest.id)).where(*where)).one()


def _seal(vault: Vault, tenant_id: str, kept: Kept) -> str:
    text = json.dumps({"draft": asdict(kept.draft), "typed": kept.typed})
    return vault.encrypt(text, tenant_id=tenant_id, field=SETTINGS_FIELD)


def read_settings(vault: Vault, test: RelayTest) -> Kept | None:
    """Return the settings; `None` once they were saved. Raises `SecretError` if no key can decrypt them."""
    if test.settings is None:
        return None
    stored = json.loads(vault.decrypt(test.settings, tenant_id=test.tenant_id, field=SETTINGS_FIELD))
    draft = stored["draft"]
    return Kept(RelayDraft(**{**draft, "security": Security(draft["security"])}), stored["typed"])


def unsaved_settings(vault: Vault, test: RelayTest) -> Kept:
    """Return the settings. Raises `ConflictError` once they were saved."""
    kept = read_settings(vault, test)
    if kept is None:
        raise ConflictError(gettext("These settings were saved already."))
    return kept


def get_run(session: Session, tenant_id: str, user_id: str, test_id: int, *, lock: bool = False) -> RelayTest:
    """Return a person's own test. Raises `NotFoundError` also for another person's, and for a deleted one."""
    test = session.get(RelayTest, test_id, with_for_update=lock, populate_existing=lock)
    if test is None or (test.tenant_id, test.requested_by) != (tenant_id, user_id):
        raise NotFoundError(f"There is no test {test_id}.")
    return test


def lock_unsaved(session: Session, tenant_id: str, user_id: str, test_id: int) -> RelayTest:
    """Return a person's own test, locked, so that it is saved only once. Raises `ConflictError` if it was saved.

    Call it after its relay was locked.
    """
    test = get_run(session, tenant_id, user_id, test_id, lock=True)
    if test.settings is None:
        raise ConflictError(gettext("These settings were saved already."))
    return test


# For workers


def unstarted(session: Session, passed_over: Collection[str] = ()) -> list[UrgentTask]:
    """Return tests that are due and not started, a few per tenant, none of the tenants `passed_over`."""
    due = select(RelayTest.id, RelayTest.tenant_id).where(*_due(read_clock(session.connection())))
    return next_tasks(session, UrgentKind.TEST, due, passed_over)


def claim_run(session: Session, test_id: int) -> RelayTest | None:
    """Claim a test. `None` if it has expired, or another worker was first. Commit before it runs."""
    now = read_clock(session.connection())
    taken = session.execute(
        update(RelayTest)
        .where(RelayTest.id == test_id, *_due(now))
        .values(state=RelayTestState.RUNNING, started_at=now)
    )
    if cast("CursorResult[Any]", taken).rowcount != 1:
        return None
    return session.get_one(RelayTest, test_id, populate_existing=True)


def _due(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return RelayTest.state == RelayTestState.WAITING, RelayTest.created_at > now - PATIENCE


def profile_of_draft(session: Session, vault: Vault, test: RelayTest, draft: RelayDraft) -> RelayProfile:
    """Return the settings as a profile for a session. If no password was typed, the stored one is used.

    Raises `NotFoundError` if there is none, and `SecretError` if no key can decrypt it.
    """
    return RelayProfile(
        relay_id=test.relay_id or 0,
        tenant_id=test.tenant_id,
        label=draft.label,
        host=draft.host,
        port=draft.port,
        security=draft.security,
        credentials=_credentials(session, vault, test, draft),
        fingerprint=draft.fingerprint,
        identity=Identity(address=draft.sender_address, name=draft.sender_name, reply_to=draft.reply_to),
        envelope_sender=draft.envelope_sender or draft.sender_address,
        ehlo_name=draft.ehlo_name,
        limits=Limits(),
        revision=0,
    )


def _credentials(session: Session, vault: Vault, test: RelayTest, draft: RelayDraft) -> Credentials | None:
    if draft.username is None:
        return None
    if draft.password is not None:
        return Credentials(username=draft.username, password=draft.password)
    # Checked again: the relay may have been changed to another server, with another password.
    relay = session.get(Relay, test.relay_id, populate_existing=True) if test.relay_id else None
    if relay is None or relay.deleted_at is not None or needs_password(relay, draft):
        raise NotFoundError("The stored password belongs to other settings by now.")
    profile = store.load_profile(session.connection(), relay.id, vault)
    return profile.credentials if profile else None


def record_progress(session: Session, test_id: int, steps: list[dict[str, Any]], transcript: list[list[str]]) -> None:
    """Store the progress of a running test."""
    session.execute(update(RelayTest).where(RelayTest.id == test_id).values(steps=steps, transcript=transcript))


def finish(session: Session, test: RelayTest, failure: Outcome | None, certificate: dict[str, Any] | None) -> None:
    """Store the result of a test, and write an audit entry."""
    test.state = RelayTestState.PASSED if failure is None else RelayTestState.FAILED
    test.finished_at = read_clock(session.connection())
    test.certificate = certificate
    if failure is not None:
        test.stage = failure.stage
        test.code = failure.reply.code if failure.reply else None
        test.enhanced = failure.reply.enhanced if failure.reply else None
        test.pause_reason = failure.pause
        test.error = failure.words[:600]
    session.flush()
    audit.record(
        session,
        AuditAction.RELAY_TESTED,
        tenant_id=test.tenant_id,
        user_id=test.requested_by,
        relay_id=test.relay_id,
        changes={"host": (None, f"{test.host}:{test.port}"), "result": (None, str(test.state))},
    )


def note_saved(session: Session, test: RelayTest, relay_id: int) -> None:
    """Record that the settings were saved, and delete them here."""
    test.settings = None
    test.relay_id = relay_id
    test.saved_at = read_clock(session.connection())
    session.flush()


def sweep(session: Session) -> int:
    """Delete expired tests with their settings; return their number."""
    before = read_clock(session.connection()) - LIFETIME
    return cast("CursorResult[Any]", session.execute(delete(RelayTest).where(RelayTest.created_at < before))).rowcount
