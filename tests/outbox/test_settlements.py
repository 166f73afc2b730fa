"""Who may send what, and what became of it, on each database."""

from contextlib import suppress
from datetime import timedelta
from threading import Event

import pytest
from sqlalchemy import select

from own_smtp.errors import ConflictError, LeaseLostError
from own_smtp.operations import erasure
from own_smtp.outbox import actions, leases, settlements
from own_smtp.outbox.journal import Ended, Findings, Machine
from own_smtp.smtp.outcomes import Stage, interrupted
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Batch, Invitation, Journal, Lease, Relay, Tally
from tests.ledgers import ACCEPTED, DEFERRED, LEASE, REFUSED, Books, at_once, invited, settlement

UNKNOWN = interrupted(Stage.MESSAGE, "The connection was lost.")


@pytest.fixture
def books(migrated, tmp_path):
    """Empty books, on SQLite, PostgreSQL and MariaDB in turn."""
    return Books.at(migrated, tmp_path / "journal")


def past(books):
    with books.engine.connect() as connection:
        return read_clock(connection) - timedelta(seconds=1)


def ids_of(claimed):
    return [invitation.id for invitation in claimed]


# Leases


def test_of_many_workers_one_gets_the_lease(books):
    """However many reach for a relay at once, first time or later, one gets it and the others learn so."""
    relay = books.relay()
    for _round in range(3):
        taken = [won for won in at_once(*[lambda: books.take(relay)] * 8) if won]
        assert len(taken) == 1
        assert books.column(Journal.id) == [taken[0].token]
        books.end(taken[0])


def test_a_lease_that_ran_out_is_taken_and_its_holder_finds_out(books):
    """After the expiry another drain takes over with a higher token, and the first cannot renew."""
    relay = books.relay()
    first = books.take(relay)
    books.change(Lease, relay, expires_at=past(books))
    second = books.take(relay)
    assert second.token > first.token
    with pytest.raises(LeaseLostError):
        books(leases.renew_lease, first, LEASE, None)
    books(leases.renew_lease, second, LEASE, None)


def test_who_lost_the_lease_cannot_give_it_back(books):
    """A drain that was overtaken leaves its successor's lease and pace alone."""
    relay = books.relay()
    first = books.take(relay)
    books.change(Lease, relay, expires_at=past(books))
    second = books.take(relay)
    books(leases.give_back_lease, first, {"pace": {"next": 1.0}})
    assert books.column(Lease.token) == [second.token]
    assert books.column(Lease.pace) == [None]
    assert books.take(relay) is None


def test_a_resting_relay_is_left_alone(books):
    """Before its time to wake nobody gets the lease; after it, with what the last drain left."""
    relay = books.relay()
    taken = books.take(relay)
    books(
        leases.give_back_lease,
        taken,
        {"wake_at": taken.at + timedelta(hours=1), "pace": {"learned": 2.0}, "failures": 3},
    )
    assert books.take(relay) is None
    books.change(Lease, relay, wake_at=past(books))
    again = books.take(relay)
    assert (again.pace, again.failures) == ({"learned": 2.0}, 3)


def test_a_token_is_never_given_twice(books):
    """Tokens grow over closed journals: a drain of yesterday can never be taken for one of today."""
    relay = books.relay()
    tokens = []
    for _drain in range(3):
        taken = books.take(relay)
        tokens.append(taken.token)
        books.end(taken)
    assert tokens == sorted(set(tokens))


# Claims


def test_nothing_is_claimed_twice(books):
    """What a drain claimed, neither it nor its successor claims again."""
    relay = books.relay()
    books.send(relay, 10)
    first = books.take(relay)
    mine = ids_of(books.claim(first, 4))
    books.change(Lease, relay, expires_at=past(books))
    second = books.take(relay)
    others = ids_of(books.claim(second))
    assert sorted(mine + others) == books.column(Invitation.id)
    assert books.claim(second) == []
    assert books.states() == {"sending": 10}


