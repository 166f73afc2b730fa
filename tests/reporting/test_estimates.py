"""Estimates before a "send": number, rate, start, end, and whether the end is in time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from own_smtp.hooks.events import Estimate
from own_smtp.reporting import reports
from own_smtp.reporting.progress import Progress, progress_of
from tests.engine import PROJECT, TENANT, Platform


def hours(start: datetime, length: timedelta) -> dict[str, Any]:
    """Return columns of a relay that sends once a week, from the minute of `start` on."""
    window = {"days": [start.weekday()], "start": f"{start:%H:%M}", "end": f"{start + length:%H:%M}"}
    return {"sending_windows": [window], "timezone": "UTC"}


def estimate(platform: Platform, relay: int, expires_at: datetime | None = None) -> Estimate:
    with platform.app.test_request_context():
        found = platform.own_smtp.estimate(TENANT, f"{PROJECT}-{relay}", f"relay:{relay}", 40, expires_at)
    assert found is not None
    return found


def progress(platform: Platform, relay: int, closes_at: datetime) -> Progress:
    with platform.app.test_request_context():
        session = platform.own_smtp.db.session()
        (summary,) = reports.project_batches(session, TENANT, f"{PROJECT}-{relay}")
        found = progress_of(
            session, platform.runtime.settings, summary, closes_at=closes_at, timezone="UTC", queue_is_up=True
        )
    assert found is not None
    return found


NOWHERE = {"host": "127.0.0.1", "port": 1}


@pytest.fixture
def tomorrow() -> datetime:
    return datetime.now(UTC) + timedelta(days=1)


def test_a_server_without_limits_starts_at_once(platform: Platform) -> None:
    """Only the server limits it, and its rate is unknown."""
    relay = platform.add_relay(**NOWHERE)
    found = estimate(platform, relay, datetime.now(UTC) + timedelta(hours=1))
    assert found.text == "40 invitations, as fast as the server takes them"
    assert not found.is_late


def test_closed_hours_say_when_it_starts(platform: Platform, tomorrow: datetime) -> None:
    """The rate is unknown; the opening time is known."""
    relay = platform.add_relay(**NOWHERE, **hours(tomorrow, timedelta(hours=1)))
    found = estimate(platform, relay).text.replace("\u202f", " ")
    assert found.startswith("40 invitations, from ")
    assert found.endswith(" tomorrow on, as fast as the server takes them")


def test_a_survey_that_closes_before_the_hours_open_is_late(platform: Platform, tomorrow: datetime) -> None:
    """Not even the first invitation is sent in time, before sending and on the batch's page."""
    relay = platform.add_relay(**NOWHERE, **hours(tomorrow, timedelta(hours=1)))
    before, after = tomorrow - timedelta(hours=1), tomorrow + timedelta(hours=2)
    assert estimate(platform, relay, before).is_late
    assert not estimate(platform, relay, after).is_late
    platform.send(relay, 3)
    assert progress(platform, relay, before).is_late
    assert not progress(platform, relay, after).is_late


def test_with_a_known_pace_both_ends_are_said(platform: Platform, tomorrow: datetime) -> None:
    """The estimate names the opening time and the end."""
    relay = platform.add_relay(**NOWHERE, per_minute=30, **hours(tomorrow, timedelta(hours=1)))
    found = estimate(platform, relay)
    assert found.text.startswith("40 invitations, at 30 a minute, from ")
    assert " until about " in found.text
    assert found.finishes_at is not None
    assert found.finishes_at >= tomorrow.replace(second=0, microsecond=0)


@pytest.mark.parametrize("is_paused", [True, False])
def test_no_time_is_promised_while_nothing_leaves(platform: Platform, tomorrow: datetime, is_paused: bool) -> None:
    """A paused server, and one that cannot be reached: not in the estimate, the receipt, or on the sending's page."""
    relay = platform.add_relay(**NOWHERE, per_minute=30)
    assert estimate(platform, relay, tomorrow).finishes_at is not None
    if is_paused:
        platform.change(relay, state="paused", pause_reason="quota")
    else:
        platform.send(relay, 1)
        platform.drain(relay)
    found = estimate(platform, relay, tomorrow)
    assert (found.text, found.per_minute) == ("40 invitations, as soon as the server can send again", 30)
    assert (found.finishes_at, found.is_late) == (None, False)
    assert (found.waits_for is None) is not is_paused
    assert estimate(platform, relay, datetime.now(UTC) - timedelta(hours=1)).is_late
    receipt = platform.send(relay, 1)
    assert receipt.finishes_at is None
    with platform.app.test_request_context():
        session = platform.own_smtp.db.session()
        for summary in reports.project_batches(session, TENANT, f"{PROJECT}-{relay}"):
            settings = platform.runtime.settings
            seen = progress_of(session, settings, summary, closes_at=tomorrow, timezone="UTC", queue_is_up=True)
            assert seen is not None
            assert seen.finishes_at is None
