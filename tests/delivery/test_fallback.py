"""When a tenant's server stays away for longer than its project allows, the platform's own mail takes over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from email import message_from_bytes, policy
from typing import Any

import pytest
from sqlalchemy import update

from own_smtp.delivery.due import find_fallbacks
from own_smtp.delivery.workers.drain_job import run_drains
from own_smtp.relays.platform_server import platform_for
from own_smtp.smtp.values import Identity, Limits, RelayProfile
from own_smtp.states import Route, Security
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Batch
from tests.engine import SENDER, Platform, recipients_of
from tests.scripted import ClosedPort, ScriptedServer


@pytest.fixture
def falling_back(make_platform: Callable[..., Platform], scripted: ScriptedServer) -> Platform:
    """A platform whose own mail goes to the scripted server."""
    platform = make_platform()
    mail = {"MAIL_SERVER": scripted.host, "MAIL_PORT": scripted.port, "MAIL_DEFAULT_SENDER": "post@platform.example"}
    platform.with_parts(platform=platform_for(mail))
    return platform


def set_fallback(platform: Platform, seconds: int) -> None:
    with platform.engine.begin() as connection:
        connection.execute(update(Batch).values(fallback_at=read_clock(connection) + timedelta(seconds=seconds)))


def fall_back(platform: Platform, relay_id: int) -> None:
    run_drains(platform.runtime, relay_id, Route.PLATFORM)


def test_what_waited_too_long_leaves_by_the_platform(falling_back: Platform, scripted: ScriptedServer) -> None:
    """The tenant's server is down, the time over: each leaves once, From the platform, with answers to the tenant."""
    with ClosedPort() as closed:
        relay = falling_back.add_relay(closed)
        falling_back.send(relay, 3)
        falling_back.drain(relay)
        assert falling_back.states() == {"queued": 3}
        set_fallback(falling_back, -1)
        assert find_fallbacks(falling_back.runtime, 10) == [relay]
        fall_back(falling_back, relay)
    assert falling_back.states() == {"accepted": 3}
    assert {row.route for row in falling_back.invitations} == {"platform"}
    assert {row.route for row in falling_back.attempts} == {"platform"}
    assert recipients_of(scripted.copies) == [f"user{number}@example.org" for number in (1, 2, 3)]
    message = message_from_bytes(scripted.copies[0].data, policy=policy.default)
    assert message["From"].addresses[0].addr_spec == "post@platform.example"
    assert message["From"].addresses[0].display_name == "Acme Research"
    assert message["Reply-To"].addresses[0].addr_spec == SENDER
    assert scripted.copies[0].sender == "post@platform.example"
    assert {change.route for change in falling_back.host.changes} == {"platform"}


def test_nothing_falls_back_before_its_time_or_without_leave(falling_back: Platform, scripted: ScriptedServer) -> None:
    """An exclusive project waits for ever, and one that may fall back in an hour waits for an hour."""
    with ClosedPort() as closed:
        exclusive, later = falling_back.add_relay(closed), falling_back.add_relay(closed)
        falling_back.send(later, 1)
        set_fallback(falling_back, 3600)
        falling_back.send(exclusive, 1)
        assert find_fallbacks(falling_back.runtime, 10) == []
        for relay in (exclusive, later):
            fall_back(falling_back, relay)
    assert falling_back.states() == {"queued": 2}
    assert scripted.copies == []


def test_a_paused_relay_falls_back_too_and_its_owner_hears_of_it_once(
    falling_back: Platform, scripted: ScriptedServer
) -> None:
    """A fallback hides no failure: the relay stays paused, and the alert comes with the first fallback only."""
    relay = falling_back.add_relay(scripted, state="paused")
    for _send in range(2):
        falling_back.send(relay, 1)
        set_fallback(falling_back, -1)
        fall_back(falling_back, relay)
    assert falling_back.states() == {"accepted": 2}
    assert [(change.state, change.is_falling_back) for change in falling_back.host.relay_changes] == [("paused", True)]
    assert falling_back.relay(relay).state == "paused"