def test_urgent_batches_come_first_and_the_others_share(books):
    """An urgent batch overtakes; the rest get equal shares, beginning behind the batch served last."""
    relay = books.relay()
    batches = [books.send(relay, 10).batch_id for _batch in range(3)]
    urgent = books.send(relay, 2).batch_id
    books.change(Batch, urgent, is_urgent=True)
    claimed = books.claim(books.take(relay), 8, after_batch=batches[0])
    assert [item.batch_id for item in claimed] == [urgent] * 2 + [batches[1]] * 2 + [batches[2]] * 2 + [batches[0]] * 2


def test_a_share_that_is_not_used_goes_to_the_next(books):
    """A batch with little to send leaves its share to the others."""
    relay = books.relay()
    small, large = books.send(relay, 1).batch_id, books.send(relay, 20).batch_id
    claimed = books.claim(books.take(relay), 10)
    assert [item.batch_id for item in claimed] == [small] + [large] * 9


def test_batches_in_which_nothing_is_due_take_no_share(books):
    """Thousands of batches that wait for a retry do not keep one that is due from being found."""
    relay = books.relay()
    taken = books.take(relay)
    for _batch in range(5):
        books.send(relay, 2)
    waiting = ids_of(books.claim(taken))
    books.settle(taken, waiting, DEFERRED)
    due = books.send(relay, 3).batch_id
    assert [item.batch_id for item in books.claim(taken, 3)] == [due] * 3


@pytest.mark.parametrize("state", ["paused", "done", "cancelled"])
def test_only_open_batches_are_served(books, state):
    """A batch that is paused or withdrawn has nothing for a drain."""
    relay = books.relay()
    books.change(Batch, books.send(relay, 2).batch_id, state=state)
    assert books.claim(books.take(relay)) == []


@pytest.mark.parametrize("values", [{"state": "paused"}, {"state": "unconfirmed"}, {"deleted_at": True}])
def test_a_relay_that_may_not_send_claims_nothing(books, values):
    """A relay that was paused, changed or deleted in mid-drain gets nothing more, and the drain is told."""
    relay = books.relay()
    books.send(relay, 2)
    taken = books.take(relay)
    books.change(Relay, relay, **{"deleted_at": past(books)} if "deleted_at" in values else values)
    with books.engine.begin() as connection:
        found = settlements.claim(connection, taken, 10)
    assert (found.is_active, found.invitations) == (False, [])
    assert books.states() == {"queued": 2}


def test_what_was_put_off_is_not_due(books):
    """A deferred invitation waits for its time, and its own drain leaves it to the next one even then."""
    relay = books.relay()
    books.send(relay, 1)
    first = books.take(relay)
    (invitation,) = books.claim(first)
    books.settle(first, [invitation.id], DEFERRED)
    assert books.claim(first) == []
    books.change(Invitation, invitation.id, next_attempt_at=past(books))
    assert books.claim(first) == []
    books.end(first)
    (again,) = books.claim(books.take(relay))
    assert (again.id, again.attempts) == (invitation.id, 1)


def test_more_than_fit_into_one_statement_are_claimed(books):
    """Claims and settlements of more than a thousand are whole."""
    relay = books.relay()
    books.send(relay, 1203)
    taken = books.take(relay)
    claimed = ids_of(books.claim(taken, 2000))
    assert len(claimed) == 1203
    books.settle(taken, claimed)
    assert books.states() == {"accepted": 1203}
    assert len(books.attempts()) == 1203


# Outcomes


