"""What is forgotten after its time: the content of finished batches. States, attempts and replies are kept."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection, delete, null, select, update

from own_smtp.clock import read_clock
from own_smtp.models import Batch, BatchFile, Invitation
from own_smtp.states import BatchState


def purge_content(connection: Connection, age: timedelta) -> int:
    """Delete what batches said that are finished and older than `age`, and return how many those are.

    An invitation of such a batch cannot be sent again afterwards: it fails and says why.
    """
    before = read_clock(connection) - age
    batches = connection.scalars(
        select(Batch.id).where(
            Batch.state.in_([BatchState.DONE, BatchState.CANCELLED]),
            Batch.created_at < before,
            Batch.content.is_not(null()),
        )
    ).all()
    for batch_id in batches:
        _purge(connection, batch_id)
    return len(batches)


def _purge(connection: Connection, batch_id: int) -> None:
    connection.execute(delete(BatchFile).where(BatchFile.batch_id == batch_id))
    connection.execute(update(Invitation).where(Invitation.batch_id == batch_id).values(values=null(), override=null()))
    connection.execute(update(Batch).where(Batch.id == batch_id).values(content=null()))
