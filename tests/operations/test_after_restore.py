"""A restored backup: what it says is waiting may have been sent since, and is not sent by itself."""

import pytest

from own_smtp.operations.after_restore import RESTORED, doubt_what_waits
from own_smtp.outbox import actions
from own_smtp.states import State
from own_smtp.storage.models import Attempt, BatchCounts, Invitation
from tests.cli.test_commands import read, run
from tests.engine import Platform
from tests.ledgers import REFUSED, Books
from tests.scripted import ScriptedServer


@pytest.fixture
def books(migrated, tmp_path):
    """Empty books, on SQLite, PostgreSQL and MariaDB in turn."""
    return Books.at(migrated, tmp_path / "journal")


def test_what_waited_is_unknown_and_nothing_is_sent_again(books):
    """Queued, claimed and paused: all may have been sent since; what had ended stays, and the figures agree."""
    relay = books.relay()
    paused, cancelled = (books.send(relay, 2).batch_id for _batch in range(2))
    books(actions.pause_batch, paused)
    taken = books.take(relay)
    claimed = books.claim(taken, 1)
    books(actions.cancel_batch, cancelled)
    books.send(relay, 3)
    refused = books.claim(taken, 1)
    books.settle(taken, [item.id for item in refused], REFUSED)
    doubted = doubt_what_waits(books.engine)
    assert (doubted.batches, doubted.invitations) == (3, 5)
    assert books.states() == {"unknown": 5, "cancelled": 1, "refused": 1}
    assert books.batch_states() == ["done", "cancelled", "done"]
    assert books.column(BatchCounts.unknown) == [2, 1, 2]
    assert books.claim(books.take(relay)) == []
    books.settle(taken, [item.id for item in claimed])
    assert books.states()["unknown"] == 5


def test_the_log_and_the_host_hear_of_it(books):
    """Each has an attempt with the reason, and is told like any other change; a second time there is nothing to do."""
    relay = books.relay()
    books.send(relay, 2)
    doubt_what_waits(books.engine)
    assert books.column(Attempt.text) == [RESTORED] * 2
    assert all(books.column(Invitation.untold_since))
    assert doubt_what_waits(books.engine).invitations == 0


def test_a_person_may_risk_copies(books):
    """The batch can be sent again, by a word that says so."""
    relay = books.relay()
    batch = books.send(relay, 2).batch_id
    doubt_what_waits(books.engine)
    assert books(actions.retry, batch, [State.UNKNOWN]) == 2
    assert len(books.claim(books.take(relay))) == 2


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
