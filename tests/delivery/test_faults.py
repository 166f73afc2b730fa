"""Whatever the bookkeeper's calls raise, each invitation arrives once, the records are true, and the host hears it."""

from __future__ import annotations

import inspect
import pickle
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import ModuleType
from typing import Any

import psycopg
import psycopg.errors
import pymysql.err
import pytest
import sqlalchemy.exc
import sqlalchemy.orm.exc

from own_smtp.delivery.bookkeeping import threads
from own_smtp.delivery.bookkeeping.status_events import notify_overdue_changes
from own_smtp.delivery.sending import drain
from own_smtp.delivery.workers.recovery import recover_all
from own_smtp.errors import BookkeepingError, JournalError, LeaseLostError
from own_smtp.storage.models import Journal
from tests.delivery.faults import AT_COMMIT, BEFORE, METHODS, MOMENTS, Faults, run_with
from tests.engine import Platform, recipients_of
from tests.hosts.test_host import let_it_be_overdue
from tests.scripted import ScriptedServer

pytestmark = pytest.mark.exhaustive

COUNT = 70
"""Invitations of each relay: more than the first claim, so that turns both settle and claim."""


def every_class(*modules: ModuleType) -> list[type[BaseException]]:
    """Return the error classes of these modules."""
    found = {item for module in modules for item in vars(module).values() if inspect.isclass(item)}
    return sorted(
        (item for item in found if issubclass(item, Exception)), key=lambda item: (item.__module__, item.__name__)
    )


CLASSES = [
    *every_class(sqlalchemy.exc, sqlalchemy.orm.exc, psycopg, psycopg.errors, pymysql.err, sqlite3, pickle),
    *(MemoryError, RecursionError, KeyboardInterrupt, SystemExit, GeneratorExit, StopIteration),
    *(BrokenPipeError, ConnectionResetError, EOFError, TimeoutError, OSError, RuntimeError, KeyError, UnicodeError),
]


def made(error: type[BaseException]) -> BaseException:
    """Return one, as empty as it can be made."""
    return error.__new__(error)


FAMILIES = [
    sqlalchemy.exc.OperationalError("COMMIT", {}, psycopg.OperationalError("server closed the connection")),
    sqlalchemy.exc.TimeoutError("QueuePool limit of size 5 overflow 10 reached"),
    pymysql.err.OperationalError(2013, "Lost connection to MySQL server during query"),
    BrokenPipeError(32, "Broken pipe"),
    pickle.PicklingError("Can't pickle"),
    MemoryError(),
    KeyboardInterrupt(),
    JournalError("An error of ours that nobody expects there."),
]


def fault(moment: str, error: BaseException) -> tuple[str, BaseException]:
    """Return what is raised when. An interrupt in the event loop itself ends the process: it is no error of a call."""
    return (moment if isinstance(error, Exception) or not moment.startswith("pipe") else BEFORE), error


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drain, "RETRY_RECORDS", 0.01)


@pytest.mark.parametrize("error", CLASSES, ids=lambda error: f"{error.__module__}.{error.__qualname__}")
def test_every_error_class_ends_a_call_in_one_way(error: type[BaseException]) -> None:
    """Each class that SQLAlchemy, the drivers, pickle and the interpreter know is the name of a `BookkeepingError`."""

    def fail() -> None:
        raise made(error)

    with pytest.raises(BookkeepingError, match=f"^{error.__name__}$"):
        threads.run(fail, ())


class Scene:
    """Two relays with invitations, and what became of them."""

    def __init__(self, platform: Platform, server: ScriptedServer, count: int = COUNT) -> None:
        self.platform = platform
        self.server = server
        self.relays = [platform.add_relay(server, max_connections=2) for _relay in range(2)]
        self.expected = []
        for relay in self.relays:
            addresses = [f"r{relay}-{number}@example.org" for number in range(count)]
            platform.send(relay, addresses)
            self.expected += addresses

    def run(self, faults: Faults) -> None:
        """One job with faults; what its first relay's beginning raises is the job's."""
        with suppress(Exception, KeyboardInterrupt):
            run_with(self.platform, faults, self.relays[0])

    def judge(self) -> None:
        """What a job left is recovered and sent, at once: no file is locked, nothing is in doubt."""
        for _round in range(3):
            recover_all(self.platform.runtime)
            for relay in self.relays:
                self.platform.drain_again(relay)
        assert Counter(recipients_of(self.server.copies)) == Counter(self.expected)
        assert self.platform.states() == {"accepted": len(self.expected)}
        assert self.platform.rows(Journal) == []
        let_it_be_overdue(self.platform)
        notify_overdue_changes(self.platform.runtime)
        heard = {change.address for change in self.platform.host.changes if change.state == "accepted"}
        assert heard == set(self.expected)


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("method", METHODS)
def test_an_error_at_any_call_loses_and_doubles_nothing(
    platform: Platform, scripted: ScriptedServer, method: str, moment: str
) -> None:
    """Each family of errors in turn, at the first calls of a method: each invitation arrives once and is on record."""
    scene = Scene(platform, scripted)
    faults = Faults(lambda name, number: fault(moment, FAMILIES[number]) if name == method and number < 8 else None)
    scene.run(faults)
    assert faults.raised[method, moment]
    scene.judge()


