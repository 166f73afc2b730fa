"""Totals for rows that a test wrote itself."""

from collections import Counter

from sqlalchemy import select
from sqlalchemy.orm import Session

from own_smtp.states import FINAL, Route, State
from own_smtp.storage.models import Batch, BatchTotals, Invitation


def count_anew(session: Session) -> None:
    """Update the totals of all batches as if the outbox had written their invitations."""
    session.flush()
    for batch in session.scalars(select(Batch)):
        rows = session.execute(select(Invitation.state, Invitation.route).where(Invitation.batch_id == batch.id)).all()
        counted = Counter(state for state, _route in rows)
        by_platform = rows.count((State.ACCEPTED, Route.PLATFORM))
        batch.taken_count = len(rows)
        kept = BatchTotals(batch_id=batch.id, by_platform=by_platform, **{state: counted[state] for state in FINAL})
        session.merge(kept)
