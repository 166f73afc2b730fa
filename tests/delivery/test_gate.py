"""The crash gate: many invitations, many random blows, and then the database and the mail server are compared.

Processes are killed; the database is killed, restarted in good order, and stopped for a while and continued.

`make gate` runs it at full size, `pytest -m gate` at a tenth. What kills whom when follows from a seed, which is
printed; the variable `OWN_SMTP_GATE_SEED` repeats it, as far as the machine's own timing allows.
"""

import os
import random
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from own_smtp.storage.models import Journal
from tests.counting import CountingServer
from tests.engine import Platform
from tests.servers.databases import DatabaseServer, MariaDB, PostgreSQL
from tests.servers.process import eventually
from tests.servers.redis import Redis
from tests.workers import Worker, worker_for

RELAYS = 2
CONNECTIONS = 2
WORKERS = 2
SEED = os.environ.get("OWN_SMTP_GATE_SEED") or str(random.SystemRandom().randrange(10**6))

# A send that nobody disturbs ends long before this; a kill may cost a lease, a restart or a reconnect.
PATIENCE = 180.0

LONGEST_HANG = 40.0
"""Seconds for which a database is stopped at most in a full gate: longer than any time-out of a pool or a driver."""


@dataclass
class Gate:
    """The stage: servers, workers, and what is done to them."""

    platform: Platform
    redis: Redis
    mail: CountingServer
    database: DatabaseServer | None
    longest_hang: float
    """Seconds for which a database is stopped at most."""
    dice: random.Random
    told: Path
    """What the host was told, a line for each change."""
    workers: list[Worker] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)

    def start_worker(self) -> Worker:
        told, quick = self.told, {"slice": 10, "longest_reconnect": 0.5, "longest_retry": 0.5}
        return worker_for(self.platform, self.redis.url, told=told, **quick).start()

    def kill_horse(self) -> None:
        """The process that sends, in the middle of whatever it does."""
        for worker in self.dice.sample(self.workers, len(self.workers)):
            if (horse := worker.find_horse()) is not None:
                horse.kill()
                return

    def kill_bookkeeper(self) -> None:
        """The process that keeps the records of one that sends."""
        for worker in self.dice.sample(self.workers, len(self.workers)):
            if (bookkeeper := worker.find_bookkeeper()) is not None:
                bookkeeper.kill()
                return

    def kill_dispatcher(self) -> None:
        if (dispatcher := self.dice.choice(self.workers).find_dispatcher()) is not None:
            dispatcher.kill()

    def kill_worker(self) -> None:
        """Its child lives on, beside a new worker."""
        number = self.dice.randrange(len(self.workers))
        self.workers[number].kill()
        self.workers[number] = self.start_worker()

    def stop_worker(self) -> None:
        """In good order: nothing may come of it."""
        number = self.dice.randrange(len(self.workers))
        self.workers[number].stop()
        self.workers[number] = self.start_worker()

    def kill_redis(self) -> None:
        self.redis.kill()
        self.redis.start()

    def kill_mail(self) -> None:
        self.mail.kill()
        self.mail.start()

    def kill_database(self) -> None:
        if self.database is not None:
            self.database.kill()
            self.database.start()
            self.platform.engine.dispose()

    def restart_database(self) -> None:
        """In good order, as an upgrade of the server does: each connection ends with a message of its own."""
        if self.database is not None:
            self.database.restart()
            self.platform.engine.dispose()

    def hang_database(self) -> None:
        """It answers nothing for a while, and then what it was asked meanwhile."""
        if self.database is not None:
            with self.database.hanging():
                time.sleep(self.dice.uniform(0.2, self.longest_hang))

    def strike(self) -> None:
        """One random blow."""
        blows = [self.kill_horse] * 8 + [self.kill_bookkeeper] * 3
        blows += [self.kill_worker, self.kill_dispatcher, self.kill_mail, self.kill_redis, self.stop_worker]
        if self.database is not None:
            blows += [self.kill_database, self.restart_database, self.hang_database] * 2
        blow = self.dice.choice(blows)
        self.kills[blow.__name__] += 1
        blow()

    def states(self) -> dict[str, int]:
        return self.platform.states()

    def has_more(self) -> bool:
        return bool({"queued", "sending"} & self.states().keys())


