"""Queries of reports and hooks, on each database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy.orm import Session

from own_smtp.messages.compiler import message_id
from own_smtp.outbox import statuses
from own_smtp.relays import edits
from own_smtp.reporting import reports
from own_smtp.reporting.state_counts import Counts
from own_smtp.states import State
from own_smtp.storage.encryption import Vault, generate_key
from own_smtp.storage.models import Attempt, Batch, Invitation
from tests.stored_totals import count_anew
from tests.web.drafts import draft

WHEN = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def session(migrated):
    with Session(migrated) as session:
        vault = Vault.from_keys([generate_key("tests")])
        edits.create(session, vault, "acme", draft(), user_id="alice", ceiling=9)
        yield session


def _batch(session, *states: State, tenant_id="acme", project_id="p1") -> Batch:
    batch = Batch(
        tenant_id=tenant_id,
        project_id=project_id,
        relay_id=1,
        kind="invitation",
        message_key="abc",
        message_domain="acme.example",
        expires_at=WHEN,
    )
    session.add(batch)
    session.flush()
    for number, state in enumerate(states):
        session.add(Invitation(batch_id=batch.id, reference=f"r{number}", address=f"{number}@x.example", state=state))
        session.flush()
    count_anew(session)
    return batch


def _attempt(session, invitation_id, state, code, text):
    session.add(
        Attempt(invitation_id=invitation_id, relay_id=1, at=WHEN, state=state, stage="rcpt", code=code, text=text)
    )
    session.flush()


def test_counts_are_of_one_project_of_one_tenant(session):
    """Neither another project nor another tenant's project with the same id is counted."""
    _batch(session, State.ACCEPTED, State.ACCEPTED, State.REFUSED, State.QUEUED)
    _batch(session, State.SENDING)
    _batch(session, State.ACCEPTED, project_id="p2")
    _batch(session, State.ACCEPTED, tenant_id="evil")
    counts = reports.project_counts(session, "acme", "p1")
    assert (counts[State.ACCEPTED], counts[State.REFUSED], counts.waiting, counts.total) == (2, 1, 2, 5)
    assert reports.waiting_by_relay(session, "acme") == {1: 2}
    newest, oldest = reports.project_batches(session, "acme", "p1")
    assert (newest.counts.total, oldest.counts.total, oldest.relay_label) == (1, 4, "Company mail")


def test_a_refusal_shows_its_last_attempt(session):
    """The last of several attempts counts, and an invitation without attempts has no reply."""
    batch = _batch(session, State.REFUSED, State.FAILED, State.ACCEPTED)
    first = session.query(Invitation.id).filter_by(batch_id=batch.id, reference="r0").scalar()
    _attempt(session, first, State.QUEUED, 450, "Greylisted")
    _attempt(session, first, State.REFUSED, 550, "Unknown")
    failed, refused = reports.refusals(session, "acme", "p1")
    assert (refused.code, refused.text) == (550, "Unknown")
    assert (failed.code, failed.text) == (None, "")
    assert reports.refusals(session, "acme", "p1", before=refused.invitation_id) == []


def test_statuses_come_newest_batch_first_and_whole(session, monkeypatch):
    """The stream has no gaps or repetitions between chunks, and can be limited to references."""
    monkeypatch.setattr(statuses, "CHUNK", 2)
    old = _batch(session, *[State.ACCEPTED] * 5)
    new = _batch(session, *[State.QUEUED] * 3)
    found = list(statuses.invitation_statuses(session, "acme", "p1"))
    assert [status.batch_id for status in found] == [new.id] * 3 + [old.id] * 5
    assert len({status.invitation_id for status in found}) == 8
    assert found[0].message_id == message_id("abc", found[0].invitation_id, "acme.example")
    narrowed = list(statuses.invitation_statuses(session, "acme", "p1", ["r0", "r1", "r4"]))
    assert [status.reference for status in narrowed] == ["r0", "r1", "r0", "r1", "r4"]
    assert list(statuses.invitation_statuses(session, "evil", "p1")) == []


def test_statuses_by_id_are_those_of_events(session):
    """By ids they include tenant and project, also on a plain connection."""
    batch = _batch(session, State.ACCEPTED, State.REFUSED)
    ids = [number for (number,) in session.query(Invitation.id).filter_by(batch_id=batch.id)]
    found = list(statuses.statuses_by_id(session.connection(), ids))
    assert [(status.tenant_id, status.project_id, status.state) for status in found] == [
        ("acme", "p1", State.ACCEPTED),
        ("acme", "p1", State.REFUSED),
    ]


def test_a_report_of_nothing_reads_nothing(session):
    """A project without batches has counts of zero and no lines."""
    assert reports.project_counts(session, "acme", "p1") == Counts()
    assert reports.project_batches(session, "acme", "p1") == []


def test_columns_say_what_is_not_known_and_why():
    """The host can omit or grey the statuses that a tenant's own server hides, with the reason."""
    columns = {column.key: column for column in reports.report_columns()}
    assert columns["accepted"].is_known
    for key in ("delivered", "bounced_soft", "bounced_hard"):
        assert not columns[key].is_known
        assert columns[key].reason
