"""Erasure of one person's data on request: found by address and by keyed hash, in all projects of a tenant.

Waiting invitations to the person are cancelled. Those that a drain is sending at that moment may still arrive; the
dispatcher erases them when they are settled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Select,
    delete,
    func,
    null,
    or_,
    select,
    update,
)

from own_smtp.operations.retention import replace_recipients
from own_smtp.outbox import actions
from own_smtp.outbox.actions import _of
from own_smtp.outbox.claims import in_chunks
from own_smtp.outbox.leases import lock_leases
from own_smtp.states import State
from own_smtp.storage import audit, counters
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.bulk import among, insert_or_pass
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import (
    Alert,
    Attempt,
    AuditEntry,
    Batch,
    BatchFile,
    BatchTotals,
    Confirmation,
    Forgetting,
    HourlyStat,
    Invitation,
    Journal,
    Lease,
    Notice,
    ProjectRoute,
    Relay,
    RelayTest,
    Shortened,
    Suggestion,
    TenantLimit,
)
from own_smtp.storage.pseudonyms import normal_form, scrub

AT_A_TIME = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """The result of an erasure."""

    invitations: int
    """Number of the person's invitations, including those still to be erased."""
    cancelled: int
    """How many of them were waiting and are now cancelled."""
    in_hand: int
    """How many are being sent at this moment, and are erased once they are settled."""


def forget_person(
    connection: Connection, vault: Vault, tenant_id: str, address: str, *, user_id: str | None = None
) -> Forgotten:
    """Erase a person's address, name and values from all records of a tenant.

    Takes a connection inside the caller's transaction and does not commit. References, states and codes stay, so that
    reports keep their sums. `user_id` is the person who requested it, for the audit log, which does not record the
    address.
    """
    person = normal_form(address)
    by_batch = _find(connection, vault, tenant_id, person)
    lock_leases(connection, {relay_id for relay_id, _batch_id in by_batch})
    cancelled, in_hand = 0, 0
    for (_relay_id, batch_id), ids in sorted(by_batch.items()):
        for some in in_chunks(sorted(ids), AT_A_TIME):
            states = _states(connection, some)
            cancelled += _cancel(connection, batch_id, states)
            in_hand += _erase_later(connection, [id_ for id_, state in states.items() if state == State.SENDING])
            _erase(connection, [id_ for id_, state in states.items() if state != State.SENDING], person)
    _scrub_relays(connection, tenant_id, person)
    found = sum(map(len, by_batch.values()))
    if found:
        changes = {"invitations": (None, found)}
        audit.record(connection, AuditAction.PERSON_FORGOTTEN, tenant_id=tenant_id, user_id=user_id, changes=changes)
    return Forgotten(invitations=found, cancelled=cancelled, in_hand=in_hand)


def finish_erasures(engine: Engine) -> int:
    """Erase invitations that have been settled since the request; return their number."""
    with engine.connect() as connection:
        back = connection.execute(
            select(Forgetting.invitation_id, Invitation.address, Batch.id.label("batch_id"), Batch.relay_id)
            .join(Invitation, Invitation.id == Forgetting.invitation_id)
            .join(Batch, Batch.id == Invitation.batch_id)
            .where(Invitation.state != State.SENDING)
            .order_by(Forgetting.invitation_id)
            .limit(AT_A_TIME)
        ).all()
    for row in back:
        with engine.begin() as connection:
            _finish_one(connection, row)
    return len(back)


def _finish_one(connection: Connection, row: Any) -> None:
    lock_leases(connection, [row.relay_id])
    states = _states(connection, [row.invitation_id])
    if State.SENDING in states.values():
        return  # claimed again meanwhile
    _cancel(connection, row.batch_id, states)
    _erase(connection, [row.invitation_id], row.address)
    connection.execute(delete(Forgetting).where(Forgetting.invitation_id == row.invitation_id))


def _find(connection: Connection, vault: Vault, tenant_id: str, person: str) -> dict[tuple[int, int], set[int]]:
    """Return the ids of the person's invitations by relay and batch."""
    queries = (
        _of_tenant(tenant_id).where(or_(Invitation.address == person, func.lower(Invitation.address) == person)),
        shortened_of(tenant_id, vault.digests(person, tenant_id=tenant_id)),
    )
    found: dict[tuple[int, int], set[int]] = defaultdict(set)
    for query in queries:
        for relay_id, batch_id, invitation_id in connection.execute(query):
            found[relay_id, batch_id].add(invitation_id)
    return found


def shortened_of(tenant_id: str, digests: Sequence[str]) -> Select[Any]:
    """Return the query for relay, batch and id of invitations with a shortened address, found by its keyed hashes."""
    by_digest = _of_tenant(tenant_id).join(Shortened, Shortened.invitation_id == Invitation.id)
    return by_digest.where(Shortened.digest.in_(digests))


