"""A restored backup: what it says is waiting may have been sent since, and is not sent by itself."""

import pytest

from own_smtp.operations.after_restore import RESTORED, mark_waiting_unknown
from own_smtp.outbox import actions
from own_smtp.states import State
from own_smtp.storage.models import Attempt, BatchTotals, Invitation
from tests.cli.test_commands import read, run
from tests.engine import Platform
from tests.outbox_kit import REFUSED, Outbox
from tests.scripted import ScriptedServer


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


def test_what_waited_is_unknown_and_nothing_is_sent_again(outbox):
    """Queued, claimed and paused: all may have been sent since; what had ended stays, and the figures agree."""
    relay = outbox.relay()
    paused, cancelled = (outbox.send(relay, 2).batch_id for _batch in range(2))
    outbox(actions.pause_batch, paused)
    taken = outbox.take(relay)
    claimed = outbox.claim(taken, 1)
    outbox(actions.cancel_batch, cancelled)
    outbox.send(relay, 3)
    refused = outbox.claim(taken, 1)
    outbox.settle(taken, [item.id for item in refused], REFUSED)
    doubted = mark_waiting_unknown(outbox.engine)
    assert (doubted.batches, doubted.invitations) == (3, 5)
    assert outbox.states() == {"unknown": 5, "cancelled": 1, "refused": 1}
    assert outbox.batch_states() == ["done", "cancelled", "done"]
    assert outbox.column(BatchTotals.unknown) == [2, 1, 2]
    assert outbox.claim(outbox.take(relay)) == []
    outbox.settle(taken, [item.id for item in claimed])
    assert outbox.states()["unknown"] == 5


def test_the_log_and_the_host_hear_of_it(outbox):
    """Each has an attempt with the reason, and is told like any other change; a second time there is nothing to do."""
    relay = outbox.relay()
    outbox.send(relay, 2)
    mark_waiting_unknown(outbox.engine)
    assert outbox.column(Attempt.text) == [RESTORED] * 2
    assert all(outbox.column(Invitation.untold_since))
    assert mark_waiting_unknown(outbox.engine).invitations == 0


def test_a_person_may_risk_copies(outbox):
    """The batch can be sent again, by a word that says so."""
    relay = outbox.relay()
    batch = outbox.send(relay, 2).batch_id
    mark_waiting_unknown(outbox.engine)
    assert outbox(actions.retry, batch, [State.UNKNOWN]) == 2
    assert len(outbox.claim(outbox.take(relay))) == 2


def test_the_command_wants_a_yes(platform: Platform, scripted: ScriptedServer) -> None:
    """It asks whether the workers are stopped, and says how many invitations are in doubt."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 3)
    assert run(platform, "after-restore").exit_code == 1
    assert platform.states() == {"queued": 3}
    assert read(platform, "after-restore", "--yes") == (0, {"batches": 1, "invitations": 3})
    assert platform.states() == {"unknown": 3}
    platform.drain(relay)
    assert scripted.copies == []
