"""When a drain's journal may go, and what its recovery settles: no line of it is ever forgotten."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, select

from own_smtp.errors import JournalError
from own_smtp.outbox import closing, leases, settlements
from own_smtp.outbox.journal_lines import Findings, JournaledOutcome
from own_smtp.outbox.values import Taken
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, Invitation, Journal
from tests.outbox_kit import ACCEPTED, DEFERRED, Outbox, settlement


@pytest.fixture
def outbox(migrated: Engine, tmp_path: Path) -> Outbox:
    return Outbox.at(migrated, tmp_path / "journal")


def drain(outbox: Outbox, count: int) -> tuple[Taken, list[int]]:
    """Begin a drain that claims all of a new relay's invitations."""
    relay = outbox.relay()
    outbox.send(relay, count)
    return claimed(outbox, relay)


def claimed(outbox: Outbox, relay: int) -> tuple[Taken, list[int]]:
    taken = outbox.take(relay)
    assert taken is not None
    return taken, [item.id for item in outbox.claim(taken)]


def journal_of(outbox: Outbox, taken: Taken) -> Journal:
    with outbox.engine.connect() as connection:
        return next(journal for journal in leases.open_journals(connection) if journal.id == taken.token)


def state_of(outbox: Outbox, ids: list[int]) -> list[str]:
    with outbox.engine.connect() as connection:
        rows = connection.execute(select(Invitation.id, Invitation.state).where(Invitation.id.in_(ids)))
        found = {row.id: row.state for row in rows}
    return [found[id_] for id_ in ids]


def untold(outbox: Outbox) -> list[int]:
    with outbox.engine.connect() as connection:
        return list(
            connection.scalars(
                select(Invitation.id).where(Invitation.untold_since.is_not(None)).order_by(Invitation.id)
            )
        )


def unreadable() -> Findings:
    raise JournalError("The file is gone.")


# The end of a drain


def test_a_line_that_nobody_settled_keeps_the_journal(outbox: Outbox) -> None:
    """What the journal names and the database still shows as being sent may have been sent: it is not queued again."""
    taken, ids = drain(outbox, 3)
    outbox.settle(taken, ids[:1])
    named = Findings({ids[1]}, {ids[0]: JournaledOutcome(ACCEPTED, 0.0)})
    assert not outbox(closing.close_journal, taken.token, lambda: named, is_counted=True)
    assert state_of(outbox, ids) == ["accepted", "sending", "queued"]
    assert outbox.column(Journal.id) == [taken.token]


@pytest.mark.parametrize("is_counted", [True, False])
def test_a_journal_that_cannot_be_read_is_kept_where_it_must_be_read(outbox: Outbox, *, is_counted: bool) -> None:
    """Something is left, or the numbers do not agree: without the file nobody knows which lines are settled."""
    taken, ids = drain(outbox, 2)
    outbox.settle(taken, ids[:1] if is_counted else ids)
    assert not outbox(closing.close_journal, taken.token, unreadable, is_counted=is_counted)
    assert state_of(outbox, ids[:1]) == ["accepted"]
    assert state_of(outbox, ids[1:]) == ["sending" if is_counted else "accepted"]
    assert outbox.column(Journal.id) == [taken.token]


def test_a_journal_whose_lines_are_all_settled_goes(outbox: Outbox) -> None:
    """By their number without a look at the file, or line by line; once it is gone, the answer stays the same."""
    taken, ids = drain(outbox, 2)
    outbox.settle(taken, ids)
    assert outbox(closing.is_open, taken.token)
    named = Findings(set(), {id_: JournaledOutcome(ACCEPTED, 0.0) for id_ in ids})
    assert outbox(closing.close_journal, taken.token, lambda: named, is_counted=False)
    assert not outbox(closing.is_open, taken.token)
    assert outbox(closing.close_journal, taken.token, unreadable, is_counted=False)
    other, ids = drain(outbox, 1)
    outbox.settle(other, ids)
    assert outbox(closing.close_journal, other.token, unreadable, is_counted=True)
    assert outbox.column(Journal.id) == []


