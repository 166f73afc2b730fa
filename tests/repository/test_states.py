"""Every change of an invitation's state is one that the table of moves allows, in any order of events."""

import contextlib
import secrets
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import create_engine, select, text, update

from own_smtp.errors import ConflictError, LeaseLostError
from own_smtp.outbox import actions, closing, leases, settlements
from own_smtp.outbox.journal_lines import Findings, JournaledOutcome
from own_smtp.smtp.replies.outcomes import Stage, impossible, interrupted
from own_smtp.states import FINAL, MOVES, RETRYABLE, WAITING, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Base, BatchTotals, Invitation, Lease
from tests.outbox_kit import ACCEPTED, DEFERRED, REFUSED, Outbox, batches_of, settlement

pytestmark = pytest.mark.exhaustive

OUTCOMES = {
    State.ACCEPTED: ACCEPTED,
    State.REFUSED: REFUSED,
    State.QUEUED: DEFERRED,
    State.UNKNOWN: interrupted(Stage.MESSAGE, "The connection was lost."),
    State.FAILED: impossible("No server takes this."),
}

# Triggers record every change in the database, so that no statement escapes.
SPY = (
    "CREATE TABLE moved (id INTEGER PRIMARY KEY, invitation INTEGER, before TEXT, after TEXT)",
    """
    CREATE TRIGGER spy AFTER UPDATE OF state ON own_smtp_invitation WHEN OLD.state <> NEW.state
    BEGIN INSERT INTO moved (invitation, before, after) VALUES (OLD.id, OLD.state, NEW.state); END
    """,
)