def test_each_outcome_leaves_its_state_and_an_attempt(books):
    """Accepted, refused and deferred stand on the invitation and in the log, with the server's own words."""
    relay = books.relay()
    books.send(relay, 3)
    taken = books.take(relay)
    one, two, three = ids_of(books.claim(taken))
    with books.engine.begin() as connection:
        now = read_clock(connection)
        outcomes = [settlement(one, ACCEPTED, now), settlement(two, REFUSED, now), settlement(three, DEFERRED, now)]
        settlements.settle(connection, taken, outcomes, tells_host=True)
    assert books.column(Invitation.state) == ["accepted", "refused", "queued"]
    assert books.column(Invitation.attempts) == [1, 1, 1]
    with books.engine.connect() as connection:
        log = connection.execute(
            select(Attempt.invitation_id, Attempt.state, Attempt.code, Attempt.enhanced, Attempt.text)
        ).all()
    assert sorted(map(tuple, log)) == [
        (one, "accepted", 250, "2.0.0", "queued as 1"),
        (two, "refused", 550, "5.1.1", "no such user"),
        (three, "queued", 450, "4.2.0", "greylisted"),
    ]
    assert all(books.column(Invitation.untold_since))


@pytest.mark.parametrize("outcome", [ACCEPTED, REFUSED, DEFERRED, UNKNOWN])
def test_a_settlement_that_was_committed_unnoticed_is_not_written_twice(books, outcome):
    """When the answer to a commit got lost, writing the same again changes nothing and logs nothing."""
    relay = books.relay()
    books.send(relay, 2)
    taken = books.take(relay)
    ids = ids_of(books.claim(taken))
    books.settle(taken, ids, outcome)
    books.settle(taken, ids, outcome)
    assert books.attempts() == [outcome.state] * 2
    assert books.column(Invitation.attempts) == [1, 1]


def test_a_stranger_settles_nothing(books):
    """A drain with another token finds no row, and logs no attempt."""
    relay = books.relay()
    books.send(relay, 1)
    first = books.take(relay)
    ids = ids_of(books.claim(first))
    books.change(Lease, relay, expires_at=past(books))
    books.settle(books.take(relay), ids, REFUSED)
    assert books.states() == {"sending": 1}
    assert books.attempts() == []


def test_a_project_that_was_deleted_while_it_was_sent_does_not_stop_its_drain(books):
    """What became of a deleted invitation is passed over; the others are settled."""
    relay = books.relay()
    books.send(relay, 1, project_id="gone")
    books.send(relay, 1, project_id="kept")
    taken = books.take(relay)
    ids = ids_of(books.claim(taken))
    books(erasure.forget, "acme", "gone")
    books.settle(taken, ids)
    assert books.states() == {"accepted": 1}
    assert books.attempts() == ["accepted"]


def test_a_drain_taken_for_dead_still_brings_the_truth(books):
    """An invitation that became unknown because its machine was silent becomes what its drain knows."""
    relay = books.relay()
    books.send(relay, 3)
    taken = books.take(relay)
    one, two, three = ids_of(books.claim(taken))
    books(settlements.recover, journal_of(books), None, [], tells_host=True)
    assert books.states() == {"unknown": 3}
    books.settle(taken, [one])
    books.settle(taken, [two], REFUSED)
    books.settle(taken, [three], UNKNOWN)
    assert books.column(Invitation.state) == ["accepted", "refused", "unknown"]
    assert len(books.attempts()) == 5


def test_a_late_outcome_does_not_undo_a_persons_retry(books):
    """Once a person queued an unknown invitation again, the old drain's word is worth nothing any more."""
    relay = books.relay()
    batch = books.send(relay, 1).batch_id
    taken = books.take(relay)
    ids = ids_of(books.claim(taken))
    books(settlements.recover, journal_of(books), None, [], tells_host=True)
    books(actions.retry, batch, [State.UNKNOWN])
    books.settle(taken, ids)
    assert books.states() == {"queued": 1}


def test_only_the_state_that_was_told_counts_as_told(books):
    """A change that came after the host was told of an earlier one is told again."""
    relay = books.relay()
    books.send(relay, 2)
    taken = books.take(relay)
    one, two = ids_of(books.claim(taken))
    books.settle(taken, [one, two])
    books.told({State.ACCEPTED: [one], State.QUEUED: [two]})
    assert [bool(since) for since in books.column(Invitation.untold_since)] == [False, True]


