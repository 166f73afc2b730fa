"""Progress of a batch: its numbers, its texts, and the live page during a real drain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from playwright.sync_api import expect
from sqlalchemy import func, select, update

from own_smtp.hooks.events import Project, Tenant
from own_smtp.i18n import ensure_babel
from own_smtp.relays.rate_limits import Pacer
from own_smtp.reporting import progress, reports
from own_smtp.reporting.blockers import Blocker, Situation, blockers
from own_smtp.reporting.estimates import sent_before
from own_smtp.reporting.progress import Progress, pieces_of
from own_smtp.reporting.state_counts import Counts
from own_smtp.settings import Settings
from own_smtp.smtp.values import Limits
from own_smtp.states import BatchState, PauseReason, RelayState, State
from own_smtp.storage.models import Attempt, Lease, Relay
from tests.engine import TENANT, Platform
from tests.scripted import ScriptedServer

NOW = datetime(2026, 11, 22, 20, 40, tzinfo=UTC)
"""A Sunday evening, 21:40 in Berlin."""
OFFICE = ({"days": [0, 1, 2, 3, 4], "start": "08:00", "end": "18:00"},)

# Blockers


def situation(relay: dict | None = None, lease: Lease | None = None, **values) -> Situation:
    seen = Situation(
        now=NOW,
        timezone="Europe/Berlin",
        state=BatchState.OPEN,
        relay=Relay(label="Company mail", **{"state": RelayState.ACTIVE} | (relay or {})),
        limits=Limits(),
        lease=lease,
        next_attempt_at=NOW - timedelta(minutes=1),
        queue_is_up=True,
    )
    return replace(seen, **values)


def used_up(limits: Limits, count: int, ago: timedelta) -> Lease:
    """Return the pace that a drain records after it has sent so many some time ago."""
    pacer = Pacer(limits, None, float)
    return Lease(pace=pacer.keep((NOW - ago).timestamp(), count))


def found(seen: Situation) -> list[Blocker]:
    app = Flask("words")
    ensure_babel(app)
    with app.app_context():
        return blockers(seen)


def words(seen: Situation) -> list[str]:
    return [item.text.replace("\u202f", " ") for item in found(seen)]


def test_a_person_who_paused_it_comes_first():
    """A paused batch waits for its person, whatever else blocks it."""
    seen = situation({"state": RelayState.UNCONFIRMED}, state=BatchState.PAUSED)
    assert words(seen) == ["This sending is paused: what waits keeps waiting."]


def test_a_relay_that_may_not_send_says_why_and_since_when():
    """A refused password is named with its time in the tenant's zone; an unconfirmed relay is called that."""
    paused = {"state": RelayState.PAUSED, "pause_reason": PauseReason.CREDENTIALS, "paused_at": NOW}
    assert words(situation(paused)) == [
        "“Company mail” is paused since 9:40 PM (Europe/Berlin): The server refuses the user name or the password."
    ]
    quota = paused | {"pause_reason": PauseReason.QUOTA, "probe_at": NOW + timedelta(hours=3)}
    assert words(situation(quota))[0].endswith("It is tried again by itself: 12:40 AM tomorrow (Europe/Berlin).")
    assert words(situation({"state": RelayState.UNCONFIRMED})) == [
        "The mail server “Company mail” has not been confirmed yet."
    ]


def test_a_relay_that_cannot_be_reached_says_when_it_is_tried_again():
    """Since when it is unreachable, and when the next connection is tried."""
    lease = Lease(failing_since=NOW - timedelta(hours=1), wake_at=NOW + timedelta(minutes=15))
    (text,) = words(situation(lease=lease))
    assert text == (
        "There is no usable connection to “Company mail” since 8:40 PM (Europe/Berlin)."
        " Next attempt: 9:55 PM (Europe/Berlin)."
    )
    assert found(situation(lease=lease))[0].is_trouble


def test_a_used_up_quota_says_its_number_and_when_it_goes_on():
    """Two thousand from this afternoon free the quota tomorrow afternoon; a thousand in this hour, at its end."""
    day = Limits(per_day=2000)
    (text,) = words(situation(limits=day, lease=used_up(day, 2000, timedelta(hours=6))))
    assert text.startswith("The daily quota of 2,000 is reached; it goes on 3:4")
    assert text.endswith("PM tomorrow (Europe/Berlin).")
    hour = Limits(per_hour=1000)
    (text,) = words(situation(limits=hour, lease=used_up(hour, 1000, timedelta(minutes=20))))
    assert text.startswith("The hourly quota of 1,000 is reached; it goes on 10:20 PM")


def test_closed_hours_say_when_they_open():
    """On a Sunday evening office hours begin tomorrow; a quota that is free by then is not mentioned."""
    limits = Limits(per_hour=10, sending_windows=OFFICE, timezone="Europe/Berlin")
    (text,) = words(situation(limits=limits, lease=used_up(limits, 10, timedelta(0))))
    assert text == "Outside the hours in which it may send; it goes on 8:00 AM tomorrow (Europe/Berlin)."


