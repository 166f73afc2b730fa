"""The commands for operators: their effects, outputs and exit codes."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask import Flask, request
from sqlalchemy import text, update

from own_smtp.cli import group
from own_smtp.storage import periodic, revisions
from own_smtp.storage.audit import OPERATOR
from own_smtp.storage.encryption import Vault
from own_smtp.storage.models import AuditEntry, Batch, Invitation
from tests.engine import TENANT, Platform
from tests.scripted import ClosedPort, ScriptedServer

# Click 8.1 mixes both outputs by default; later versions separate them.
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in signature(CliRunner).parameters else {}


def run(platform: Platform, *words: str) -> Result:
    return platform.app.test_cli_runner(**APART).invoke(group, words)


def read(platform: Platform, *words: str) -> tuple[int, dict[str, Any]]:
    result = run(platform, *words, "--json")
    return result.exit_code, json.loads(result.stdout)


@pytest.fixture
def with_redis(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Platform:
    """A platform that assumes that Redis works."""
    monkeypatch.setattr(platform.own_smtp.wakeup, "problem", lambda: None)
    return platform


def test_status_says_what_waits_and_who_needs_help(with_redis: Platform, scripted: ScriptedServer) -> None:
    """A healthy relay with work needs no help; a paused one with work does, and the exit code is 1."""
    relay = with_redis.add_relay(scripted, label="Mail")
    with_redis.send(relay, 3)
    code, status = read(with_redis, "status")
    assert (code, status["needs_attention"]) == (0, False)
    assert [(item["label"], item["queued"], item["sending"]) for item in status["relays"]] == [("Mail", 3, 0)]
    with_redis.change(relay, state="paused", pause_reason="credentials")
    code, status = read(with_redis, "status")
    assert (code, status["needs_attention"]) == (1, True)
    assert "reason credentials, 3 queued" in run(with_redis, "status").output


def test_status_says_that_redis_is_away(platform: Platform) -> None:
    """Without Redis no worker is woken: that needs attention."""
    code, status = read(platform, "status")
    assert (code, status["redis"]) == (1, False)
    assert "DOES NOT ANSWER" in run(platform, "status").output


@pytest.mark.parametrize(
    ("problem", "sentence"), [("full", "IS FULL"), ("read_only", "IS READ-ONLY"), ("suspended", "rq resume")]
)
def test_status_says_what_is_wrong_with_redis(
    problem: str, sentence: str, platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that answers but accepts no jobs needs attention as well."""
    monkeypatch.setattr(platform.own_smtp.wakeup, "problem", lambda: problem)
    code, status = read(platform, "status")
    assert (code, status["redis"], status["redis_problem"]) == (1, False, problem)
    assert sentence in run(platform, "status").output


def test_status_says_that_a_worker_cannot_write_its_journal(with_redis: Platform) -> None:
    """Nothing is sent from there, whatever the mail servers do."""
    periodic.take(with_redis.engine, periodic.NO_JOURNAL, timedelta(0))
    code, status = read(with_redis, "status")
    assert (code, status["journal"], status["needs_attention"]) == (1, False, True)
    assert "CANNOT WRITE ITS JOURNAL" in run(with_redis, "status").output


def test_an_output_with_few_letters_gets_escapes(with_redis: Platform) -> None:
    """A label in Greek does not abort a command on a terminal without Greek, and JSON stays valid."""
    with_redis.add_relay(label="Αθήνα 😀", host="mail.acme.example", port=587)
    runner = with_redis.app.test_cli_runner(charset="latin-1")
    shown = runner.invoke(group, ["status"])
    assert (shown.exit_code, "\\u0391" in shown.output) == (0, True)
    assert json.loads(runner.invoke(group, ["status", "--json"]).output)["relays"][0]["label"] == "Αθήνα 😀"


def test_status_knows_a_relay_that_cannot_be_reached(with_redis: Platform) -> None:
    """With the failures in a row, the next attempt and the last error."""
    with ClosedPort() as closed:
        relay = with_redis.add_relay(closed)
        with_redis.send(relay, 1)
        with_redis.drain(relay)
    code, status = read(with_redis, "status")
    assert code == 1
    assert status["relays"][0]["failures"] == 1
    assert "failures in a row, next " in run(with_redis, "status").output


def test_check_goes_through_the_steps_and_sends_nothing(platform: Platform, scripted: ScriptedServer) -> None:
    """The exit code distinguishes a working server from a failing one."""
    relay = platform.add_relay(scripted)
    code, checked = read(platform, "check", str(relay))
    assert (code, checked["ok"], checked["problem"]) == (0, True, None)
    assert checked["steps"]
    assert scripted.copies == []
    scripted.on("banner", "554 go away")
    code, checked = read(platform, "check", str(relay))
    assert (code, checked["ok"]) == (1, False)
    assert "go away" in checked["problem"]


