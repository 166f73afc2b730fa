"""The health check for load balancers and operators: in time, with documented codes, without secrets."""

from __future__ import annotations

import json
import shutil
import threading
from datetime import timedelta

import pytest
from sqlalchemy import create_engine

from own_smtp.cli import group
from own_smtp.delivery.workers.wakeup import QueueProblem
from own_smtp.operations import health
from own_smtp.operations.health import examine
from own_smtp.outbox.journal import Machine
from own_smtp.storage import periodic, schema
from own_smtp.storage.engine_checks import SAVEPOINT_COMMITS
from tests.engine import Platform

GOOD = {
    "status": "ok",
    "database": True,
    "tables": True,
    "redis": True,
    "redis_problem": None,
    "worker": True,
    "journal": True,
}


@pytest.fixture
def with_redis(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform that assumes that Redis works."""
    monkeypatch.setattr(platform.own_smtp.wakeup, "problem", lambda: None)
    return platform


def ask(platform: Platform, query: str = "") -> tuple[int, dict[str, object]]:
    answer = platform.app.test_client().get(f"/own-smtp/health{query}")
    return answer.status_code, answer.get_json()


def test_all_is_well_while_a_dispatcher_looks(with_redis: Platform) -> None:
    """A dispatcher's round proves that its worker is alive, on any machine."""
    assert ask(with_redis) == (200, {**GOOD, "status": "degraded", "worker": False})
    with_redis.own_smtp.dispatcher.look()
    assert ask(with_redis) == ask(with_redis, "?strict") == (200, GOOD)
    assert run(with_redis) == (0, GOOD)


def test_without_workers_or_redis_pages_still_work(platform: Platform) -> None:
    """A balancer must not remove every web process because of that; a monitor checks with `?strict`."""
    assert ask(platform)[0] == 200
    assert ask(platform, "?strict")[0] == 503
    code, said = run(platform)
    assert (code, said["status"], said["redis"]) == (1, "degraded", False)
    said_to_people = platform.app.test_cli_runner().invoke(group, ["check"]).output
    assert "Redis DOES NOT ANSWER" in said_to_people
    assert "NO WORKER" in said_to_people


def test_old_tables_are_down(with_redis: Platform) -> None:
    """No page works on them."""
    schema.downgrade(with_redis.engine)
    assert ask(with_redis) == (503, {**GOOD, "status": "down", "tables": False, "worker": False, "journal": False})


@pytest.mark.servers
def test_a_database_that_is_away_is_down(mariadb, postgres) -> None:
    """The check answers nevertheless."""
    for driver in ("postgresql+psycopg", "mysql+pymysql"):
        engine = create_engine(f"{driver}://nobody@127.0.0.1:1/nothing")
        assert examine(engine, lambda: None) == health.HealthReport(
            database=False, tables=False, worker=False, journal=False, redis_problem=None
        )
        engine.dispose()


def test_a_database_that_hangs_keeps_nobody_waiting(with_redis: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `PATIENCE` it counts as down, and its waiting thread is abandoned."""
    hung = threading.Event()
    monkeypatch.setattr(health, "PATIENCE", 0.01)
    monkeypatch.setattr(health, "_ask", lambda _engine: hung.wait(60) and (True, True, True))
    try:
        nothing = dict.fromkeys(("database", "tables", "worker", "journal"), False)
        assert ask(with_redis) == (503, {**GOOD, "status": "down", **nothing})
    finally:
        hung.set()


def test_a_worker_that_was_not_seen_for_long_is_none(with_redis: Platform, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last round is too long ago."""
    periodic.take(with_redis.engine, periodic.LOOK, timedelta(0))
    monkeypatch.setattr(periodic, "ALIVE", timedelta(0))
    assert ask(with_redis)[1]["worker"] is False


@pytest.mark.parametrize("problem", sorted(health.REDIS_PROBLEMS))
def test_a_redis_that_takes_no_jobs_degrades(
    problem: str, with_redis: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The health check, the command and the metrics report it, with advice."""
    with_redis.own_smtp.dispatcher.look()
    monkeypatch.setattr(with_redis.own_smtp.wakeup, "problem", lambda: problem)
    assert ask(with_redis) == (200, {**GOOD, "status": "degraded", "redis": False, "redis_problem": problem})
    assert health.REDIS_PROBLEMS[problem] in with_redis.app.test_cli_runner().invoke(group, ["check"]).output


def test_every_problem_of_redis_has_its_sentence() -> None:
    """Each problem is reported with advice."""
    assert set(health.REDIS_PROBLEMS) == set(QueueProblem)


def test_a_journal_folder_that_was_deleted_is_made_anew(with_redis: Platform) -> None:
    """With its name: invitations of the lost journals are settled at once, and sending continues."""
    machine = with_redis.runtime.machine
    shutil.rmtree(machine.folder)
    with_redis.own_smtp.dispatcher.look()
    assert Machine.at(machine.folder) == machine
    assert run(with_redis) == (0, GOOD)


def test_a_journal_that_cannot_be_written_degrades(with_redis: Platform, caplog: pytest.LogCaptureFixture) -> None:
    """Every job would fail: the dispatcher beside the worker tests it, and every process can report it."""
    folder = with_redis.runtime.machine.folder
    shutil.rmtree(folder)
    folder.write_text("a file in the folder's place")
    with_redis.own_smtp.dispatcher.look()
    assert run(with_redis) == (1, {**GOOD, "status": "degraded", "journal": False})
    assert str(folder) in caplog.text
    assert "CANNOT WRITE ITS JOURNAL" in with_redis.app.test_cli_runner().invoke(group, ["check"]).output


def test_the_check_says_what_goes_wrong_with_the_engine(with_redis: Platform) -> None:
    """Beside healthy parts: such problems do not stop sending."""
    with_redis.own_smtp.dispatcher.look()
    said = with_redis.app.test_cli_runner().invoke(group, ["check"])
    assert (said.exit_code, f"Note: {SAVEPOINT_COMMITS}" in said.output) == (0, True)


def run(platform: Platform) -> tuple[int, dict[str, object]]:
    result = platform.app.test_cli_runner().invoke(group, ["check", "--json"])
    said = json.loads(result.stdout)
    said.pop("notes")
    return result.exit_code, said
