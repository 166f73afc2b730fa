"""What is forgotten after its time: what a batch said, and then who was invited. States, codes and references stay.

A batch is looked at as a whole: its time counts from the last change of state of any of its invitations. Everything
is done in steps of a bounded number of rows, each a transaction of its own, so that nobody waits for it.
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
"""Invitations of one step."""

_FINISHED = (BatchState.DONE, BatchState.CANCELLED)


@dataclass(slots=True)
class Purged:
    """What was done."""

    contents: int = 0
    """Batches whose content was deleted."""
    recipients: int = 0
    """Batches whose recipients were shortened."""
    is_done: bool = True
    """Whether nothing was left to do."""


class Purge:
    """Deletes what is older than it may be. `content` and `recipients` say how old, counted from the last state.

    Content never outlives its recipients: an invitation to a shortened address could be sent nowhere.
    """

    def __init__(self, engine: Engine, vault: Vault, *, content: timedelta, recipients: timedelta) -> None:
        self._engine = engine
        self._vault = vault
        self._content = min(content, recipients)
        self._recipients = recipients

    def run(self, steps: int | None = None) -> Purged:
        """Do all that is to be done, or so many steps of it. What was left undone is done by the next run."""
        purged = Purged()
        for number, _step in enumerate(self._steps(purged), start=1):
            if number == steps:
                purged.is_done = False
                break
        return purged

    def _steps(self, purged: Purged) -> Iterator[None]:
        """Do one step for each that is asked for: a batch, or as much of it as is good for one transaction."""
        for batch in self._due(self._content, Batch.purged_at.is_(None)):
            yield from self._purge_content(batch)
            purged.contents += 1
            yield
        for batch in self._due(self._recipients, Batch.purged_at.is_not(None), Batch.shortened_at.is_(None)):
            yield from self._shorten(batch)
            purged.recipients += 1
            yield

    def _due(self, age: timedelta, *conditions: Any) -> Iterator[Any]:
        """Yield finished batches in which nothing changed for so long, one after the other."""
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

    # What a batch said

    def _purge_content(self, batch: Any) -> Iterator[None]:
        """The batch's own content goes first: from then on nobody can send anything of it again."""
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

    # Who was invited

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
            write_over(connection, {row.id: (row.address, shorten(row.address)) for row in rows})

        yield from self._by_key(batch.id, query, shorten_some)
        self._note(batch, shortened_at=db_now())

    # Both

    def _by_key(
        self, batch_id: int, query: Select[Any], work: Callable[[Connection, Sequence[Any]], None]
    ) -> Iterator[None]:
        """Work through those of a batch that `query` finds, some at a time."""
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


# A sum keeps a database from an index: PostgreSQL would look for the lowest id from the table's beginning on, and the
# others for some ids in the whole batch.


def _ends(query: Select[Any], batch_id: int) -> Select[Any]:
    """Return the query for the first and the last id: a batch's invitations were added together."""
    ends: tuple[Any, ...] = (func.min(Invitation.id + 0), func.max(Invitation.id + 0))
    return query.where(Invitation.batch_id == batch_id).with_only_columns(*ends)


def _some(query: Select[Any], batch_id: int, start: int) -> Select[Any]:
    """Return the query for those of a batch with the next few ids."""
    ids = Invitation.id.between(start, start + AT_A_TIME - 1)
    return query.where(ids, Invitation.batch_id + 0 == batch_id).order_by(Invitation.id)


def write_over(connection: Connection, addresses: dict[int, tuple[str, str]]) -> None:
    """Replace recipients: for each invitation's id its address and what stands there from now on; their names go.

    What servers said is searched for the address, too: many repeat it.
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
