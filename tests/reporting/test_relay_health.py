"""The health on a relay's page: facts of a real conversation, and the results of attempts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update
from sqlalchemy.orm import Session

from own_smtp.reporting.relay_health import health_of
from own_smtp.smtp.capabilities import NOTHING, Capabilities
from own_smtp.smtp.server_info import ServerInfo, offers_of
from own_smtp.smtp.tls import verifying_context
from own_smtp.states import Security
from own_smtp.storage.models import Lease, Relay
from tests.engine import Platform
from tests.outbox_kit import ACCEPTED, REFUSED, Outbox
from tests.scripted import Authority, ClosedPort, ScriptedServer
from tests.servers.postfix import Postfix

WARNING = timedelta(days=14)


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


def health(engine, relay, warning=WARNING):
    with Session(engine) as session:
        found = session.get(Relay, relay)
        assert found is not None
        return health_of(session, found, warning)


def test_a_conversation_under_tls_is_remembered(platform: Platform, trusted: Authority) -> None:
    """After a drain the lease has protocol, cipher, certificate and extensions, and the certificate's expiry in a
    column of its own.
    """
    with ScriptedServer(tls=trusted.server_context()) as server:
        relay = platform.add_relay(server, host="localhost", security=Security.STARTTLS)
        platform.send(relay, 1)
        platform.drain(relay)
    facts = health(platform.engine, relay).facts
    assert facts is not None
    assert facts.server == "localhost [127.0.0.1]"
    assert facts.protocol == "TLSv1.3"
    assert facts.cipher
    assert facts.certificate is not None
    assert "localhost" in facts.certificate.names
    assert facts.certificate.issuer
    assert platform.lease(relay).certificate_until == facts.certificate.ends_at
    assert "PIPELINING" in facts.offers
    assert facts.seen_at is not None


def test_a_conversation_without_tls_is_remembered_as_such(platform: Platform, scripted: ScriptedServer) -> None:
    """It has no protocol and no certificate, but the extensions."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    platform.drain(relay)
    facts = health(platform.engine, relay).facts
    assert facts is not None
    assert (facts.protocol, facts.certificate) == (None, None)
    assert "SIZE 36700160" in facts.offers
    assert ServerInfo.from_json(facts.as_json()) == facts


def test_the_last_error_is_counted_until_it_works(platform: Platform, scripted: ScriptedServer) -> None:
    """The same error is counted since its first time; an accepted message resets the count."""
    with ClosedPort() as closed:
        relay = platform.add_relay(closed)
        platform.send(relay, 1)
        platform.drain(relay)
        first = platform.lease(relay).error_since
        for _drain in range(2):
            platform.drain_again(relay)
    found = health(platform.engine, relay)
    assert (found.error_count, found.error_since) == (3, first)
    assert found.facts is None
    platform.change(relay, host=scripted.host, port=scripted.port)
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 1}
    with ClosedPort() as closed:
        platform.change(relay, port=closed.port)
        platform.send(relay, 1)
        platform.drain_again(relay)
    assert health(platform.engine, relay).error_count == 1


def test_another_error_begins_a_count_of_its_own(platform: Platform, scripted: ScriptedServer) -> None:
    """Errors are distinguished by stage and codes, whatever their words."""
    for banner in ("421 4.7.0 go away", "421 4.3.2 busy (id 2)", "421 4.3.2 busy (id 1)"):  # the last one first
        scripted.on("banner", banner, times=1)
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    counts = []
    for _drain in range(3):
        platform.drain_again(relay)
        counts.append(platform.lease(relay).error_count)
    assert counts == [1, 2, 1]


def test_success_is_the_share_of_attempts_that_were_accepted(outbox):
    """Of the last day and the last month, from the hourly statistics."""
    relay = outbox.relay(per_day=2000)
    for outcome in (ACCEPTED, REFUSED):
        outbox.send(relay, 3 if outcome is ACCEPTED else 1)
        taken = outbox.take(relay)
        outbox.settle(taken, [item.id for item in outbox.claim(taken)], outcome)
        outbox.end(taken)
    found = health(outbox.engine, relay)
    assert (found.day.attempts, found.day.accepted, found.day.percent) == (4, 3, 75.0)
    assert found.month == found.day
    assert health(outbox.engine, outbox.relay()).day.percent is None


def test_what_waits_and_what_is_used_is_said(outbox):
    """The oldest batch with waiting invitations, and the limit's own count of 24 hours."""
    relay = outbox.relay(per_day=2000)
    assert health(outbox.engine, relay).oldest_at is None
    outbox.send(relay, 1)
    now = datetime.now(UTC)
    number = int(now.timestamp() // (86400 / 250))
    pace = {"windows": {"day": [[number - 300, 500], [number - 10, 30], [number, 12]]}}
    outbox(lambda connection: connection.execute(insert(Lease).values(relay_id=relay)))
    values = {"pace": pace, "certificate_until": now + timedelta(days=3, minutes=1)}
    outbox(lambda connection: connection.execute(update(Lease).values(**values)))
    found = health(outbox.engine, relay)
    assert (found.used, found.limit) == (42, 2000)
    assert found.oldest_at is not None
    assert found.days_left == 3
    assert health(outbox.engine, relay, timedelta(days=1)).days_left is None


def test_offers_are_written_as_servers_write_them():
    """Keywords with their parameters; nothing for a server without extensions."""
    assert offers_of(NOTHING) == ()
    some = Capabilities(sized=True, auth=frozenset({"PLAIN", "LOGIN"}), chunking=True)
    assert offers_of(some) == ("AUTH LOGIN PLAIN", "CHUNKING", "SIZE")


@pytest.mark.servers
def test_a_real_server_is_described_as_it_is(platform: Platform, postfix: Postfix) -> None:
    """Postfix with sign-in: STARTTLS, the authority's certificate, and the extensions after TLS."""
    verifying_context().load_verify_locations(cadata=postfix.ca_file.read_text())
    relay = platform.add_relay(
        postfix, port=postfix.submission_port, security=Security.STARTTLS, username="survey", password="correct horse"
    )
    platform.send(relay, 1)
    platform.drain(relay)
    facts = health(platform.engine, relay).facts
    assert platform.states() == {"accepted": 1}
    assert facts is not None
    assert facts.protocol == "TLSv1.3"
    assert facts.certificate is not None
    assert facts.certificate.names == ("localhost", "127.0.0.1")
    assert {"PIPELINING", "CHUNKING", "8BITMIME", "DSN", "AUTH LOGIN PLAIN"} <= set(facts.offers)