def test_what_is_settled_twice_at_one_moment_counts_once(books):
    """After a commit whose answer got lost, however fast the drain is and however coarse the database's clock."""
    relay = books.relay()
    books.send(relay, 3)
    taken = books.take(relay)
    one, two, three = ids_of(books.claim(taken))
    with books.engine.begin() as connection:
        leases.lock_books(connection, [relay])
        now = read_clock(connection)
        items = [settlement(one, ACCEPTED, now), settlement(two, REFUSED, now), settlement(three, DEFERRED, now)]
        for _time in range(20):
            settlements.settle(connection, taken, items, tells_host=True)
    assert sorted(books.attempts()) == ["accepted", "queued", "refused"]
    assert sum(books.column(Tally.count)) == 3


def test_attempts_are_tallied_by_their_hour(books):
    """Charts and rates read a line for each hour, batch, state and reply code, however many messages there were."""
    relay = books.relay()
    batch = books.send(relay, 5).batch_id
    taken = books.take(relay)
    one, two, three, four, five = ids_of(books.claim(taken))
    books.settle(taken, [one, two])
    books.settle(taken, [three])
    books.settle(taken, [four], REFUSED)
    books.settle(taken, [five], UNKNOWN)
    with books.engine.connect() as connection:
        tallies = connection.execute(
            select(Tally.relay_id, Tally.batch_id, Tally.state, Tally.code, Tally.count).order_by(Tally.state)
        ).all()
        hour = connection.scalar(select(Tally.hour).distinct())
    assert tallies == [
        (relay, batch, "accepted", 250, 3),
        (relay, batch, "refused", 550, 1),
        (relay, batch, "unknown", 0, 1),
    ]
    assert (hour.minute, hour.second, hour.microsecond) == (0, 0, 0)


# The end of a drain, and of a dead one


def test_what_a_lost_commit_claimed_goes_back_at_the_end(books):
    """Claims that the drain never heard of, because the database's answer got lost, wait again after it."""
    relay = books.relay()
    books.send(relay, 3)
    taken = books.take(relay)
    known = ids_of(books.claim(taken, 1))
    books.claim(taken, 2)  # the answer to this one got lost
    books.settle(taken, known)
    books.end(taken)
    assert books.states() == {"accepted": 1, "queued": 2}
    assert books.batch_states() == ["open"]
    assert len(books.claim(books.take(relay))) == 2


def test_a_batch_is_done_when_nothing_waits_in_it(books):
    """The end of a drain closes the batches that it finished, and no other."""
    relay = books.relay()
    books.send(relay, 1)
    books.send(relay, 2)
    taken = books.take(relay)
    claimed = ids_of(books.claim(taken, 2))
    books.settle(taken, claimed)
    books.end(taken)
    assert books.batch_states() == ["done", "open"]


def test_a_journal_says_what_becomes_of_each_claim(books):
    """After a death: begun is unknown, ended is what it ended as, and the rest waits again; the relay is free."""
    relay = books.relay()
    books.send(relay, 4)
    taken = books.take(relay)
    begun, ended, deferred, waiting = ids_of(books.claim(taken))
    findings = Findings({begun, 999_999}, {ended: Ended(ACCEPTED, 0.0), deferred: Ended(DEFERRED, 0.0)})
    known = [settlement(ended, ACCEPTED, taken.at), settlement(deferred, DEFERRED, taken.at)]
    books(settlements.recover, journal_of(books), findings, known, tells_host=True)
    found = dict(zip(books.column(Invitation.id), books.column(Invitation.state), strict=True))
    assert found == {begun: "unknown", ended: "accepted", deferred: "queued", waiting: "queued"}
    assert sorted(books.attempts()) == ["accepted", "queued", "unknown"]
    assert books.column(Journal.id) == []
    assert [item.id for item in books.claim(books.take(relay))] == [waiting]


