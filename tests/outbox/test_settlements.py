"""Leases, claims and settlements, on each database."""

from contextlib import suppress
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import select

from own_smtp.errors import ConflictError, LeaseLostError
from own_smtp.operations import erasure
from own_smtp.outbox import actions, closing, leases, settlements
from own_smtp.outbox.journal import Machine
from own_smtp.outbox.journal_lines import Findings, JournaledOutcome
from own_smtp.smtp.replies.outcomes import Stage, interrupted
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, HourlyStat, Invitation, Journal, Lease, Relay
from tests.outbox_kit import ACCEPTED, DEFERRED, LEASE, REFUSED, Outbox, at_once, invited, settlement

UNKNOWN = interrupted(Stage.MESSAGE, "The connection was lost.")


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


def past(outbox):
    with outbox.engine.connect() as connection:
        return read_clock(connection) - timedelta(seconds=1)


def ids_of(claimed):
    return [invitation.id for invitation in claimed]


# Leases


def test_of_many_workers_one_gets_the_lease(outbox):
    """However many request a relay at once, the first time or later, one gets it and the others do not."""
    relay = outbox.relay()
    for _round in range(3):
        taken = [won for won in at_once(*[lambda: outbox.take(relay)] * 8) if won]
        assert len(taken) == 1
        assert outbox.column(Journal.id) == [taken[0].token]
        outbox.end(taken[0])


def test_an_expired_lease_is_taken_over_and_its_holder_notices(outbox):
    """After the expiry another drain takes over with a higher token, and the first cannot renew."""
    relay = outbox.relay()
    first = outbox.take(relay)
    outbox.change(Lease, relay, expires_at=past(outbox))
    second = outbox.take(relay)
    assert second.token > first.token
    with pytest.raises(LeaseLostError):
        outbox(leases.renew_lease, first, LEASE, None)
    outbox(leases.renew_lease, second, LEASE, None)


def test_a_lost_lease_cannot_be_released(outbox):
    """A drain that lost its lease does not change its successor's lease and rate."""
    relay = outbox.relay()
    first = outbox.take(relay)
    outbox.change(Lease, relay, expires_at=past(outbox))
    second = outbox.take(relay)
    outbox(leases.give_back_lease, first, {"pace": {"next": 1.0}})
    assert outbox.column(Lease.token) == [second.token]
    assert outbox.column(Lease.pace) == [None]
    assert outbox.take(relay) is None


def test_a_resting_relay_is_left_alone(outbox):
    """Before `wake_at` no drain gets the lease; afterwards one gets it, with the state of the last drain."""
    relay = outbox.relay()
    taken = outbox.take(relay)
    outbox(
        leases.give_back_lease,
        taken,
        {"wake_at": taken.at + timedelta(hours=1), "pace": {"learned": 2.0}, "failures": 3},
    )
    assert outbox.take(relay) is None
    outbox.change(Lease, relay, wake_at=past(outbox))
    again = outbox.take(relay)
    assert (again.pace, again.failures) == ({"learned": 2.0}, 3)


def test_a_token_is_never_given_twice(outbox):
    """Tokens grow over closed journals: an old drain can never be mistaken for a new one."""
    relay = outbox.relay()
    tokens = []
    for _drain in range(3):
        taken = outbox.take(relay)
        tokens.append(taken.token)
        outbox.end(taken)
    assert tokens == sorted(set(tokens))


# Claims


def test_nothing_is_claimed_twice(outbox):
    """Neither the drain nor its successor claims an invitation again."""
    relay = outbox.relay()
    outbox.send(relay, 10)
    first = outbox.take(relay)
    mine = ids_of(outbox.claim(first, 4))
    outbox.change(Lease, relay, expires_at=past(outbox))
    second = outbox.take(relay)
    others = ids_of(outbox.claim(second))
    assert sorted(mine + others) == outbox.column(Invitation.id)
    assert outbox.claim(second) == []
    assert outbox.states() == {"sending": 10}