def test_the_relay_s_own_pace_and_rest_are_not_touched(falling_back: Platform, scripted: ScriptedServer) -> None:
    """What a fallback learned of the platform's server says nothing of the relay."""
    with ClosedPort() as closed:
        relay = falling_back.add_relay(closed, per_hour=100)
        falling_back.send(relay, 1)
        falling_back.drain(relay)
        before = falling_back.lease(relay)
        set_fallback(falling_back, -1)
        fall_back(falling_back, relay)
    after = falling_back.lease(relay)
    assert (after.pace, after.wake_at, after.failures) == (before.pace, before.wake_at, before.failures)


def test_a_platform_server_that_is_down_as_well_is_left_alone_for_a_while(
    make_platform: Callable[..., Platform],
) -> None:
    """Nothing is lost and nothing spins: the next fallback comes later."""
    platform = make_platform()
    with ClosedPort() as closed:
        mail = {"MAIL_SERVER": closed.host, "MAIL_PORT": closed.port, "MAIL_DEFAULT_SENDER": "post@platform.example"}
        platform.with_parts(platform=platform_for(mail))
        relay = platform.add_relay(closed)
        platform.send(relay, 2)
        set_fallback(platform, -1)
        fall_back(platform, relay)
        assert platform.states() == {"queued": 2}
        assert find_fallbacks(platform.runtime, 10) == []
        assert platform.relay(relay).state == "active"


def test_a_temporary_refusal_by_the_platform_s_server_waits(falling_back: Platform, scripted: ScriptedServer) -> None:
    """451 from the platform's server is tried again after the usual wait, not at once."""
    scripted.on("rcpt", "451 4.3.0 later", times=1)
    relay = falling_back.add_relay(scripted, state="paused")
    falling_back.send(relay, 1)
    set_fallback(falling_back, -1)
    fall_back(falling_back, relay)
    assert falling_back.states() == {"queued": 1}
    assert find_fallbacks(falling_back.runtime, 10) == []
    falling_back.let_time_pass(relay)
    fall_back(falling_back, relay)
    assert falling_back.states() == {"accepted": 1}


@pytest.mark.parametrize(
    ("config", "security"),
    [({}, Security.NONE), ({"MAIL_USE_TLS": True}, Security.STARTTLS), ({"MAIL_USE_SSL": True}, Security.IMPLICIT)],
)
def test_flask_mail_s_settings_describe_the_server(
    config: dict[str, Any], security: Security, profile: RelayProfile
) -> None:
    """Host, port, security, user and sender come from `MAIL_*`; a pair of name and address will do."""
    mail = {
        "MAIL_SERVER": "mail.platform.example",
        "MAIL_PORT": 587,
        "MAIL_USERNAME": "platform",
        "MAIL_PASSWORD": "secret",
        "MAIL_DEFAULT_SENDER": ("The platform", "post@platform.example"),
    }
    server = platform_for(mail | config)(profile)
    assert server is not None
    assert (server.host, server.port, server.security) == ("mail.platform.example", 587, security)
    assert server.credentials is not None
    assert server.credentials.username == "platform"
    assert server.identity == Identity(address="post@platform.example", name="Acme", reply_to="research@acme.example")


@pytest.mark.parametrize("sender", [None, "", "nonsense"])
def test_without_a_sender_the_platform_has_no_mail(sender: str | None, profile: RelayProfile) -> None:
    """A platform that names no sender cannot take over."""
    assert platform_for({"MAIL_SERVER": "mail.platform.example", "MAIL_DEFAULT_SENDER": sender})(profile) is None


@pytest.fixture
def profile() -> RelayProfile:
    return RelayProfile(
        relay_id=1,
        tenant_id="acme",
        label="Acme",
        host="mail.acme.example",
        port=465,
        security=Security.IMPLICIT,
        credentials=None,
        fingerprint="00",
        identity=Identity(address="research@acme.example", name="Acme"),
        envelope_sender="research@acme.example",
        ehlo_name="acme.example",
        limits=Limits(per_day=10),
        revision=7,
    )