def test_a_journal_goes_whatever_its_relay_s_next_drain_has_claimed(outbox: Outbox) -> None:
    """A drain that lost its lease has settled all of its own: its journal need not be read, and the other goes on."""
    taken, ids = drain(outbox, 1)
    outbox.send(taken.relay_id, 2)
    outbox.settle(taken, ids)
    outbox(leases.give_back_lease, taken, {})
    following, found = claimed(outbox, taken.relay_id)
    assert outbox(closing.close_journal, taken.token, unreadable, is_counted=True)
    assert outbox.column(Journal.id) == [following.token]
    assert state_of(outbox, [*ids, *found]) == ["accepted", "sending", "sending"]


def test_a_closed_journal_is_closed_whoever_else_has_an_open_one(outbox: Outbox) -> None:
    """A drain learns that a recovery settled its journal, and does not end its relay's next drain."""
    gone, ids = drain(outbox, 1)
    running, _ids = drain(outbox, 1)
    outbox.settle(gone, ids)
    outbox(closing.close_journal, gone.token, unreadable, is_counted=True)
    assert not outbox(closing.is_open, gone.token)
    assert outbox(closing.is_open, running.token)


# Recovery


@pytest.mark.parametrize(("is_lost", "words"), [(True, "machine"), (False, "stopped")])
def test_an_unknown_outcome_says_why_it_is_unknown(outbox: Outbox, words: str, *, is_lost: bool) -> None:
    """A lost machine and a worker that was stopped read differently."""
    taken, ids = drain(outbox, 1)
    findings = None if is_lost else Findings(set(ids))
    outbox(closing.recover, journal_of(outbox, taken), findings, [], tells_host=True)
    assert state_of(outbox, ids) == ["unknown"]
    (said,) = outbox.column(Attempt.text)
    assert words in said


def test_a_recovery_that_cannot_settle_a_line_settles_none(outbox: Outbox) -> None:
    """The journal says how one ended and nobody brings that outcome: all stays as it is, for the next try."""
    taken, ids = drain(outbox, 3)
    findings = Findings({ids[0]}, {ids[1]: JournaledOutcome(ACCEPTED, 0.0)})
    with pytest.raises(JournalError):
        outbox(closing.recover, journal_of(outbox, taken), findings, [], tells_host=True)
    assert state_of(outbox, ids) == ["sending"] * 3
    assert outbox.column(Journal.id) == [taken.token]


def test_a_recovery_frees_its_relay(outbox: Outbox) -> None:
    """The next drain can begin at once, and the dead one's token renews nothing any more."""
    taken, _ids = drain(outbox, 1)
    outbox(closing.recover, journal_of(outbox, taken), Findings(), [], tells_host=True)
    assert outbox.take(taken.relay_id) is not None


@pytest.mark.parametrize("tells_host", [True, False])
def test_a_journal_says_what_the_host_has_heard(outbox: Outbox, *, tells_host: bool) -> None:
    """What the drain settled and the host heard is not told again; the rest is, and to a host that listens only."""
    taken, ids = drain(outbox, 4)
    outbox.settle(taken, ids[:2], tells_host=False)
    ended = {id_: JournaledOutcome(ACCEPTED, 0.0) for id_ in ids[:3]}
    known = [settlement(id_, ACCEPTED, taken.at) for id_ in ids[:3]]
    findings = Findings({ids[3]}, ended, told={ids[0]})
    outbox(closing.recover, journal_of(outbox, taken), findings, known, tells_host=tells_host)
    assert state_of(outbox, ids) == ["accepted"] * 3 + ["unknown"]
    assert untold(outbox) == (ids[1:] if tells_host else [])