def test_urgent_batches_come_first_and_the_others_share(outbox):
    """An urgent batch is claimed first; the rest get equal shares, beginning behind the batch served last."""
    relay = outbox.relay()
    batches = [outbox.send(relay, 10).batch_id for _batch in range(3)]
    urgent = outbox.send(relay, 2).batch_id
    outbox.change(Batch, urgent, is_urgent=True)
    claimed = outbox.claim(outbox.take(relay), 8, after_batch=batches[0])
    assert [item.batch_id for item in claimed] == [urgent] * 2 + [batches[1]] * 2 + [batches[2]] * 2 + [batches[0]] * 2


def test_a_share_that_is_not_used_goes_to_the_next(outbox):
    """A batch with few invitations leaves its share to the others."""
    relay = outbox.relay()
    small, large = outbox.send(relay, 1).batch_id, outbox.send(relay, 20).batch_id
    claimed = outbox.claim(outbox.take(relay), 10)
    assert [item.batch_id for item in claimed] == [small] + [large] * 9


def test_batches_in_which_nothing_is_due_take_no_share(outbox):
    """Thousands of batches that wait for a retry do not hide one that is due."""
    relay = outbox.relay()
    taken = outbox.take(relay)
    for _batch in range(5):
        outbox.send(relay, 2)
    waiting = ids_of(outbox.claim(taken))
    outbox.settle(taken, waiting, DEFERRED)
    due = outbox.send(relay, 3).batch_id
    assert [item.batch_id for item in outbox.claim(taken, 3)] == [due] * 3


@pytest.mark.parametrize("state", ["paused", "done", "cancelled"])
def test_only_open_batches_are_served(outbox, state):
    """Paused and cancelled batches have no work for a drain."""
    relay = outbox.relay()
    outbox.change(Batch, outbox.send(relay, 2).batch_id, state=state)
    assert outbox.claim(outbox.take(relay)) == []


@pytest.mark.parametrize("values", [{"state": "paused"}, {"state": "unconfirmed"}, {"deleted_at": True}])
def test_a_relay_that_may_not_send_claims_nothing(outbox, values):
    """A relay that is paused, changed or deleted during a drain gets no more claims, and the drain learns why."""
    relay = outbox.relay()
    outbox.send(relay, 2)
    taken = outbox.take(relay)
    outbox.change(Relay, relay, **{"deleted_at": past(outbox)} if "deleted_at" in values else values)
    with outbox.engine.begin() as connection:
        found = settlements.claim(connection, taken, 10)
    assert (found.is_active, found.invitations) == (False, [])
    assert outbox.states() == {"queued": 2}


def test_a_deferred_invitation_is_not_due(outbox):
    """It waits for its time, and its own drain leaves it to the next one even then."""
    relay = outbox.relay()
    outbox.send(relay, 1)
    first = outbox.take(relay)
    (invitation,) = outbox.claim(first)
    outbox.settle(first, [invitation.id], DEFERRED)
    assert outbox.claim(first) == []
    outbox.change(Invitation, invitation.id, next_attempt_at=past(outbox))
    assert outbox.claim(first) == []
    outbox.end(first)
    (again,) = outbox.claim(outbox.take(relay))
    assert (again.id, again.attempts) == (invitation.id, 1)


def test_more_than_fit_into_one_statement_are_claimed(outbox):
    """Claims and settlements of more than a thousand are complete."""
    relay = outbox.relay()
    outbox.send(relay, 1203)
    taken = outbox.take(relay)
    claimed = ids_of(outbox.claim(taken, 2000))
    assert len(claimed) == 1203
    outbox.settle(taken, claimed)
    assert outbox.states() == {"accepted": 1203}
    assert len(outbox.attempts()) == 1203


# Outcomes