def test_what_a_person_queued_again_does_not_end_as_it_did_before(books):
    """A drain that dies soon after a retry leaves its old word in the journal: the new attempt is still to come."""
    relay = books.relay()
    batch = books.send(relay, 1).batch_id
    taken = books.take(relay)
    (refused,) = ids_of(books.claim(taken))
    books.settle(taken, [refused], REFUSED)
    books(actions.retry, batch, [State.REFUSED])
    assert books.claim(taken) == []
    findings = Findings(set(), {refused: Ended(REFUSED, 0.0)})
    books(settlements.recover, journal_of(books), findings, [settlement(refused, REFUSED, taken.at)], tells_host=True)
    assert books.states() == {"queued": 1}
    assert books.attempts() == ["refused"]
    assert ids_of(books.claim(books.take(relay))) == [refused]


def test_a_recovery_leaves_the_successors_claims_alone(books):
    """A dead drain's recovery touches neither the claims nor the lease of the drain that followed it."""
    relay = books.relay()
    books.send(relay, 4)
    first = books.take(relay)
    books.claim(first, 2)
    books.change(Lease, relay, expires_at=past(books))
    second = books.take(relay)
    mine = ids_of(books.claim(second))
    books(settlements.recover, journal_of(books), Findings(), [], tells_host=True)
    assert books.states() == {"queued": 2, "sending": 2}
    assert books.column(Lease.token) == [second.token]
    books.settle(second, mine)
    assert books.states() == {"queued": 2, "accepted": 2}


def test_a_journal_is_taken_over_once(books):
    """Of two recoveries of one journal only one finds it open."""
    relay = books.relay()
    books.take(relay)
    journal = journal_of(books)

    def recover():
        with books.engine.begin() as connection:
            if is_mine := leases.take_over_journal(connection, journal):
                settlements.recover(connection, journal, None, [], tells_host=True)
            return is_mine

    assert sorted(at_once(recover, recover)) == [False, True]


def journal_of(books):
    with books.engine.connect() as connection:
        return leases.open_journals(connection)[0]


# Many at once


def test_drains_people_and_hosts_do_not_get_in_each_others_way(books):
    """Claims, outcomes, cancels, retries and the telling of one relay at once: no deadlock, and nothing lost."""
    relay = books.relay()
    batches = [books.send(relay, 150).batch_id for _batch in range(4)]
    taken = books.take(relay)

    drained = Event()

    def drain():
        try:
            while claimed := ids_of(books.claim(taken, 30)):
                books.settle(taken, claimed[::3], REFUSED)
                books.settle(taken, claimed[1::3], DEFERRED)
                books.settle(taken, claimed[2::3])
        finally:
            drained.set()

    def people():
        for batch in batches * 3:
            books(actions.cancel_batch, batch)
            books(actions.retry, batch, [State.CANCELLED, State.REFUSED], list(range(1, 400)))

    def told():
        for _time in range(30):
            everyone = books.column(Invitation.id)
            books.told({State.REFUSED: everyone, State.QUEUED: everyone, State.ACCEPTED: everyone})

    def hosts():
        for number in range(10):
            books.send(relay, 20, idempotency_key=f"key {number}")

    at_once(drain, lambda: patiently(people, drained), told, hosts)
    drain()
    books.end(taken)
    assert sum(books.states().values()) == 600 + 200
    assert "sending" not in books.states()


def patiently(action, drained):
    """Do it, again after what people are asked to do later, as long as there is a drain to wait for."""
    while not drained.is_set():
        with suppress(ConflictError):
            return action()
    return action()


def test_machines_have_their_own_journals(books, tmp_path):
    """A journal names the folder that it lies in."""
    other = Machine.at(tmp_path / "other")
    books.take(books.relay(), other)
    assert journal_of(books).machine == other.name != books.machine.name


def test_invitations_can_be_counted_while_they_are_written(books):
    """A page that reads does not wait for a drain that writes."""
    relay = books.relay()
    books.send(relay, invited(5))
    taken = books.take(relay)
    with books.engine.begin() as connection:
        leases.renew_lease(connection, taken, LEASE, None)
        settlements.claim(connection, taken, 5)
        assert books.states() == {"queued": 5}
    assert books.states() == {"sending": 5}