def test_pause_and_resume_a_relay_and_tell_the_host(platform: Platform, scripted: ScriptedServer) -> None:
    """A paused relay sends nothing until it is resumed; repeating either is an error."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    assert run(platform, "pause", str(relay), "--note", "maintenance").exit_code == 0
    assert platform.relay(relay).pause_text == "maintenance"
    platform.drain(relay)
    assert platform.states() == {"queued": 1}
    again = run(platform, "pause", str(relay))
    assert (again.exit_code, again.stderr) == (1, "Error: The mail server is not active.\n")
    assert run(platform, "resume", str(relay)).exit_code == 0
    platform.drain(relay)
    assert platform.states() == {"accepted": 1}
    paused, resumed = platform.host.relay_changes
    assert (paused.state, paused.pause_reason, paused.reason) == ("paused", "person", "maintenance")
    assert (resumed.state, resumed.pause_reason, resumed.reason) == ("active", None, None)
    assert not paused.is_automatic
    entries = [(entry.action, entry.user_id) for entry in platform.rows(AuditEntry)]
    assert entries == [("relay_paused", OPERATOR), ("relay_resumed", OPERATOR)]


def test_pause_resume_and_cancel_a_batch(platform: Platform, scripted: ScriptedServer) -> None:
    """A paused batch waits, a resumed one continues, a cancelled one is over."""
    relay = platform.add_relay(scripted)
    batch = str(platform.send(relay, 2).batch_id)
    assert run(platform, "pause", "--batch", batch).exit_code == 0
    platform.drain(relay)
    assert platform.states() == {"queued": 2}
    assert run(platform, "resume", "--batch", batch).exit_code == 0
    assert read(platform, "cancel", batch) == (0, {"batch_id": int(batch), "cancelled": 2})
    platform.drain(relay)
    assert platform.states() == {"cancelled": 2}
    entries = [(entry.action, entry.user_id, entry.tenant_id, entry.relay_id) for entry in platform.rows(AuditEntry)]
    assert entries == [
        (action, OPERATOR, "acme", relay) for action in ("batch_paused", "batch_resumed", "batch_cancelled")
    ]


def test_retry_queues_by_state_and_warns_of_copies(platform: Platform, scripted: ScriptedServer) -> None:
    """Refused ones are sent again on request; unknown ones only with the warning acknowledged."""
    scripted.on("rcpt", "550 no", times=1)
    relay = platform.add_relay(scripted)
    batch = str(platform.send(relay, 2).batch_id)
    platform.drain(relay)
    assert read(platform, "retry", batch) == (0, {"batch_id": int(batch), "queued": 0})
    assert read(platform, "retry", batch, "--state", "refused") == (0, {"batch_id": int(batch), "queued": 1})
    refused = run(platform, "retry", batch, "--state", "unknown")
    assert refused.exit_code == 2
    assert "--copies-are-possible" in refused.stderr
    platform.drain(relay)
    assert platform.states() == {"accepted": 2}


@pytest.mark.parametrize(
    "words", [("check", "99"), ("pause", "99"), ("resume", "--batch", "99"), ("cancel", "99"), ("retry", "99")]
)
def test_what_does_not_exist_is_an_error(platform: Platform, words: tuple[str, ...]) -> None:
    """An unknown id ends the command with 1 and an explanation."""
    result = run(platform, *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: ")


def test_purge_forgets_what_old_finished_batches_said(platform: Platform, scripted: ScriptedServer) -> None:
    """Content and values are deleted, states and replies stay; waiting invitations are not touched."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    platform.drain(relay)
    platform.send(relay, 1)
    with platform.engine.begin() as connection:
        connection.execute(update(Batch).values(created_at=platform.attempts[0].at.replace(year=2020)))
        connection.execute(update(Invitation).values(changed_at=datetime(2020, 1, 1, tzinfo=UTC)))
    assert read(platform, "purge") == (0, {"contents": 1, "recipients": 1})
    assert [(row.content is None, row.state) for row in platform.batches] == [(True, "done"), (False, "open")]
    assert [row.values is None for row in platform.invitations] == [True, False]
    assert platform.attempts[0].code == 250
    assert read(platform, "purge", "--content-days", "1") == (0, {"contents": 0, "recipients": 0})