def test_each_outcome_leaves_its_state_and_an_attempt(outbox):
    """Accepted, refused and deferred are stored in the invitation and in the log, with the server's reply."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    taken = outbox.take(relay)
    one, two, three = ids_of(outbox.claim(taken))
    with outbox.engine.begin() as connection:
        now = read_clock(connection)
        outcomes = [settlement(one, ACCEPTED, now), settlement(two, REFUSED, now), settlement(three, DEFERRED, now)]
        settlements.settle(connection, taken, outcomes, tells_host=True)
    assert outbox.column(Invitation.state) == ["accepted", "refused", "queued"]
    assert outbox.column(Invitation.attempts) == [1, 1, 1]
    with outbox.engine.connect() as connection:
        log = connection.execute(
            select(Attempt.invitation_id, Attempt.state, Attempt.code, Attempt.enhanced, Attempt.text)
        ).all()
    assert sorted(map(tuple, log)) == [
        (one, "accepted", 250, "2.0.0", "queued as 1"),
        (two, "refused", 550, "5.1.1", "no such user"),
        (three, "queued", 450, "4.2.0", "greylisted"),
    ]
    assert all(outbox.column(Invitation.untold_since))


@pytest.mark.parametrize("outcome", [ACCEPTED, REFUSED, DEFERRED, UNKNOWN])
def test_a_settlement_that_was_committed_unnoticed_is_not_written_twice(outbox, outcome):
    """If the answer to a commit was lost, writing the same again changes nothing and logs nothing."""
    relay = outbox.relay()
    outbox.send(relay, 2)
    taken = outbox.take(relay)
    ids = ids_of(outbox.claim(taken))
    outbox.settle(taken, ids, outcome)
    outbox.settle(taken, ids, outcome)
    assert outbox.attempts() == [outcome.state] * 2
    assert outbox.column(Invitation.attempts) == [1, 1]


def test_a_drain_with_another_token_settles_nothing(outbox):
    """It finds no row, and logs no attempt."""
    relay = outbox.relay()
    outbox.send(relay, 1)
    first = outbox.take(relay)
    ids = ids_of(outbox.claim(first))
    outbox.change(Lease, relay, expires_at=past(outbox))
    outbox.settle(outbox.take(relay), ids, REFUSED)
    assert outbox.states() == {"sending": 1}
    assert outbox.attempts() == []


def test_a_project_that_was_deleted_while_it_was_sent_does_not_stop_its_drain(outbox):
    """Outcomes of deleted invitations are skipped; the others are settled."""
    relay = outbox.relay()
    outbox.send(relay, 1, project_id="gone")
    outbox.send(relay, 1, project_id="kept")
    taken = outbox.take(relay)
    ids = ids_of(outbox.claim(taken))
    outbox(erasure.erase_records, "acme", "gone")
    outbox.settle(taken, ids)
    assert outbox.states() == {"accepted": 1}
    assert outbox.attempts() == ["accepted"]


def test_a_drain_that_counted_as_dead_still_settles(outbox):
    """An invitation that became unknown because its machine was silent gets the drain's outcome."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    taken = outbox.take(relay)
    one, two, three = ids_of(outbox.claim(taken))
    outbox(closing.recover, journal_of(outbox), None, [], tells_host=True)
    assert outbox.states() == {"unknown": 3}
    outbox.settle(taken, [one])
    outbox.settle(taken, [two], REFUSED)
    outbox.settle(taken, [three], UNKNOWN)
    assert outbox.column(Invitation.state) == ["accepted", "refused", "unknown"]
    assert len(outbox.attempts()) == 5


def test_a_late_outcome_does_not_undo_a_persons_retry(outbox):
    """Once a person queued an unknown invitation again, the old drain's outcome is ignored."""
    relay = outbox.relay()
    batch = outbox.send(relay, 1).batch_id
    taken = outbox.take(relay)
    ids = ids_of(outbox.claim(taken))
    outbox(closing.recover, journal_of(outbox), None, [], tells_host=True)
    outbox(actions.retry, batch, [State.UNKNOWN])
    outbox.settle(taken, ids)
    assert outbox.states() == {"queued": 1}


def test_only_the_notified_state_counts_as_notified(outbox):
    """A change after the host was notified of an earlier one is notified again."""
    relay = outbox.relay()
    outbox.send(relay, 2)
    taken = outbox.take(relay)
    one, two = ids_of(outbox.claim(taken))
    outbox.settle(taken, [one, two])
    outbox.told({State.ACCEPTED: [one], State.QUEUED: [two]})
    assert [bool(since) for since in outbox.column(Invitation.untold_since)] == [False, True]