def test_without_its_journal_all_that_a_drain_settled_is_told_again(outbox: Outbox) -> None:
    """And nothing of the drains before it, which the host heard of."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    first = outbox.take(relay)
    assert first is not None
    (earlier,) = [item.id for item in outbox.claim(first, 1)]
    outbox.settle(first, [earlier], tells_host=False)
    outbox.end(first)
    second, ids = claimed(outbox, relay)
    outbox.settle(second, ids[:1], tells_host=False)
    outbox(closing.recover, journal_of(outbox, second), None, [], tells_host=True)
    assert state_of(outbox, [earlier, *ids]) == ["accepted", "accepted", "unknown"]
    assert untold(outbox) == ids


def test_what_a_drain_says_it_never_began_waits_again(outbox: Outbox) -> None:
    """Only what a recovery took for unknown, only with its token; its batch is open again and its figures are right."""
    taken, ids = drain(outbox, 3)
    outbox.settle(taken, ids[:1])
    outbox(closing.recover, journal_of(outbox, taken), None, [], tells_host=True)
    outbox(settlements.finish_batches, taken.relay_id)
    assert outbox.batch_states() == ["done"]
    outbox.told({State.UNKNOWN: ids, State.ACCEPTED: ids})
    outbox(settlements.queue_unbegun, taken.token, ids[:2], tells_host=True)
    assert state_of(outbox, ids) == ["accepted", "queued", "unknown"]
    assert outbox.batch_states() == ["open"]
    assert untold(outbox) == [ids[1]]
    again, found = claimed(outbox, taken.relay_id)
    assert found == [ids[1]]
    outbox.settle(again, found)
    assert state_of(outbox, ids) == ["accepted", "accepted", "unknown"]


def test_a_deferred_outcome_that_comes_late_replaces_unknown(outbox: Outbox) -> None:
    """The drain knows that the server did not take it: it waits again, in a batch that is open again."""
    taken, ids = drain(outbox, 1)
    outbox(closing.recover, journal_of(outbox, taken), None, [], tells_host=True)
    outbox(settlements.finish_batches, taken.relay_id)
    later = settlement(ids[0], DEFERRED, taken.at, timedelta(0))
    with outbox.engine.begin() as connection:
        leases.lock_leases(connection, [taken.relay_id])
        settlements.settle(connection, taken, [later], tells_host=True)
    assert state_of(outbox, ids) == ["queued"]
    assert outbox.batch_states() == ["open"]
    with outbox.engine.connect() as connection:
        assert read_clock(connection) >= outbox.column(Invitation.next_attempt_at)[0]


@pytest.mark.parametrize("state", ["done", "cancelled", "paused"])
def test_only_a_finished_batch_in_which_something_waits_again_is_reopened(outbox: Outbox, state: str) -> None:
    """A withdrawn or paused one stays what people made of it, and no other batch moves."""
    taken, ids = drain(outbox, 2)
    outbox.send(taken.relay_id, 1)
    batches = outbox.column(Batch.id)
    outbox(closing.recover, journal_of(outbox, taken), None, [], tells_host=True)
    for batch, given in zip(batches, (state, "done"), strict=True):
        outbox.change(Batch, batch, state=given)
    outbox(settlements.queue_unbegun, taken.token, ids[:1], tells_host=True)
    assert outbox.batch_states() == ["open" if state == "done" else state, "done"]


@pytest.mark.parametrize("state", ["open", "paused", "cancelled"])
def test_only_an_open_batch_of_the_drained_relay_is_finished(outbox: Outbox, state: str) -> None:
    """A paused or withdrawn one stays what people made of it though nothing waits in it; so does another relay's."""
    taken, ids = drain(outbox, 1)
    outbox.settle(taken, ids)
    other, found = drain(outbox, 1)
    outbox.settle(other, found)
    outbox.change(Batch, outbox.column(Batch.id)[0], state=state)
    outbox(settlements.finish_batches, taken.relay_id)
    assert outbox.batch_states() == ["done" if state == "open" else state, "open"]


def test_a_deferral_keeps_the_time_of_the_first_failure(outbox: Outbox) -> None:
    """From there the horizon counts after which it is given up."""
    taken, ids = drain(outbox, 1)
    outbox.settle(taken, ids, DEFERRED)
    with outbox.engine.connect() as connection:
        now = read_clock(connection)
    (first,) = outbox.column(Invitation.first_failure_at)
    assert first is not None
    assert abs(first - now) < timedelta(minutes=1)
