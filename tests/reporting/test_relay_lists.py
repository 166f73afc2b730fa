"""Lists of relays, suggestions and the policy's table, on each database."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from own_smtp.relays import suggestions
from own_smtp.relays.policy import Policy
from own_smtp.reporting import relay_lists
from own_smtp.reporting.relay_lists import RelayQuery, RelayStateFilter
from own_smtp.settings import PolicyPage, Settings
from own_smtp.states import BatchState, RelayState
from own_smtp.storage.models import Batch, BatchTotals, Lease, Relay

EARLY, LATE = datetime(2026, 1, 1, 8, tzinfo=UTC), datetime(2026, 1, 1, 9, tzinfo=UTC)


@pytest.fixture
def session(migrated: Engine) -> Iterator[Session]:
    with Session(migrated) as session:
        yield session


def add(session: Session, label: str, tenant_id: str = "acme", **values: object) -> Relay:
    row = {"host": "mail.acme.example", "port": 587, "sender_address": "a@acme.example", "state": RelayState.ACTIVE}
    relay = Relay(**{**row, **values}, tenant_id=tenant_id, label=label)
    session.add(relay)
    session.flush()
    return relay


def lease(session: Session, relay: Relay, **values: object) -> None:
    session.add(Lease(relay_id=relay.id, **values))
    session.flush()


def labels(session: Session, tenant_id: str | None = "acme", **wanted: object) -> list[str]:
    found = relay_lists.find_relays(session, RelayQuery(tenant_id=tenant_id, **wanted))  # type: ignore[arg-type] # a test's table
    return [line.relay.label for line in found.lines]


def test_what_is_looked_for_is_found(session):
    """By a part in any case, matched literally, with the tenant's default first and no relays of others."""
    add(session, "beta")
    add(session, "Zulu", is_default=True)
    add(session, "Alpha_100%", host="MX.example", description="for the Board")
    add(session, "gone", deleted_at=EARLY)
    add(session, "theirs", "evil")
    assert labels(session) == ["Zulu", "Alpha_100%", "beta"]
    assert (
        labels(session, text="ALPHA") == labels(session, text="_100%") == labels(session, text="mx.") == ["Alpha_100%"]
    )
    assert labels(session, text="board") == ["Alpha_100%"]
    assert labels(session, text="%") == ["Alpha_100%"]
    assert labels(session, None, text="evil") == labels(session, None, text="x", tenants=["evil"])[-1:] == ["theirs"]
    assert relay_lists.tenants(session, 10) == ["acme", "evil"]


def test_each_choice_shows_what_it_counts(session):
    """State is set by people, failing by deliveries; one query counts both."""
    lease(session, add(session, "good"), last_success_at=LATE, last_error_at=EARLY)
    lease(session, add(session, "bad"), last_success_at=EARLY, last_error_at=LATE)
    lease(session, add(session, "away"), failing_since=EARLY, last_success_at=LATE)
    add(session, "stopped", state=RelayState.PAUSED)
    lease(session, add(session, "unconfirmed", state=RelayState.UNCONFIRMED), failing_since=EARLY)
    add(session, "new")
    listing = relay_lists.find_relays(session, RelayQuery(tenant_id="acme"))
    assert listing.counts == {
        RelayStateFilter.ALL: 6,
        RelayStateFilter.ATTENTION: 3,
        RelayStateFilter.UNCONFIRMED: 1,
        RelayStateFilter.ACTIVE: 4,
        RelayStateFilter.PAUSED: 1,
    }
    for show, number in listing.counts.items():
        assert len(labels(session, show=show)) == number
    assert labels(session, show=RelayStateFilter.ATTENTION) == ["away", "bad", "stopped"]
    health = {line.relay.label: line.health for line in listing.lines}
    assert (health["good"], health["bad"], health["away"], health["new"]) == ("healthy", "failing", "failing", "new")


def test_waiting_is_what_has_not_ended(session):
    """From the stored totals of open and paused batches."""
    relay = add(session, "busy")
    for state, taken in ((BatchState.OPEN, 10), (BatchState.PAUSED, 5), (BatchState.DONE, 7)):
        batch = Batch(
            tenant_id="acme",
            project_id="p1",
            relay_id=relay.id,
            kind="invitation",
            message_key="k",
            message_domain="acme.example",
            state=state,
            taken_count=taken,
        )
        session.add(batch)
        session.flush()
        session.add(BatchTotals(batch_id=batch.id, accepted=2, refused=1))
    session.flush()
    [line] = relay_lists.find_relays(session, RelayQuery(tenant_id="acme")).lines
    assert line.waiting == 9


def test_pages_do_not_overlap(session):
    """Each relay is on one page, however many there are."""
    for number in range(60):
        add(session, f"same{number % 2}")
    pages = [relay_lists.find_relays(session, RelayQuery(tenant_id="acme", page=page)) for page in (1, 2, 3, 4)]
    assert [len(page.lines) for page in pages] == [25, 25, 10, 0]
    assert len({line.relay.id for page in pages for line in page.lines}) == 60
    assert pages[0].pages == 3


def test_suggestions_are_ranked_and_moved(session):
    """A project's before a person's before the tenant's; ids that differ only in case are different."""
    one, two = add(session, "one", is_default=True), add(session, "two")

    def suggested(project: str, user: str) -> str | None:
        relay = suggestions.suggested(session, "acme", project, user)
        return relay.label if relay else None

    assert suggested("P", "u") == "one"
    suggestions.choose_suggestions(session, two, everybody=False, users=["u"], projects=["P"], user_id="u")
    assert (suggested("P", "x"), suggested("p", "u"), suggested("p", "U")) == ("two", "two", "one")
    suggestions.choose_suggestions(session, one, everybody=True, users=["u", "U"], projects=["P", "p"], user_id="u")
    assert suggested("P", "u") == "one"
    assert suggestions.by_relay(session, "acme")[two.id].users == []


def test_the_policy_is_stored_and_taken_back(session):
    """A suggestion saved twice exists once, and a removed one is gone."""
    rules = Policy(Settings(policy_page=PolicyPage.NETWORK), frozenset())
    values = {"ceiling_per_second": 0.25, "allowed_networks": (ip_network("10.0.0.0/8"),), "relays_per_tenant": 3}
    for ceiling in (2, 3):
        assert rules.change(session, {**values, "ceiling_connections": ceiling}, user_id="root")
        session.commit()
    assert rules.in_force(session) == replace(rules.settings, **values, ceiling_connections=3)
    assert not rules.change(session, values, user_id="root")
    back = {name: getattr(rules.settings, name) for name in (*values, "ceiling_connections")}
    assert rules.change(session, back, user_id="root")
    assert rules.in_force(session) == rules.settings