def test_a_repeated_settlement_counts_once(outbox):
    """After a commit whose answer was lost, however fast the drain and however coarse the database's clock."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    taken = outbox.take(relay)
    one, two, three = ids_of(outbox.claim(taken))
    with outbox.engine.begin() as connection:
        leases.lock_leases(connection, [relay])
        now = read_clock(connection)
        items = [settlement(one, ACCEPTED, now), settlement(two, REFUSED, now), settlement(three, DEFERRED, now)]
        for _time in range(20):
            settlements.settle(connection, taken, items, tells_host=True)
    assert sorted(outbox.attempts()) == ["accepted", "queued", "refused"]
    assert sum(outbox.column(HourlyStat.count)) == 3


def test_attempts_are_counted_by_hour(outbox):
    """Charts and rates read one row for each hour, batch, state and reply code."""
    relay = outbox.relay()
    batch = outbox.send(relay, 5).batch_id
    taken = outbox.take(relay)
    one, two, three, four, five = ids_of(outbox.claim(taken))
    outbox.settle(taken, [one, two])
    outbox.settle(taken, [three])
    outbox.settle(taken, [four], REFUSED)
    outbox.settle(taken, [five], UNKNOWN)
    with outbox.engine.connect() as connection:
        tallies = connection.execute(
            select(
                HourlyStat.relay_id, HourlyStat.batch_id, HourlyStat.state, HourlyStat.code, HourlyStat.count
            ).order_by(HourlyStat.state)
        ).all()
        hour = connection.scalar(select(HourlyStat.hour).distinct())
    assert tallies == [
        (relay, batch, "accepted", 250, 3),
        (relay, batch, "refused", 550, 1),
        (relay, batch, "unknown", 0, 1),
    ]
    assert (hour.minute, hour.second, hour.microsecond) == (0, 0, 0)


# The end of a drain, and of a dead one


def test_claims_of_a_lost_commit_are_returned(outbox):
    """Claims that the drain never learned of, because the database's answer was lost, wait again afterwards."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    taken = outbox.take(relay)
    known = ids_of(outbox.claim(taken, 1))
    outbox.claim(taken, 2)  # the answer to this one got lost
    outbox.settle(taken, known)
    outbox.end(taken)
    assert outbox.states() == {"accepted": 1, "queued": 2}
    assert outbox.batch_states() == ["open"]
    assert len(outbox.claim(outbox.take(relay))) == 2


def test_a_batch_is_done_when_nothing_waits_in_it(outbox):
    """The end of a drain closes the batches that it finished, and no other."""
    relay = outbox.relay()
    outbox.send(relay, 1)
    outbox.send(relay, 2)
    taken = outbox.take(relay)
    claimed = ids_of(outbox.claim(taken, 2))
    outbox.settle(taken, claimed)
    outbox.end(taken)
    assert outbox.batch_states() == ["done", "open"]


def test_a_journal_decides_on_each_claim(outbox):
    """After a crash: begun is unknown, ended has its outcome, and the rest waits again; the relay is free."""
    relay = outbox.relay()
    outbox.send(relay, 4)
    taken = outbox.take(relay)
    begun, ended, deferred, waiting = ids_of(outbox.claim(taken))
    findings = Findings(
        {begun, 999_999}, {ended: JournaledOutcome(ACCEPTED, 0.0), deferred: JournaledOutcome(DEFERRED, 0.0)}
    )
    known = [settlement(ended, ACCEPTED, taken.at), settlement(deferred, DEFERRED, taken.at)]
    outbox(closing.recover, journal_of(outbox), findings, known, tells_host=True)
    found = dict(zip(outbox.column(Invitation.id), outbox.column(Invitation.state), strict=True))
    assert found == {begun: "unknown", ended: "accepted", deferred: "queued", waiting: "queued"}
    assert sorted(outbox.attempts()) == ["accepted", "queued", "unknown"]
    assert outbox.column(Journal.id) == []
    assert [item.id for item in outbox.claim(outbox.take(relay))] == [waiting]