def _of_tenant(tenant_id: str) -> Select[Any]:
    columns: tuple[Any, ...] = (Batch.relay_id, Batch.id, Invitation.id)
    return select(*columns).join(Batch, Batch.id == Invitation.batch_id).where(Batch.tenant_id == tenant_id)


def _states(connection: Connection, ids: Sequence[int]) -> dict[int, str]:
    """Return the current states, not those of this transaction's snapshot."""
    rows = connection.execute(
        select(Invitation.id, Invitation.state).where(among(connection, Invitation.id, ids)).with_for_update()
    )
    return {row.id: row.state for row in rows}


def _erase_later(connection: Connection, ids: Sequence[int]) -> int:
    for id_ in ids:
        connection.execute(insert_or_pass(connection, Forgetting, ["invitation_id"]).values(invitation_id=id_))
    return len(ids)


def _cancel(connection: Connection, batch_id: int, states: dict[int, str]) -> int:
    waiting = [id_ for id_, state in states.items() if state == State.QUEUED]
    return actions.cancel_invitations(connection, batch_id, waiting) if waiting else 0


def _erase(connection: Connection, ids: Sequence[int], address: str) -> None:
    if not ids:
        return
    replace_recipients(connection, dict.fromkeys(ids, (address, "")))
    there = among(connection, Invitation.id, ids)
    connection.execute(update(Invitation).where(there).values(values=null(), override=null()))
    connection.execute(delete(Shortened).where(among(connection, Shortened.invitation_id, ids)))


def _scrub_relays(connection: Connection, tenant_id: str, person: str) -> None:
    """A server's last error may contain the recipient's address."""
    of_tenant = Relay.tenant_id == tenant_id
    for row in connection.execute(select(Relay.id, Relay.pause_text).where(of_tenant, Relay.pause_text.is_not(None))):
        if (clean := scrub(row.pause_text, person)) != row.pause_text:
            connection.execute(update(Relay).where(Relay.id == row.id).values(pause_text=clean))
    errors = select(Lease.relay_id, Lease.last_error).join(Relay, Relay.id == Lease.relay_id)
    for row in connection.execute(errors.where(of_tenant, Lease.last_error.is_not(None))):
        if (clean := scrub(row.last_error, person)) != row.last_error:
            connection.execute(update(Lease).where(Lease.relay_id == row.relay_id).values(last_error=clean))


def erase_records(connection: Connection, tenant_id: str, project_id: str | None) -> None:
    """Delete all records of a project, or of the whole tenant when `project_id` is `None`.

    Waiting invitations are cancelled by it. A message that is on the wire at this moment may still arrive.
    """
    where = _of(tenant_id, project_id)
    lock_leases(connection, connection.scalars(select(Batch.relay_id).where(*where).distinct()))
    batches = select(Batch.id).where(*where).scalar_subquery()
    invitations = select(Invitation.id).where(Invitation.batch_id.in_(batches)).scalar_subquery()
    counters.keep_attempts(connection, batches)
    for told in (Attempt, Shortened, Forgetting):
        connection.execute(delete(told).where(told.invitation_id.in_(invitations)))
    connection.execute(delete(Invitation).where(Invitation.batch_id.in_(batches)))
    for part in (BatchFile, BatchTotals, HourlyStat):
        connection.execute(delete(part).where(part.batch_id.in_(batches)))
    connection.execute(delete(Batch).where(*where))
    for kept in (ProjectRoute, AuditEntry):
        of_project = [] if project_id is None else [kept.project_id == project_id]
        connection.execute(delete(kept).where(kept.tenant_id == tenant_id, *of_project))
    if project_id is None:
        _forget_relays(connection, tenant_id)
    else:
        connection.execute(delete(Suggestion).where(*_suggested_for(tenant_id, project_id)))


def _suggested_for(tenant_id: str, project_id: str) -> list[ColumnElement[bool]]:
    return [Suggestion.tenant_id == tenant_id, Suggestion.kind == "project", Suggestion.subject == project_id]


def _forget_relays(connection: Connection, tenant_id: str) -> None:
    """Delete a tenant's mail servers. A running drain finds its lease gone, and stops sending."""
    relays = select(Relay.id).where(Relay.tenant_id == tenant_id).scalar_subquery()
    counters.keep_drains(connection, relays)
    # SQLite cascades only if the host has enabled foreign keys.
    for kept in (Confirmation, Journal, Alert, Notice, Lease, Suggestion):
        connection.execute(delete(kept).where(kept.relay_id.in_(relays)))
    connection.execute(delete(RelayTest).where(RelayTest.tenant_id == tenant_id))
    connection.execute(delete(TenantLimit).where(TenantLimit.tenant_id == tenant_id))
    connection.execute(delete(Relay).where(Relay.tenant_id == tenant_id))
