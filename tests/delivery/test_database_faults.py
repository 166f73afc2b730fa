"""Databases that restart in good order, or hang, in the middle of the sending: each invitation arrives once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from own_smtp.delivery.workers.recovery import recover_all
from own_smtp.storage.models import Journal
from tests.counting import CountingServer
from tests.engine import Platform
from tests.servers.databases import DatabaseServer, MariaDB, PostgreSQL
from tests.servers.process import eventually
from tests.servers.redis import Redis
from tests.workers import settled, worker_for

POOL_OF_ONE = {"pool_size": 1, "max_overflow": 0, "pool_timeout": 0.5}

pytestmark = pytest.mark.servers


@pytest.fixture
def mail() -> Iterator[CountingServer]:
    """A server with a little latency, that counts."""
    with CountingServer(delay=0.005) as server:
        yield server


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Callable[..., tuple[DatabaseServer, Platform]]]:
    """Start a database server and a platform on it."""
    with ExitStack() as used:

        def start(kind: type[DatabaseServer], **settings: Any) -> tuple[DatabaseServer, Platform]:
            server = used.enter_context(kind())
            platform = Platform.at(server.url(server.create()), tmp_path / "journal", **settings)
            return server, used.enter_context(platform)

        yield start


def add(platform: Platform, mail: CountingServer, relays: int, each: int) -> list[int]:
    """Add relays, and so many invitations to each."""
    ids = [platform.add_relay(mail, max_connections=2) for _relay in range(relays)]
    for relay in ids:
        platform.send(relay, [f"r{relay}-{number}@example.org" for number in range(each)])
    return ids


def strike_at(mail: CountingServer, thresholds: list[int], blow: Callable[[], None]) -> threading.Thread:
    """Strike whenever so many copies have arrived, in a thread."""

    def run() -> None:
        for threshold in thresholds:
            eventually(lambda: sum(mail.copies().values()) >= threshold, "progress", 120)  # noqa: B023 -- called at once
            blow()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def drain_until_settled(platform: Platform, relays: list[int]) -> dict[str, int]:
    """Run jobs as a worker and its dispatcher would, until nothing waits any more."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            for relay in relays:
                platform.drain(relay)
            recover_all(platform.runtime)
            states = platform.states()
        except Exception:  # noqa: BLE001 -- the database is away: the next job finds the work
            time.sleep(0.1)
            continue
        if not {"queued", "sending"} & states.keys():
            return states
    raise TimeoutError(platform.states())


def judge(platform: Platform, mail: CountingServer, expected: int) -> None:
    """None lost, none doubled, and what the records say is so."""
    copies = mail.copies()
    assert [address for address, number in copies.items() if number > 1] == []
    assert len(copies) == expected
    assert platform.states() == {"accepted": expected}
    eventually(lambda: platform.rows(Journal) == [], "every journal is settled")


def test_mariadb_restarted_in_mid_drain(stage, mail: CountingServer) -> None:
    """Three restarts in good order: no error of a checkout or a pool, wrapped or not, makes a copy."""
    server, platform = stage(MariaDB, lease=10)
    relays = add(platform, mail, 1, 1000)
    striking = strike_at(mail, [100, 400, 700], server.restart)
    drain_until_settled(platform, relays)
    striking.join()
    judge(platform, mail, 1000)


@pytest.mark.parametrize("options", [POOL_OF_ONE, {}], ids=["a pool of one", "a usual pool"])
def test_postgresql_hangs_in_mid_drain(stage, mail: CountingServer, options: dict[str, Any]) -> None:
    """Longer than the pool's time-out, with several relays in one job: what waited goes on, none twice."""
    server, platform = stage(PostgreSQL, lease=10, engine_options=options)
    relays = add(platform, mail, 6, 100)

    def hang() -> None:
        with server.hanging():
            time.sleep(1.5)

    striking = strike_at(mail, [60, 300], hang)
    drain_until_settled(platform, relays)
    striking.join()
    judge(platform, mail, 600)


# At full size, with workers in processes of their own


@pytest.mark.gate
def test_mariadb_restarted_under_a_worker(stage, mail: CountingServer) -> None:
    """A worker, a relay, many invitations and many restarts: each arrives once, and the worker lives on."""
    with Redis() as redis:
        server, platform = stage(MariaDB)
        add(platform, mail, 1, 4000)
        with worker_for(platform, redis.url, lease=30, slice=60) as worker:
            striking = strike_at(mail, [300, 900, 1500, 2100, 2700, 3300], server.restart)
            striking.join()
            platform.engine.dispose()
            settled(platform, 300)
            assert worker.process is not None
            assert worker.process.poll() is None
            assert worker.stop() == 0  # one that is killed may leave the journal of a job that has just begun
        judge(platform, mail, 4000)


@pytest.mark.gate
def test_postgresql_hangs_longer_than_every_time_out(stage) -> None:
    """Forty seconds, with 24 relays in one worker: longer than the pool waits, and than a lease lasts."""
    with Redis() as redis, CountingServer(delay=0.02) as mail:
        server, platform = stage(PostgreSQL)
        add(platform, mail, 24, 400)
        with worker_for(platform, redis.url, lease=30, slice=60) as worker:
            eventually(lambda: sum(mail.copies().values()) >= 500, "progress", 60)
            with server.hanging():
                time.sleep(40)
            settled(platform, 300)
            eventually(lambda: platform.rows(Journal) == [], "the dispatcher settled what was left to it", 120)
            assert worker.stop() == 0
        judge(platform, mail, 9600)