DATABASES = [
    "sqlite",
    pytest.param("postgresql", marks=pytest.mark.servers),
    pytest.param("mariadb", marks=pytest.mark.servers),
]


@pytest.fixture(params=DATABASES)
def gate(request, tmp_path):
    """A gate on each of three databases; PostgreSQL and MariaDB suffer, too."""
    dice = random.Random(f"{SEED} {request.param}")
    longest_hang = LONGEST_HANG if request.config.getoption("--full-gate") else LONGEST_HANG / 10
    with Redis() as redis, CountingServer(delay=0.03) as mail, ExitStack() as stack:
        database = None
        url = f"sqlite:///{tmp_path}/gate.sqlite3"
        if request.param != "sqlite":
            database = stack.enter_context(PostgreSQL() if request.param == "postgresql" else MariaDB())
            url = database.url(database.create())
        platform = stack.enter_context(Platform.at(url, tmp_path / "journal"))
        yield from run_gate(Gate(platform, redis, mail, database, longest_hang, dice, tmp_path / "told"))


def run_gate(gate: Gate) -> Any:
    gate.workers = [gate.start_worker() for _worker in range(WORKERS)]
    try:
        yield gate
    finally:
        for worker in gate.workers:
            worker.__exit__()


@pytest.mark.gate
def test_nothing_is_lost_and_nothing_is_doubled(gate, request):
    """After many blows no invitation is lost, none was accepted twice, and few are unknown."""
    is_full = request.config.getoption("--full-gate")
    invitations, kills = (20_000, 300) if is_full else (2_000, 30)
    relays = [gate.platform.add_relay(gate.mail, max_connections=CONNECTIONS) for _relay in range(RELAYS)]
    print(f"seed {SEED}: {invitations} invitations, {kills} kills")
    sent = send(gate, relays, invitations)
    began = time.monotonic()
    for threshold in sorted(gate.dice.sample(range(invitations * 7 // 10), kills)):
        wait_for_progress(gate, threshold)
        if not gate.has_more():  # blows take long on a busy machine
            sent += send(gate, relays, invitations // 10, after=sent)
        gate.strike()
    eventually(lambda: not gate.has_more(), f"all is settled, seed {SEED}", PATIENCE)
    judge(gate, sent, kills)
    print(f"{kills} kills in {time.monotonic() - began:.0f} s: {dict(gate.kills)}; {gate.states()}")


def send(gate, relays, count, after=0):
    """Add so many invitations, to recipients whose numbers are above `after`, and return how many."""
    for relay in relays:
        numbers = range(after, after + count // len(relays))
        gate.platform.send(relay, [f"r{relay}-{number}@example.org" for number in numbers])
    return count


def wait_for_progress(gate, target):
    """Until so many were accepted, nothing is left, or a moment has passed in which nothing moved."""

    def moved():
        return sum(gate.mail.copies().values()) >= target or not gate.has_more()

    try:
        eventually(moved, "progress", 45)
    except TimeoutError:
        pytest.fail(f"nothing moves any more, seed {SEED}: {gate.states()}\n{gate.workers[0].log[-3000:]}")


def judge(gate, invitations, kills):
    """Compare the database with what the server holds."""
    copies, rows = gate.mail.copies(), gate.platform.invitations
    by_state = Counter(row.state for row in rows)
    assert sum(by_state.values()) == invitations
    assert set(by_state) <= {"accepted", "unknown"}, by_state
    doubled = [address for address, count in copies.items() if count > 1]
    assert doubled == [], f"seed {SEED}"
    missing = [row.address for row in rows if row.state == "accepted" and copies[row.address] != 1]
    assert missing == [], f"seed {SEED}"
    assert by_state["unknown"] <= kills * CONNECTIONS * RELAYS, f"seed {SEED}"
    assert not set(copies) - {row.address for row in rows}
    eventually(lambda: gate.platform.rows(Journal) == [], "every journal is settled")
    final = {f"{row.address} {row.state}" for row in rows}
    eventually(
        lambda: final <= set(gate.told.read_text().splitlines()), f"the host heard of all, seed {SEED}", PATIENCE
    )