class Life(RuleBasedStateMachine):
    """Hosts, people, drains, crashes and recoveries of one relay, in any order."""

    @initialize()
    def begin(self):
        engine = create_engine("sqlite://", poolclass=None)
        Base.metadata.create_all(engine)
        self.outbox = Outbox(engine, engine, None)
        for statement in SPY:
            self.outbox(lambda connection, statement=statement: connection.execute(text(statement)))
        self.relay = self.outbox.relay()
        self.drains = {}
        """Tokens with each drain's claimed invitations and its journal."""
        self.batches = [self.outbox.send(self.relay, 4).batch_id]

    def teardown(self):
        if hasattr(self, "outbox"):
            self.outbox.engine.dispose()

    # Events

    @rule(count=st.integers(1, 4))
    def host_sends(self, count):
        if len(self.batches) < 3:
            self.batches.append(self.outbox.send(self.relay, count).batch_id)

    @rule(data=st.data(), action=st.sampled_from(["cancel_batch", "pause_batch", "resume_batch", "expire_batch"]))
    def person_acts(self, data, action):
        self._permitted(getattr(actions, action), data.draw(st.sampled_from(self.batches)))

    @rule(data=st.data(), states=st.sets(st.sampled_from(sorted(RETRYABLE | {State.UNKNOWN})), min_size=1))
    def person_retries(self, data, states):
        self._permitted(actions.retry, data.draw(st.sampled_from(self.batches)), states)

    def _permitted(self, action, *arguments):
        with contextlib.suppress(ConflictError):
            self.outbox(action, *arguments)

    @rule()
    def time_passes(self):
        """Leases expire, and deferred invitations become due."""
        with self.outbox.engine.begin() as connection:
            past = read_clock(connection) - timedelta(seconds=1)
            connection.execute(update(Lease).values(expires_at=past))
            connection.execute(update(Invitation).where(Invitation.state == State.QUEUED).values(next_attempt_at=past))

    @rule(count=st.integers(0, 3))
    def drain_begins(self, count):
        with self.outbox.engine.begin() as connection:
            machine = type("Folder", (), {"name": secrets.token_hex(4), "boot": "b"})
            taken = leases.take_lease(
                connection, self.relay, owner="t", machine=machine, journal="j", duration=timedelta(seconds=30)
            )
        if taken is not None:
            claimed = self.outbox.claim(taken, count) if count else []
            self.drains[taken.token] = (taken, {item.id: None for item in claimed}, Findings())

    @precondition(lambda self: self.drains)
    @rule(data=st.data(), count=st.integers(1, 5))
    def drain_claims(self, data, count):
        taken, held, _findings = self._draw(data)
        try:
            claimed = self.outbox.claim(taken, count)
        except LeaseLostError:
            return
        held.update({item.id: None for item in claimed})

    @precondition(lambda self: self.drains)
    @rule(data=st.data(), states=st.lists(st.sampled_from(sorted(OUTCOMES)), min_size=1, max_size=4))
    def drain_sends(self, data, states):
        """It writes beginnings and outcomes into its journal; it settles them later, or never."""
        _taken, held, findings = self._draw(data)
        for invitation_id, state in zip([key for key, value in held.items() if value is None], states, strict=False):
            findings.begun.add(invitation_id)
            if data.draw(st.booleans()):
                findings.begun.discard(invitation_id)
                findings.ended[invitation_id] = JournaledOutcome(OUTCOMES[state], 0.0)
                held[invitation_id] = OUTCOMES[state]

    @precondition(lambda self: self.drains)
    @rule(data=st.data(), times=st.integers(1, 2))
    def drain_settles(self, data, times):
        """Sometimes twice: the reply to the first commit was lost."""
        taken, held, _findings = self._draw(data)
        for _time in range(times):
            self._settle(taken, held)
        self._forget_settled(held)

    @precondition(lambda self: self.drains)
    @rule(data=st.data())
    def drain_ends(self, data):
        taken, held, findings = self._draw(data)
        for invitation_id in list(findings.begun):
            held[invitation_id] = OUTCOMES[State.UNKNOWN]
        self._settle(taken, held)
        self.outbox.end(taken)
        del self.drains[taken.token]

    @precondition(lambda self: self.drains)
    @rule(data=st.data(), is_lost=st.booleans(), lives_on=st.booleans())
    def drain_is_recovered(self, data, is_lost, lives_on):
        """Its journal was found, or lost; a drain that was only believed dead may return."""
        taken, _held, findings = self._draw(data)
        with self.outbox.engine.begin() as connection:
            journal = next(item for item in leases.open_journals(connection) if item.id == taken.token)
            assert leases.take_over_journal(connection, journal)
            now = read_clock(connection)
            ended = {} if is_lost else findings.ended
            known = [settlement(id_, item.outcome, now) for id_, item in ended.items()]
            closing.recover(connection, journal, None if is_lost else findings, known, tells_host=True)
            actions.sweep_cancelled(connection, self.relay)
            settlements.finish_batches(connection, self.relay)
        del self.drains[taken.token]
        if is_lost and lives_on:
            self._settle(taken, _held)
            self.outbox.end(taken)

    def _draw(self, data):
        return self.drains[data.draw(st.sampled_from(sorted(self.drains)))]

    def _settle(self, taken, held):
        with self.outbox.engine.begin() as connection:
            now = read_clock(connection)
            batches = batches_of(connection)
            items = [
                settlement(id_, outcome, now, batch_id=batches[id_])
                for id_, outcome in held.items()
                if outcome is not None
            ]
            settlements.settle(connection, taken, items, tells_host=True)

    @staticmethod
    def _forget_settled(held):
        for invitation_id in [key for key, value in held.items() if value is not None]:
            del held[invitation_id]

    # Invariants

    @invariant()
    def every_move_is_legal(self):
        with self.outbox.engine.connect() as connection:
            moves = connection.execute(text("SELECT DISTINCT before, after FROM moved")).all()
        illegal = [(before, after) for before, after in moves if State(after) not in MOVES[State(before)]]
        assert illegal == []

    @invariant()
    def what_is_on_the_wire_belongs_to_a_drain(self):
        """Every claim has a drain or a recovery that will settle it, and nothing else has."""
        with self.outbox.engine.connect() as connection:
            tokens = connection.scalars(
                text("SELECT DISTINCT token FROM own_smtp_invitation WHERE state = 'sending'")
            ).all()
        assert set(tokens) <= set(self.drains)

    @invariant()
    def the_totals_equal_a_count(self):
        """Code that writes a state updates the totals in the same transaction."""
        with self.outbox.engine.connect() as connection:
            ended = select(Invitation.batch_id, Invitation.state).where(Invitation.state.in_(FINAL))
            counted = Counter(connection.execute(ended).all())
            kept = connection.execute(select(BatchTotals)).mappings().all()
            tallied = connection.scalars(text("SELECT coalesce(sum(count), 0) FROM own_smtp_tally")).one()
            sent = text("SELECT count(*) FROM own_smtp_attempt WHERE text != :expired")
            attempts = connection.scalars(sent, {"expired": actions.EXPIRED}).one()
        assert counted == +Counter({(row["batch_id"], state): row[state] for row in kept for state in FINAL})
        assert tallied == attempts

    @invariant()
    def nothing_waits_where_nobody_looks(self):
        """A finished batch has no waiting invitations, and a cancelled one only until its drain has ended."""
        with self.outbox.engine.connect() as connection:
            waiting = connection.execute(
                text(
                    "SELECT b.state, i.token FROM own_smtp_invitation i JOIN own_smtp_batch b ON b.id = i.batch_id"
                    " WHERE i.state = 'queued' AND b.state IN ('done', 'cancelled')"
                )
            ).all()
        assert all(state == "cancelled" and token in self.drains for state, token in waiting)


Life.TestCase.settings = settings(max_examples=60, stateful_step_count=30, suppress_health_check=list(HealthCheck))
TestLife = Life.TestCase


@pytest.mark.slow
class TestLongLife(Life.TestCase):
    """The same, with longer runs."""

    settings = settings(max_examples=60, stateful_step_count=50, suppress_health_check=list(HealthCheck))


def test_the_sets_of_states_are_whole():
    """Each state has its moves, waits or is final, and `accepted` has no moves."""
    assert set(MOVES) == set(State) == WAITING | FINAL
    assert MOVES[State.ACCEPTED] == frozenset()
    assert all(State.QUEUED in MOVES[state] for state in RETRYABLE)
