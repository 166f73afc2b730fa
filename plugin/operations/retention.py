"""Retention: delete message contents, then shorten recipients, when their periods end. States and references stay.

A batch is handled as a whole: its period starts at the last change of state of any of its invitations. The work is done
in transactions of a bounded number of rows, so that nothing waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, bindparam, delete, exists, func, null, or_, select, update

from own_smtp.outbox.leases import lock_leases
from own_smtp.states import BatchState
from own_smtp.storage.bulk import among, insert_rows
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import Attempt, Batch, BatchFile, Invitation, Shortened
from own_smtp.storage.pseudonyms import normal_form, scrub, shorten

AT_A_TIME = 500
"""Invitations of one transaction."""

_FINISHED = (BatchState.DONE, BatchState.CANCELLED)


@dataclass(slots=True)
class Purged:
    """The result of a purge."""

    contents: int = 0
    """Batches whose contents were deleted."""
    recipients: int = 0
    """Batches whose recipients were shortened."""
    is_done: bool = True
    """Whether nothing is left to do."""


class Purge:
    """Deletes old data. `content` and `recipients` are the maximum ages, counted from the last change of state.

    Contents never outlive the recipients: an invitation to a shortened address cannot be sent.
    """

    def __init__(self, engine: Engine, vault: Vault, *, content: timedelta, recipients: timedelta) -> None:
        self._engine = engine
        self._vault = vault
        self._content = min(content, recipients)
        self._recipients = recipients

    def run(self, steps: int | None = None) -> Purged:
        """Do all steps, or at most so many of them; the next run does the rest."""
        purged = Purged()
        for number, _step in enumerate(self._steps(purged), start=1):
            if number == steps:
                purged.is_done = False
                break
        return purged

    def _steps(self, purged: Purged) -> Iterator[None]:
        """Do one step for each iteration: a batch, or as much of it as fits one transaction."""
        for batch in self._due(self._content, Batch.purged_at.is_(None)):
            yield from self._purge_content(batch)
            purged.contents += 1
            yield
        for batch in self._due(self._recipients, Batch.purged_at.is_not(None), Batch.shortened_at.is_(None)):
            yield from self._shorten(batch)
            purged.recipients += 1
            yield

    def _due(self, age: timedelta, *conditions: Any) -> Iterator[Any]:
        """Yield finished batches without a change for so long, one after the other."""
        last = 0
        while True:
            with self._engine.connect() as connection:
                before = read_clock(connection) - age
                batch = connection.execute(
                    select(Batch.id, Batch.relay_id, Batch.tenant_id)
                    .where(Batch.id > last, *conditions, *_is_old(before))
                    .order_by(Batch.id)
                    .limit(1)
                ).first()
            if batch is None:
                return
            yield batch
            last = batch.id

    # Contents

    def _purge_content(self, batch: Any) -> Iterator[None]:
        """Delete the batch's own content first: from then on nothing of it can be sent again."""
        with self._engine.begin() as connection:
            lock_leases(connection, [batch.relay_id])
            emptied = connection.execute(
                update(Batch).where(Batch.id == batch.id, Batch.state.in_(_FINISHED)).values(content=null())
            )
            if emptied.rowcount == 0:
                return
            connection.execute(delete(BatchFile).where(BatchFile.batch_id == batch.id))
        is_full = or_(Invitation.values.is_not(null()), Invitation.override.is_not(null()))
        yield from self._by_key(batch.id, select(Invitation.id).where(is_full), self._empty)
        self._note(batch, purged_at=db_now())

    @staticmethod
    def _empty(connection: Connection, rows: Sequence[Any]) -> None:
        there = among(connection, Invitation.id, [row.id for row in rows])
        connection.execute(update(Invitation).where(there).values(values=null(), override=null()))

    # Recipients

    def _shorten(self, batch: Any) -> Iterator[None]:
        columns: tuple[Any, ...] = (Invitation.id, Invitation.address)
        query = (
            select(*columns)
            .outerjoin(Shortened, Shortened.invitation_id == Invitation.id)
            .where(Invitation.address != "", Shortened.invitation_id.is_(None))
        )

        def shorten_some(connection: Connection, rows: Sequence[Any]) -> None:
            digests = [
                (row.id, self._vault.digests(normal_form(row.address), tenant_id=batch.tenant_id)[0]) for row in rows
            ]
            insert_rows(connection, Shortened, ("invitation_id", "digest"), digests)
            replace_recipients(connection, {row.id: (row.address, shorten(row.address)) for row in rows})

        yield from self._by_key(batch.id, query, shorten_some)
        self._note(batch, shortened_at=db_now())

    # Both

    def _by_key(
        self, batch_id: int, query: Select[Any], work: Callable[[Connection, Sequence[Any]], None]
    ) -> Iterator[None]:
        """Process the invitations of a batch that `query` finds, some at a time."""
        with self._engine.connect() as connection:
            first, last = connection.execute(_ends(query, batch_id)).one()
        for start in range(first or 0, (last or -1) + 1, AT_A_TIME):
            with self._engine.begin() as connection:
                rows = connection.execute(_some(query, batch_id, start)).all()
                if rows:
                    work(connection, rows)
            if rows:
                yield

    def _note(self, batch: Any, **values: Any) -> None:
        with self._engine.begin() as connection:
            connection.execute(update(Batch).where(Batch.id == batch.id).values(**values))


def _is_old(before: datetime) -> tuple[Any, ...]:
    changed = exists().where(Invitation.batch_id == Batch.id, Invitation.changed_at >= before)
    return Batch.state.in_(_FINISHED), Batch.created_at < before, ~changed


# The added 0 keeps the database from using an index for the order: PostgreSQL would read the primary key from its
# beginning, and the others the whole batch.


def _ends(query: Select[Any], batch_id: int) -> Select[Any]:
    """Return the query for the first and the last id: a batch's invitations have adjacent ids."""
    ends: tuple[Any, ...] = (func.min(Invitation.id + 0), func.max(Invitation.id + 0))
    return query.where(Invitation.batch_id == batch_id).with_only_columns(*ends)


def _some(query: Select[Any], batch_id: int, start: int) -> Select[Any]:
    """Return the query for the matching invitations among the next few ids."""
    ids = Invitation.id.between(start, start + AT_A_TIME - 1)
    return query.where(ids, Invitation.batch_id + 0 == batch_id).order_by(Invitation.id)


def replace_recipients(connection: Connection, addresses: dict[int, tuple[str, str]]) -> None:
    """Replace recipients: `id` of the invitation, current address and replacement; names are deleted.

    The address is also replaced in server replies: many repeat it.
    """
    rows = [{"of": id_, "short": short} for id_, (_address, short) in addresses.items()]
    statement = update(Invitation).where(Invitation.id == bindparam("of")).values(address=bindparam("short"), name="")
    connection.execute(statement, rows)
    attempts = select(Attempt.id, Attempt.invitation_id, Attempt.text).where(
        among(connection, Attempt.invitation_id, list(addresses)), Attempt.text != ""
    )
    cleaned = [
        {"of": row.id, "clean": clean}
        for row in connection.execute(attempts).all()
        if (clean := scrub(row.text, addresses[row.invitation_id][0])[:500]) != row.text
    ]
    if cleaned:
        connection.execute(
            update(Attempt).where(Attempt.id == bindparam("of")).values(text=bindparam("clean")), cleaned
        )