def test_a_slow_server_and_put_off_messages_say_when_they_are_due():
    """A long learned spacing is shown as the server's request, and greylisted invitations with their next attempt."""
    lease = Lease(pace={"next": NOW.timestamp() + 300, "learned": 300.0})
    assert words(situation(lease=lease))[0].startswith("The server asked for a slower pace; it goes on 9:45 PM")
    assert words(situation(next_attempt_at=NOW + timedelta(minutes=5))) == [
        "The server put off what is left; next attempt: 9:45 PM (Europe/Berlin)."
    ]


def test_a_pace_is_no_blocker():
    """One message every two minutes, as configured: the gap between them has no blocker."""
    limits = Limits(min_interval=120.0)
    lease = used_up(limits, 1, timedelta(seconds=30))
    lease.wake_at = NOW + timedelta(seconds=90)
    assert words(situation(limits=limits, lease=lease)) == []


def test_a_missing_worker_is_a_blocker_and_a_running_one_is_none():
    """Due invitations wait for a worker, or for Redis; while a drain has the lease, nothing blocks them."""
    assert words(situation()) == ["No worker of the platform has taken it up yet."]
    assert words(situation(queue_is_up=False))[0].startswith("The platform's queue (Redis) takes no work")
    assert words(situation(lease=Lease(expires_at=NOW + timedelta(seconds=20)))) == []
    assert words(situation(next_attempt_at=None)) == []


# The bar


@given(st.dictionaries(st.sampled_from(State), st.integers(0, 10**6)))
def test_the_bar_is_full_and_each_state_can_be_seen(numbers):
    """The segments are adjacent, and one refusal in a million stays visible."""
    pieces = pieces_of(Counts({state: number for state, number in numbers.items() if number}))
    assert {piece.state for piece in pieces} == {state for state, number in numbers.items() if number}
    end = 0.0
    for piece in pieces:
        assert piece.start == pytest.approx(end, abs=0.002)
        assert piece.width > 0.9
        end = piece.start + piece.width
    assert not pieces or end == pytest.approx(100, abs=0.01)


@given(st.integers(0, 1000), st.lists(st.tuples(st.integers(0, 1000), st.booleans())), st.booleans())
def test_batches_take_turns_and_urgent_ones_go_first(count, others, is_urgent):
    """A batch waits for no more than all others have, and a larger batch never waits for less."""
    ahead = sent_before(count, others, is_urgent=is_urgent)
    assert 0 <= ahead <= sum(waiting for waiting, _urgent in others)
    assert ahead <= sent_before(count + 1, others, is_urgent=is_urgent)
    assert sent_before(count, others, is_urgent=True) <= sent_before(count, others)


# On each database, with real drains


@pytest.fixture
def platform(migrated_url: str, tmp_path: Path) -> Iterator[Platform]:
    with Platform.at(migrated_url, tmp_path / "journal") as platform:
        yield platform


def look(platform: Platform, batch_id: int, relay_id: int, closes_at: datetime | None = None) -> Progress | None:
    with platform.app.test_request_context():
        session = platform.own_smtp.db.session()
        summary = reports.project_batch(session, TENANT, f"survey-{relay_id}", batch_id)
        return progress.progress_of(session, Settings(), summary, closes_at=closes_at, timezone="UTC", queue_is_up=True)


def test_it_is_known_how_fast_it_goes_and_when_it_ends(platform: Platform, scripted: ScriptedServer) -> None:
    """Before, during and after: first it waits for a worker, then for the quota; at the end there is no progress."""
    relay = platform.add_relay(scripted, per_day=4)
    soon = datetime.now(UTC) + timedelta(hours=30)
    batch = platform.send(relay, 10, expires_at=soon).batch_id
    before = look(platform, batch, relay)
    assert before is not None
    assert [item.text for item in before.blockers] == ["No worker of the platform has taken it up yet."]
    assert before.rate is None
    assert before.is_late
    assert before.pace == ["4 a day"]
    platform.drain(relay)
    within = look(platform, batch, relay)
    assert within is not None
    assert within.blockers[0].text.startswith("The daily quota of 4 is reached; it goes on ")
    assert within.rate is not None
    assert within.finishes_at is not None
    assert within.version != before.version
    platform.change(relay, per_day=None)
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 10}
    assert look(platform, batch, relay) is None


def test_a_slow_relay_is_not_called_fast_after_each_message(platform: Platform, scripted: ScriptedServer) -> None:
    """One attempt a moment ago, after others long ago, counts as one a minute."""
    relay = platform.add_relay(scripted, per_day=3)
    batch = platform.send(relay, 9).batch_id
    platform.drain(relay)
    with platform.engine.begin() as connection:
        oldest = connection.scalars(select(func.min(Attempt.id))).one()
        long_ago = datetime.now(UTC) - timedelta(hours=1)
        connection.execute(update(Attempt).where(Attempt.id > oldest).values(at=long_ago))
    found = look(platform, batch, relay)
    assert found is not None
    assert found.rate == "1 a minute"


