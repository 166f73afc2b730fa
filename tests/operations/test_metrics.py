"""The metrics for Prometheus: correct from every process, on each database."""

from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update

from own_smtp.operations import erasure
from own_smtp.operations.metrics import QueueFigures, exposition
from own_smtp.storage import counters
from own_smtp.storage.models import Batch, Lease
from tests.engine import Platform
from tests.outbox_kit import ACCEPTED, REFUSED, TENANT, Outbox

AWAY = QueueFigures(is_up=False, jobs=None)
TOKEN = "a token for tests"
LABELS = ("state", "reply", "cause", "hook", "tenant", "relay")


@pytest.fixture
def outbox(migrated, tmp_path):
    """An empty outbox, on SQLite, PostgreSQL and MariaDB in turn."""
    return Outbox.at(migrated, tmp_path / "journal")


def figures(text):
    """Return the value of each sample by name and labels."""
    return {
        (sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def scrape(outbox, *, by_tenant=False, queue=AWAY):
    with outbox.engine.connect() as connection:
        return figures(exposition(connection, queue, by_tenant=by_tenant))


def deliver(outbox, relay, outcome=ACCEPTED):
    taken = outbox.take(relay)
    outbox.settle(taken, [item.id for item in outbox.claim(taken)], outcome)
    outbox.end(taken)


def test_an_empty_platform_has_zeros(outbox):
    """A missing metric would look like one that is not collected."""
    found = scrape(outbox)
    assert found["own_smtp_waiting_invitations",] == 0
    assert found["own_smtp_oldest_waiting_seconds",] == 0
    assert found["own_smtp_relays", "active"] == 0
    assert found["own_smtp_redis_up",] == 0
    assert found["own_smtp_drains_total",] == 0


def test_what_waits_and_what_came_of_it_is_counted(outbox):
    """By state and class of the reply, with the age of the oldest waiting batch."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    deliver(outbox, relay)
    outbox.send(relay, 2)
    deliver(outbox, relay, REFUSED)
    waiting = outbox.send(relay, 4).batch_id
    outbox(lambda connection: connection.execute(update(Batch).values(created_at=datetime(2026, 1, 1, tzinfo=UTC))))
    found = scrape(outbox, queue=QueueFigures(is_up=True, jobs=2))
    assert waiting == 3
    assert found["own_smtp_waiting_invitations",] == 4
    assert found["own_smtp_oldest_waiting_seconds",] > 3600
    assert found["own_smtp_attempts_total", "accepted", "2xx"] == 3
    assert found["own_smtp_attempts_total", "refused", "5xx"] == 2
    assert (found["own_smtp_redis_up",], found["own_smtp_waiting_jobs",]) == (1, 2)
    assert found["own_smtp_journals_up",] == 1
    assert found["own_smtp_untold_changes",] == 5
    assert found["own_smtp_relays", "active"] == 1


def test_nobody_s_name_is_in_a_label_unless_that_is_wanted(outbox):
    """Tenant and relay are labels only if the operator wants it."""
    for tenant in ("acme", "other"):
        relay = outbox.relay(tenant_id=tenant)
        outbox.send(relay, 1, tenant_id=tenant)
    deliver(outbox, relay)
    with outbox.engine.connect() as connection:
        assert b"acme" not in exposition(connection, AWAY, by_tenant=False)
    found = scrape(outbox, by_tenant=True)
    assert found["own_smtp_waiting_invitations", "acme", "1"] == 1
    assert found["own_smtp_attempts_total", "accepted", "2xx", "other", "2"] == 1


def test_a_counter_never_goes_back(outbox):
    """Attempts of a deleted project or tenant stay counted, without its name."""
    relay = outbox.relay()
    outbox.send(relay, 3)
    deliver(outbox, relay)
    outbox.change(Lease, relay, drains=7, drain_seconds=1.5)
    before = scrape(outbox)
    outbox(erasure.erase_records, TENANT, "survey")
    assert scrape(outbox)["own_smtp_attempts_total", "accepted", "2xx"] == 3
    outbox(erasure.erase_records, TENANT, None)
    after = scrape(outbox)
    kept = [name for name in before if name[0].endswith("_total")]
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert scrape(outbox, by_tenant=True)["own_smtp_attempts_total", "accepted", "2xx", "", ""] == 3


def test_counters_are_counted_up(outbox):
    """By name and label, from every process."""
    for _failure in range(2):
        outbox(counters.increment, counters.HOOK_FAILURES, 1, "own_smtp_relay_changed")
    assert scrape(outbox)["own_smtp_hook_failures_total", "own_smtp_relay_changed"] == 2


def test_a_drain_is_counted_with_its_time(platform: Platform, scripted):
    """In the same statement that releases the relay."""
    relay = platform.add_relay(scripted)
    platform.send(relay, 1)
    platform.drain(relay)
    with platform.engine.connect() as connection:
        found = figures(exposition(connection, AWAY, by_tenant=False))
    assert found["own_smtp_drains_total",] == 1
    assert found["own_smtp_drain_seconds_total",] > 0
    assert found["own_smtp_live_leases",] == found["own_smtp_open_journals",] == 0


def test_a_hook_that_raises_is_counted(platform: Platform, monkeypatch):
    """Besides its log line."""

    def fail(changes):
        raise ValueError("not today")

    monkeypatch.setattr(platform.host, "own_smtp_invitations_changed", fail)
    platform.own_smtp.host.hook.own_smtp_invitations_changed.get_hookimpls()[0].function = fail
    assert not platform.own_smtp.host.invitations_changed([])
    with platform.engine.connect() as connection:
        found = figures(exposition(connection, AWAY, by_tenant=False))
    assert found["own_smtp_hook_failures_total", "own_smtp_invitations_changed"] == 1


@pytest.mark.parametrize(
    ("headers", "status"),
    [({}, 401), ({"Authorization": "Bearer wrong"}, 401), ({"Authorization": f"Bearer {TOKEN}"}, 200)],
)
def test_only_who_has_the_token_reads_them(make_platform, headers, status):
    """Without a signed-in person: a scraper has none."""
    answer = make_platform(metrics_token=TOKEN).app.test_client().get("/own-smtp/metrics", headers=headers)
    assert answer.status_code == status
    assert (b"own_smtp_relays" in answer.data) == (status == 200)


def test_without_a_token_there_are_none(platform: Platform):
    """Off by default."""
    headers = {"Authorization": "Bearer "}
    assert platform.app.test_client().get("/own-smtp/metrics", headers=headers).status_code in {401, 404}
