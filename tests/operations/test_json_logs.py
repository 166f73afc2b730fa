"""Logs: with ids, as text or as JSON, and without addresses."""

from __future__ import annotations

import json
import logging

import pytest

from own_smtp.operations.json_logs import LOG_FIELDS, JSONFormatter, TextFormatter, deliveries
from tests.engine import Platform
from tests.scripted import ScriptedServer


def as_json(record: logging.LogRecord) -> dict[str, object]:
    line: dict[str, object] = json.loads(JSONFormatter().format(record))
    return line


def test_attempts_are_logged_by_id(
    platform: Platform, scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Accepted attempts at DEBUG, others at INFO; with ids and codes, without the server's reply."""
    scripted.on("rcpt", "550 5.1.1 <user1@example.org> unknown", times=1)
    relay = platform.add_relay(scripted)
    batch = platform.send(relay, 2).batch_id
    with caplog.at_level(logging.DEBUG, deliveries.name):
        platform.drain(relay)
    lines = {line["state"]: line for line in map(as_json, caplog.records) if line["logger"] == deliveries.name}
    refused = lines["refused"]
    assert {name: refused[name] for name in ("relay_id", "batch_id", "invitation_id", "stage", "code", "enhanced")} == {
        "relay_id": relay,
        "batch_id": batch,
        "invitation_id": 1,
        "stage": "rcpt",
        "code": 550,
        "enhanced": "5.1.1",
    }
    assert (refused["level"], lines["accepted"]["level"]) == ("INFO", "DEBUG")
    assert "example.org" not in caplog.text


def test_accepted_ones_cost_nothing_where_nobody_reads_them(
    platform: Platform, scripted: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """At INFO a drain without problems writes no line for its messages."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 3)
    with caplog.at_level(logging.INFO):
        platform.drain(relay)
    assert [record for record in caplog.records if record.name == deliveries.name] == []


def test_a_line_is_one_object(caplog: pytest.LogCaptureFixture) -> None:
    """With time, level, text and ids; an exception is one field of it."""
    try:
        raise ValueError("INSERT ... {'address': 'ann@example.org'}")
    except ValueError:
        logging.getLogger("own_smtp.test").exception("Of %s\nit failed", "ann@example.org", extra={"relay_id": 7})
    text = JSONFormatter().format(caplog.records[0])
    line = json.loads(text)
    assert "\n" not in text
    assert (line["level"], line["logger"], line["relay_id"]) == ("ERROR", "own_smtp.test", 7)
    assert line["message"] == "Of •••\nit failed"
    assert "ValueError" in line["exception"]
    assert "ann" not in text
    assert "ann" not in TextFormatter("%(message)s").format(caplog.records[0])
    assert line["time"].endswith("+00:00")
    assert set(line) <= {"time", "level", "logger", "message", "exception", *LOG_FIELDS}
