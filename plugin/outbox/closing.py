"""How a drain's claims end for good: its journal is closed, or a recovery settles what a dead drain left.

Every function takes a connection inside a transaction of the caller's, which holds the relay's lease already (see
`own_smtp.outbox.leases`), and commits nothing. None does network I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sqlalchemy import Connection, delete, select, update

from own_smtp.errors import JournalError
from own_smtp.outbox.claims import claimed_by, release, still_ours
from own_smtp.outbox.journal_lines import Findings
from own_smtp.outbox.leases import give_back_lease
from own_smtp.outbox.settlements import mark_unnotified, settle
from own_smtp.outbox.values import Settlement, Taken
from own_smtp.smtp.replies.outcomes import Stage, interrupted
from own_smtp.states import BatchState, Route, State
from own_smtp.storage.clock import db_now, read_clock
from own_smtp.storage.models import Batch, Invitation, Journal


def close_journal(connection: Connection, token: int, read: Callable[[], Findings], *, is_counted: bool) -> bool:
    """Delete the record of a drain's journal if each of its lines is settled, and return whether it is gone.

    Call it behind the last settlements. What still carries the token is either settled by nobody, although the journal
    names it, or was claimed in a commit whose answer got lost, so that nothing of it was sent. `read` reads the journal
    to tell them apart: the first is left to a recovery with its journal, the second waits again. `is_counted` says
    whether as many are known to be settled as the journal has ended; if not, each of its lines is looked up.

    A journal that cannot be read counts as not settled.
    """
    relay_id = connection.scalar(select(Journal.relay_id).where(Journal.id == token))
    if relay_id is None:
        return True
    left = claimed_by(connection, relay_id, token)
    if left or not is_counted:
        try:
            named = read().named
        except JournalError:
            return False
        release(connection, token, sorted(left.keys() - named))
        if still_ours(connection, token, sorted(named), State.SENDING):
            return False
    connection.execute(delete(Journal).where(Journal.id == token))
    return True


def is_open(connection: Connection, token: int) -> bool:
    """Whether the drain's journal is not settled yet, neither by the drain nor by a recovery."""
    return connection.scalar(select(Journal.id).where(Journal.id == token)) is not None


# Recovery


_LOST = "The machine that was sending it was lost."
_KILLED = "The worker was stopped between the end of the message and the server's answer."


def recover(
    connection: Connection,
    journal: Journal,
    findings: Findings | None,
    settled: Iterable[Settlement],
    *,
    tells_host: bool,
) -> None:
    """Settle what a dead drain had claimed, and end its lease. Call it behind `take_over_journal`.

    `findings` is what its journal says; `None` means that the journal is lost: then each of its messages may have
    been sent, and becomes `unknown`. `settled` are the outcomes that the journal knows.
    """
    taken = Taken(
        relay_id=journal.relay_id,
        token=journal.id,
        journal=journal.name,
        at=journal.opened_at,
        failures=0,
        failing_since=None,
        pace=None,
    )
    claimed = claimed_by(connection, journal.relay_id, journal.id)
    known = [item._replace(batch_id=claimed[item.invitation_id]) for item in settled if item.invitation_id in claimed]
    unsure = claimed.keys() if findings is None else claimed.keys() & findings.begun
    now = read_clock(connection)
    lost = interrupted(Stage.MESSAGE, _LOST if findings is None else _KILLED)
    route = Route(journal.route)
    unknown = [
        Settlement.of(invitation_id, claimed[invitation_id], lost, now.timestamp(), route)
        for invitation_id in sorted(unsure)
    ]
    if tells_host:
        _mark_unheard(connection, journal, findings)
    settle(connection, taken, [*known, *unknown], tells_host=tells_host)
    # A process that stalled and was taken for dead finds that its token is worth nothing any more.
    give_back_lease(connection, taken, {"token": 0})
    if not close_journal(connection, journal.id, lambda: findings or Findings(), is_counted=True):
        raise JournalError(f"Not every line of the journal {journal.name} could be settled.")


def _mark_unheard(connection: Connection, journal: Journal, findings: Findings | None) -> None:
    """What the drain settled itself, the host may not have heard of: its journal says so, or is lost."""
    if findings is not None:
        mark_unnotified(connection, journal.id, sorted(findings.ended.keys() - findings.told))
        return
    batches = select(Batch.id).where(Batch.relay_id == journal.relay_id, Batch.state != BatchState.DONE)
    connection.execute(
        update(Invitation)
        .where(Invitation.batch_id.in_(batches.scalar_subquery()), Invitation.token == journal.id)
        .where(Invitation.state != State.SENDING)
        .values(untold_since=db_now())
    )