def test_an_old_record_does_not_end_a_retry(outbox):
    """If a drain dies soon after a retry, the old outcome in its journal does not count for the new attempt."""
    relay = outbox.relay()
    batch = outbox.send(relay, 1).batch_id
    taken = outbox.take(relay)
    (refused,) = ids_of(outbox.claim(taken))
    outbox.settle(taken, [refused], REFUSED)
    outbox(actions.retry, batch, [State.REFUSED])
    assert outbox.claim(taken) == []
    findings = Findings(set(), {refused: JournaledOutcome(REFUSED, 0.0)})
    outbox(closing.recover, journal_of(outbox), findings, [settlement(refused, REFUSED, taken.at)], tells_host=True)
    assert outbox.states() == {"queued": 1}
    assert outbox.attempts() == ["refused"]
    assert ids_of(outbox.claim(outbox.take(relay))) == [refused]


def test_a_recovery_leaves_the_successors_claims_alone(outbox):
    """A dead drain's recovery changes neither the claims nor the lease of its successor."""
    relay = outbox.relay()
    outbox.send(relay, 4)
    first = outbox.take(relay)
    outbox.claim(first, 2)
    outbox.change(Lease, relay, expires_at=past(outbox))
    second = outbox.take(relay)
    mine = ids_of(outbox.claim(second))
    outbox(closing.recover, journal_of(outbox), Findings(), [], tells_host=True)
    assert outbox.states() == {"queued": 2, "sending": 2}
    assert outbox.column(Lease.token) == [second.token]
    outbox.settle(second, mine)
    assert outbox.states() == {"queued": 2, "accepted": 2}


def test_a_journal_is_taken_over_once(outbox):
    """Of two recoveries of one journal only one finds it open."""
    relay = outbox.relay()
    outbox.take(relay)
    journal = journal_of(outbox)

    def recover():
        with outbox.engine.begin() as connection:
            if is_mine := leases.take_over_journal(connection, journal):
                closing.recover(connection, journal, None, [], tells_host=True)
            return is_mine

    assert sorted(at_once(recover, recover)) == [False, True]


def journal_of(outbox):
    with outbox.engine.connect() as connection:
        return leases.open_journals(connection)[0]


# Many at once


def test_concurrent_changes_neither_deadlock_nor_get_lost(outbox):
    """Claims, outcomes, cancellations, retries and notifications of one relay at once."""
    relay = outbox.relay()
    batches = [outbox.send(relay, 150).batch_id for _batch in range(4)]
    taken = outbox.take(relay)

    drained = Event()

    def drain():
        try:
            while claimed := ids_of(outbox.claim(taken, 30)):
                outbox.settle(taken, claimed[::3], REFUSED)
                outbox.settle(taken, claimed[1::3], DEFERRED)
                outbox.settle(taken, claimed[2::3])
        finally:
            drained.set()

    def people():
        for batch in batches * 3:
            outbox(actions.cancel_batch, batch)
            outbox(actions.retry, batch, [State.CANCELLED, State.REFUSED], list(range(1, 400)))

    def told():
        for _time in range(30):
            everyone = outbox.column(Invitation.id)
            outbox.told({State.REFUSED: everyone, State.QUEUED: everyone, State.ACCEPTED: everyone})

    def hosts():
        for number in range(10):
            outbox.send(relay, 20, idempotency_key=f"key {number}")

    at_once(drain, lambda: patiently(people, drained), told, hosts)
    drain()
    outbox.end(taken)
    assert sum(outbox.states().values()) == 600 + 200
    assert "sending" not in outbox.states()


def patiently(action, drained):
    """Run it, and repeat it as people are asked to do, as long as there is a drain to wait for."""
    while not drained.is_set():
        with suppress(ConflictError):
            return action()
    return action()


def test_machines_have_their_own_journals(outbox, tmp_path):
    """A journal's row has the name of its folder."""
    other = Machine.at(tmp_path / "other")
    outbox.take(outbox.relay(), other)
    assert journal_of(outbox).machine == other.name != outbox.machine.name


def test_invitations_can_be_counted_while_they_are_written(outbox):
    """A page that reads does not wait for a drain that writes."""
    relay = outbox.relay()
    outbox.send(relay, invited(5))
    taken = outbox.take(relay)
    with outbox.engine.begin() as connection:
        leases.renew_lease(connection, taken, LEASE, None)
        settlements.claim(connection, taken, 5)
        assert outbox.states() == {"queued": 5}
    assert outbox.states() == {"sending": 5}
