"""Bulk actions on selected invitations of the delivery log: send again, or cancel.

Every function works inside the caller's transaction and commits nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby, islice
from types import MappingProxyType

from sqlalchemy import Connection, func, select

from own_smtp.errors import ConflictError
from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox import actions
from own_smtp.outbox.leases import lock_leases
from own_smtp.outbox.query import LogScope, count, states_of, walk
from own_smtp.outbox.statuses import chunks
from own_smtp.states import State
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.models import Batch, Invitation

AT_A_TIME = 5000
"""Invitations that are read and changed at a time."""


class Deed(StrEnum):
    """The kinds of bulk actions."""

    RETRY = "retry"
    """Send refused and failed invitations again: no copy can have arrived."""
    RESEND = "resend"
    """Send unknown invitations again: a copy may have arrived."""
    CANCEL = "cancel"
    """Cancel waiting invitations."""


STATES = MappingProxyType(
    {
        Deed.RETRY: frozenset({State.REFUSED, State.FAILED}),
        Deed.RESEND: frozenset({State.UNKNOWN}),
        Deed.CANCEL: frozenset({State.QUEUED}),
    }
)
"""The states that each action applies to; invitations in other states are skipped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """The selected invitations: all that a filter finds in a scope, or those with these ids in the scope."""

    scope: LogScope
    wanted: StatusFilter
    ids: Collection[int] | None = None

    def __post_init__(self) -> None:
        # A selection covers the whole list, not the current page.
        object.__setattr__(self, "wanted", replace(self.wanted, after=None, limit=None))


@dataclass(slots=True)
class Done:
    """The result of a bulk action."""

    changed: int = 0
    relay_ids: set[int] = field(default_factory=set)
    """The relays of the changed invitations, whose drains must be enqueued."""
    problems: Counter[str] = field(default_factory=Counter)
    """The number of invitations that could not be changed, by reason."""


def count_selected(connection: Connection, chosen: Selection) -> dict[State, int]:
    """Return the number of selected invitations by state."""
    if chosen.ids is None:
        return count(connection, chosen.scope, chosen.wanted)
    found: Counter[State] = Counter()
    for ids in chunks(sorted(chosen.ids)):
        query = (
            select(Invitation.state, func.count())
            .join(Batch, Batch.id == Invitation.batch_id)
            .where(*chosen.scope.conditions(), Invitation.id.in_(ids))
            .group_by(Invitation.state)
        )
        found.update({State(state): number for state, number in connection.execute(query)})
    return dict(found)


def perform(connection: Connection, deed: Deed, chosen: Selection, *, user_id: str) -> Done:
    """Apply an action to the selected invitations in its states, and write an audit entry for each batch.

    Invitations whose batch does not allow it (it expired, or its server was deleted) are counted by reason; all others
    are changed. For `RESEND` the caller must have warned a person that copies may exist.
    """
    done = Done()
    # All at once and in order, so that two people who act on several servers do not deadlock.
    relays = select(Batch.relay_id).where(*chosen.scope.conditions()).distinct()
    lock_leases(connection, connection.scalars(relays))
    for batch_id, ids in _by_batch(connection, deed, chosen):
        try:
            changed = _change(connection, deed, batch_id, ids)
        except ConflictError as error:
            done.problems[str(error)] += len(ids)
            continue
        if changed:
            done.changed += changed
            done.relay_ids.add(_record(connection, deed, batch_id, changed, user_id))
    return done


def _change(connection: Connection, deed: Deed, batch_id: int, ids: Sequence[int]) -> int:
    if deed is Deed.CANCEL:
        return actions.cancel(connection, batch_id, ids)
    return actions.retry(connection, batch_id, STATES[deed], ids)


def _by_batch(connection: Connection, deed: Deed, chosen: Selection) -> Iterator[tuple[int, list[int]]]:
    """Yield the ids by batch, `AT_A_TIME` at most, so that memory stays flat.

    Changes behind the current position do not affect the iteration: changed invitations are in another state.
    """
    found = _pairs(connection, deed, chosen)
    while some := list(islice(found, AT_A_TIME)):
        for batch_id, pairs in groupby(some, key=lambda pair: pair[0]):
            yield batch_id, [id_ for _, id_ in pairs]


def _pairs(connection: Connection, deed: Deed, chosen: Selection) -> Iterator[tuple[int, int]]:
    if chosen.ids is not None:
        yield from _chosen(connection, deed, chosen.scope, chosen.ids)
        return
    states = STATES[deed] & set(states_of(chosen.wanted))
    if states:
        for position in walk(connection, chosen.scope, replace(chosen.wanted, states=states)):
            yield position.batch_id, position.id


def _chosen(connection: Connection, deed: Deed, scope: LogScope, ids: Iterable[int]) -> list[tuple[int, int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for some in chunks(sorted(ids)):
        query = (
            select(Invitation.batch_id, Invitation.id)
            .join(Batch, Batch.id == Invitation.batch_id)
            .where(*scope.conditions(), Invitation.id.in_(some), Invitation.state.in_(STATES[deed]))
        )
        for batch_id, id_ in connection.execute(query):
            found[batch_id].append(id_)
    return [(batch_id, id_) for batch_id in sorted(found) for id_ in found[batch_id]]


def _record(connection: Connection, deed: Deed, batch_id: int, changed: int, user_id: str) -> int:
    """Write the audit entry, and return the batch's relay."""
    batch = connection.execute(
        select(Batch.tenant_id, Batch.project_id, Batch.relay_id).where(Batch.id == batch_id)
    ).one()
    action = AuditAction.INVITATIONS_CANCELLED if deed is Deed.CANCEL else AuditAction.BATCH_RETRIED
    audit.record(
        connection,
        action,
        tenant_id=batch.tenant_id,
        user_id=user_id,
        relay_id=batch.relay_id,
        project_id=batch.project_id,
        changes={"batch": (None, batch_id), "invitations": (None, changed), "states": (None, sorted(STATES[deed]))},
    )
    return int(batch.relay_id)