def test_a_person_is_erased(platform: Platform, scripted: ScriptedServer) -> None:
    """Waiting invitations are cancelled, and neither address nor name is left; other people's data stays."""
    relay = platform.add_relay(scripted)
    platform.send(relay, ["ann@example.org", "bob@example.org"])
    found = {"invitations": 1, "cancelled": 1, "in_hand": 0}
    assert read(platform, "forget-person", "Ann@Example.org", "--tenant", TENANT) == (0, found)
    assert [(row.address, row.name) for row in platform.invitations] == [("", ""), ("bob@example.org", "User 2")]
    assert "0 invitations" in run(platform, "forget-person", "ann@example.org", "--tenant", TENANT).output
    assert run(platform, "forget-person", "ann@example.org").exit_code == 2


def test_a_key_is_made_that_works(platform: Platform) -> None:
    """`make-key` prints a valid entry of OWN_SMTP_ENCRYPTION_KEYS."""
    assert Vault.from_keys([run(platform, "make-key").output.strip()])


def test_a_worker_does_not_start_on_old_tables(platform: Platform) -> None:
    """It names the missing command instead of failing job by job."""
    run(platform, "db", "downgrade", "base", "--yes")
    result = run(platform, "worker", "--burst")
    assert result.exit_code == 1
    assert "flask own-smtp db upgrade" in result.stderr


# Preconditions


@pytest.mark.parametrize("form", ["--json", "--administrator", "--oldest-first"])
def test_the_log_needs_no_request(
    with_redis: Platform, scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    """Most hosts' locale selectors work in a request only: operators read English then."""
    scripted.on("rcpt", "550 5.1.1 User unknown")
    relay = with_redis.add_relay(scripted)
    with_redis.send(relay, 1)
    with_redis.drain(relay)
    monkeypatch.setattr(with_redis.app.extensions["babel"], "locale_selector", lambda: request.args["language"])
    result = run(with_redis, "log", TENANT, form)
    assert result.exception is None
    assert ("Refused by your server" if form == "--administrator" else "There is no mailbox of this") in result.output
    with with_redis.app.app_context():
        (line,) = with_redis.own_smtp.delivery_log(TENANT)
        (attempt,) = line.attempts
        assert str(attempt.explanation.cause) == "There is no mailbox of this address."


BEFORE = [
    ["status"],
    ["check", "1"],
    ["pause", "1"],
    ["cancel", "1"],
    ["log", "acme"],
    ["purge"],
    ["worker", "--burst"],
]


@pytest.mark.parametrize("words", BEFORE, ids=" ".join)
def test_a_command_without_tables_says_what_makes_them(tmp_path: Path, words: list[str]) -> None:
    """Before the first migration each command names the command to run, and shows no SQL."""
    with Platform.at(f"sqlite:///{tmp_path / 'a.sqlite3'}", tmp_path / "a", prepare=False) as platform:
        result = run(platform, *words)
        assert result.exit_code == 1
        assert result.stderr == "Error: There are no tables yet. Run `flask own-smtp db upgrade` first.\n"


@pytest.mark.parametrize(
    ("revision", "words"), [("0000", "not up to date"), ("9999", "newer (9999) than this version")]
)
def test_tables_of_another_version_are_said_to_be_that(platform: Platform, revision: str, words: str) -> None:
    """Older tables need the migration, newer ones a newer package; no command fails with a traceback."""
    with platform.engine.begin() as connection:
        connection.execute(text(f"UPDATE {revisions.VERSION_TABLE} SET version_num = '{revision}'"))  # noqa: S608 -- ours
    result = run(platform, "status")
    assert result.exit_code == 1
    assert words in result.stderr
    result = run(platform, "db", "upgrade")
    assert result.exit_code == 1
    assert "another version of Own SMTP" in result.stderr


def test_an_unknown_revision_is_named(platform: Platform) -> None:
    """A misspelt revision ends the command with its name."""
    result = run(platform, "db", "downgrade", "--yes", "first")
    assert result.exit_code == 1
    assert "'first'" in result.stderr


def test_a_database_that_is_away_is_said_to_be_away(tmp_path: Path) -> None:
    """The driver's message, which may contain names, is not shown."""
    with Platform.at(f"sqlite:///{tmp_path / 'no' / 'folder.sqlite3'}", tmp_path / "a", prepare=False) as platform:
        result = run(platform, "status")
        assert result.exit_code == 1
        assert result.stderr == "Error: The database does not answer (OperationalError).\n"


@pytest.mark.parametrize("words", [["status"], ["check"], ["db", "upgrade"], ["worker"]], ids=" ".join)
def test_an_application_without_own_smtp_is_said_to_be_one(words: list[str]) -> None:
    """The commands exist as soon as the package is installed, whether the application uses it or not."""
    result = Flask("bare").test_cli_runner(**APART).invoke(group, words)
    assert result.exit_code == 1
    assert "This application does not use Own SMTP" in result.stderr