def test_the_end_is_the_hosts_or_the_surveys(platform: Platform, scripted: ScriptedServer) -> None:
    """The host's expiry ends the retries; without one, the survey's end still makes the batch late, and the page says
    so.
    """
    relay = platform.add_relay(scripted, per_day=4)
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (1, 90))
    free, given = platform.send(relay, 10).batch_id, platform.send(relay, 10, expires_at=later).batch_id
    never, closing = look(platform, free, relay), look(platform, free, relay, closes_at=soon)
    ends = look(platform, given, relay, closes_at=soon)
    assert never is not None
    assert closing is not None
    assert ends is not None
    assert (never.ends_at, never.is_late, never.gives_up) == (None, False, False)
    assert (closing.ends_with_survey, closing.is_late, closing.gives_up) == (True, True, False)
    assert (ends.ends_with_survey, ends.is_late, ends.gives_up) == (False, True, True)


def test_a_batch_waits_for_its_share_of_the_others(platform: Platform, scripted: ScriptedServer) -> None:
    """A small batch beside a large one is done after twice its own number, not after the whole."""
    relay = platform.add_relay(scripted, per_hour=10)
    large = platform.send(relay, 100).batch_id
    small = platform.send(relay, 10).batch_id
    with platform.app.test_request_context():
        session = platform.own_smtp.db.session()
        ends = {}
        for batch in (large, small):
            summary = reports.project_batch(session, TENANT, f"survey-{relay}", batch)
            seen = progress._situation(session, Settings(), summary, "UTC", queue_is_up=True)
            finish = progress._finish(session, seen, summary, session.get_one(progress.Batch, batch))
            assert finish is not None
            ends[batch] = round((finish - seen.now) / timedelta(hours=1))
    assert ends == {large: 10, small: 1}


# The page


@pytest.mark.browser
@pytest.mark.parametrize(
    ("locale", "done", "waits"),
    [
        ("en", "10 accepted by your server", "The daily quota of 4 is reached; it goes on"),
        ("de", "10 von Ihrem Server angenommen", "Das Tageskontingent von 4 ist erreicht; es geht weiter:"),
    ],
)
def test_the_page_follows_a_real_drain_by_itself(person, thin, scripted, tmp_path, locale, done, waits):
    """Bar, numbers and blockers change while drains run, without a reload; a ticked box is left alone."""
    url = f"sqlite:///{tmp_path / 'web.sqlite3'}"
    thin.host.tenants[TENANT] = Tenant(tenant_id=TENANT, name="Acme", timezone="Europe/Berlin")
    with Platform.at(url, tmp_path / "journal", prepare=False) as worker:
        relay = worker.add_relay(scripted, per_day=4)
        thin.host.surveys.append(Project(project_id=f"survey-{relay}", tenant_id=TENANT, title="Live"))
        batch = worker.send(relay, 10).batch_id
        someone = person.with_options(locale=locale)
        page = someone.open(f"/projects/survey-{relay}/batches/{batch}")
        page.evaluate("window.isTheSamePage = true")
        link = page.locator("#own-smtp-live a[href$='/known']")
        link.focus()
        accepted, waiting = (page.locator(f".own-smtp-pieces .own-smtp-is-{state}") for state in ("accepted", "queued"))
        expect(waiting).to_have_attribute("width", "100.0%")
        worker.drain_in_thread(relay)
        expect(accepted).to_have_attribute("width", "40.0%")
        expect(page.get_by_text(waits)).to_be_visible()
        assert someone.violations() == ""
        worker.change(relay, per_day=None)
        worker.let_time_pass(relay)
        worker.drain_in_thread(relay)
        expect(accepted).to_have_attribute("width", "100.0%")
        expect(page.get_by_text(done)).to_be_visible()
        expect(page.locator("#own-smtp-waiting button")).to_have_count(0)
        assert page.evaluate("window.isTheSamePage")
        expect(link).to_be_focused()
        assert someone.complaints == []


@pytest.mark.browser
def test_without_scripts_the_page_is_reloaded_by_hand(person, thin, scripted, tmp_path):
    """A link reloads the same numbers; pausing and resuming are plain forms."""
    with Platform.at(f"sqlite:///{tmp_path / 'web.sqlite3'}", tmp_path / "journal", prepare=False) as worker:
        relay = worker.add_relay(scripted)
        thin.host.surveys.append(Project(project_id=f"survey-{relay}", tenant_id=TENANT, title="Live"))
        batch = worker.send(relay, 3).batch_id
        page = person.with_options(java_script_enabled=False).open(f"/projects/survey-{relay}/batches/{batch}")
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_text("This sending is paused")).to_be_visible()
        page.get_by_role("button", name="Resume").click()
        expect(page.get_by_text("No worker of the platform has taken it up yet.")).to_be_visible()
        worker.drain_in_thread(relay)
        page.get_by_role("link", name="Reload this page").click()
        expect(page.get_by_text("3 accepted by your server")).to_be_visible()