@pytest.mark.parametrize("seed", range(12))
def test_errors_at_many_calls_lose_and_double_nothing(platform: Platform, scripted: ScriptedServer, seed: int) -> None:
    """Any of them at any time, in a row and mixed."""
    judge_random(platform, scripted, random.Random(seed), FAMILIES)


def judge_random(
    platform: Platform, scripted: ScriptedServer, dice: random.Random, errors: list[BaseException], count: int = COUNT
) -> Faults:
    def plan(_method: str, _number: int) -> tuple[str, BaseException] | None:
        return fault(dice.choice(MOMENTS), dice.choice(errors)) if dice.random() < 0.4 else None

    scene, faults = Scene(platform, scripted, count), Faults(plan)
    for _job in range(3):
        scene.run(faults)
        recover_all(platform.runtime)
    scene.judge()
    return faults


@pytest.mark.gate
@pytest.mark.parametrize("seed", range(40))
def test_every_error_class_at_every_call(platform: Platform, scripted: ScriptedServer, seed: int) -> None:
    """Hundreds of classes, at all calls, before, at and after the commit."""
    faults = judge_random(platform, scripted, random.Random(f"all {seed}"), [made(error) for error in CLASSES], 200)
    print(dict(faults.raised))


def test_a_drain_whose_end_fails_for_good_leaves_its_journal(
    make_platform: Callable[..., Platform], scripted: ScriptedServer
) -> None:
    """Until its lease would be over it tries; then the journal is read at once, by anybody, and all is settled."""
    scene = Scene(make_platform(lease=0.5), scripted)
    error = sqlalchemy.exc.TimeoutError("QueuePool limit")
    scene.run(Faults(lambda name, _number: (BEFORE, error) if name in {"write_end", "write_turn"} else None))
    scene.run(Faults(lambda name, number: (BEFORE, error) if name == "write_end" or number else None))
    scene.judge()


def test_a_lost_settlement_keeps_the_journal(
    platform: Platform, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should a fault of ours forget what came back, the journal says more than the records, and is not deleted."""
    from own_smtp.delivery.sending.drain import Drain

    real = Drain._write

    async def forget(self: Drain, wanted: Any) -> Any:
        self.queue.settlements.clear()
        return await real(self, wanted)

    monkeypatch.setattr(Drain, "_write", forget)
    scene = Scene(platform, scripted)
    scene.run(Faults(lambda _name, _number: None))
    monkeypatch.undo()
    assert platform.rows(Journal)
    scene.judge()


def test_an_answer_that_got_lost_is_not_settled_twice(platform: Platform, scripted: ScriptedServer) -> None:
    """Committed, but told to have failed: one attempt is on record for each message, and the counts are exact."""
    scene = Scene(platform, scripted)
    error = sqlalchemy.exc.OperationalError("COMMIT", {}, sqlite3.OperationalError("gone"))
    scene.run(Faults(lambda name, number: (AT_COMMIT, error) if name != "open" and number < 3 else None))
    scene.judge()
    assert Counter(row.invitation_id for row in platform.attempts).most_common(1)[0][1] == 1
    with platform.app.app_context():
        assert {row.accepted for row in totals(platform)} == {COUNT}


def totals(platform: Platform) -> Iterator[Any]:
    from own_smtp.storage.models import BatchTotals

    yield from platform.rows(BatchTotals)


@pytest.mark.parametrize("error", [LeaseLostError("Another drain has it."), BookkeepingError("Error")])
def test_one_relays_error_ends_no_other_relays_drain(
    platform: Platform, scripted: ScriptedServer, error: Exception
) -> None:
    """The relay that is taken on next cannot begin: the first one is drained to its end in the same job."""
    scene = Scene(platform, scripted)
    run_with(
        platform, Faults(lambda name, number: (BEFORE, error) if name == "open" and number else None), scene.relays[0]
    )
    assert platform.states() == {"accepted": COUNT, "queued": COUNT}
    scene.judge()
