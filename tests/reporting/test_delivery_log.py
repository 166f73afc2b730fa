"""The delivery log: in pages, as a stream, and by the command."""

from __future__ import annotations

import csv
import gc
import io
import json
import tracemalloc

import pytest
from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from own_smtp.cli import group
from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.query import LogScope
from own_smtp.reporting import delivery_log
from own_smtp.reporting.exports import FILES
from own_smtp.states import State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Attempt, Invitation
from tests.engine import PROJECT, TENANT, Platform
from tests.outbox_kit import Outbox
from tests.scripted import ScriptedServer

ACME = LogScope(tenant_id="acme")


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


def _attempts(outbox, times=1):
    """Record so many attempts for each invitation."""
    with outbox.engine.begin() as connection:
        now = read_clock(connection)
        for number in range(times):
            values = [now, State.QUEUED, "rcpt", 450, f"try {number}", 1, "relay"]
            names = ["at", "state", "stage", "code", "text", "relay_id", "route"]
            rows = [
                dict(zip(names, values, strict=True), invitation_id=id_)
                for id_ in connection.scalars(select(Invitation.id))
            ]
            connection.execute(insert(Attempt), rows)


def test_each_line_has_its_own_attempts_oldest_first(outbox):
    """On each database, also for invitations without attempts."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    _attempts(outbox, 2)
    outbox.send(relay, 1)
    with Session(outbox.engine) as session:
        lines = list(delivery_log.stream(session, ACME, StatusFilter()))
    assert [[item.text for item in line.attempts] for line in lines] == [[]] + [["try 0", "try 1"]] * 3
    assert [line.last.explanation.key if line.last else None for line in lines] == [None, "later", "later", "later"]


def _swept(lines):
    """Pass the lines on, and collect garbage now and then."""
    for number, line in enumerate(lines):
        yield line
        if number % 100 == 0:
            gc.collect()


@pytest.mark.slow
def test_downloads_take_no_more_memory_for_more_lines(outbox, monkeypatch):
    """Ten times as many invitations are written within the same memory."""
    monkeypatch.setattr(delivery_log, "CHUNK", 50)
    relay, peaks = outbox.relay(), []
    for count in (20, 100, 1_000):  # the first run fills caches: statements, texts, explanations
        outbox.send(relay, count)
        _attempts(outbox)
        with Session(outbox.engine) as session:
            lines = delivery_log.stream(session, ACME, StatusFilter(batch_id=len(peaks) + 1))
            tracemalloc.start()
            written = sum(len(text) for text in FILES["invitations.csv"].write(_swept(lines)))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert written > count * 100
    assert peaks[2] < peaks[1] * 2


# The command


def run(platform: Platform, *words: str):
    return platform.app.test_cli_runner().invoke(group, ["log", *words])


@pytest.fixture
def sent(platform: Platform, scripted: ScriptedServer) -> int:
    """Three invitations, sent in a real conversation that refuses the second."""
    scripted.on("rcpt", "550 5.1.1 No such user here", recipient="user2@example.org")
    relay = platform.add_relay(scripted)
    platform.send(relay, 3)
    platform.drain(relay)
    return relay


def test_the_command_prints_json_lines(platform: Platform, sent: int) -> None:
    """One object for each invitation, filtered, and paged by position."""
    lines = [json.loads(line) for line in run(platform, TENANT, "--json", "--state", "refused").stdout.splitlines()]
    assert [(line["recipient"], line["attempts"][0]["who"]) for line in lines] == [("user2@example.org", "recipient")]
    first = json.loads(run(platform, TENANT, "--json", "--limit", "1").stdout)
    rest = run(platform, TENANT, "--json", "--after", first["position"]).stdout.splitlines()
    assert len(rest) == 2


def test_the_command_prints_what_an_administrator_needs(
    platform: Platform, sent: int, scripted: ScriptedServer
) -> None:
    """The Message-ID of each row is that of a message at the server."""
    _head, *rows = csv.reader(
        io.StringIO(run(platform, TENANT, "--administrator").stdout.removeprefix("\N{BYTE ORDER MARK}"))
    )
    assert len(rows) == 3
    known = {row[1] for row in rows}
    assert all(any(message_id.encode() in copy.data for message_id in known) for copy in scripted.copies)


def test_the_command_prints_text(platform: Platform, sent: int) -> None:
    """A paragraph for each invitation, with the server's reply and its explanation; of this project and server only."""
    text = run(platform, TENANT, "--project", f"{PROJECT}-{sent}", "--relay", str(sent)).stdout
    assert "550  5.1.1  No such user here" in text
    assert "There is no mailbox of this address. (recipient)" in text
    assert run(platform, TENANT, "--project", "another").stdout == ""
    assert run(platform, "another").stdout == ""


@pytest.mark.parametrize("words", [["--reply", "abc"], ["--after", "x"], ["--since", "yesterday"], ["--state", "odd"]])
def test_the_command_names_what_it_does_not_understand(platform: Platform, words: list[str]) -> None:
    """The exit code is 2, as for any invalid argument."""
    assert run(platform, TENANT, *words).exit_code == 2


def test_the_extension_returns_the_same_lines(platform: Platform, sent: int) -> None:
    """For a host's own code: lines with all attempts, or statuses with paging."""
    own_smtp, project = platform.own_smtp, f"{PROJECT}-{sent}"
    with platform.app.app_context():
        lines = list(own_smtp.delivery_log(TENANT, project, StatusFilter(reply="5")))
        assert [line.attempts[0].text for line in lines] == ["No such user here"]
        first, second = own_smtp.invitation_statuses(TENANT, project, wanted=StatusFilter(limit=2))
        behind = StatusFilter(after=first.position, limit=1)
        assert list(own_smtp.invitation_statuses(TENANT, project, wanted=behind)) == [second]
        refused = StatusFilter(states={State.REFUSED})
        assert [item.reference for item in own_smtp.invitation_statuses(TENANT, project, ["1", "2"], refused)] == ["2"]
        with pytest.raises(ValueError, match="combined with paging"):
            list(own_smtp.invitation_statuses(TENANT, project, ["1"], behind))
