"""Metrics for Prometheus, read from the tables: every process reports the same, and restarts lose nothing.

Needs `prometheus-client` (`pip install flask-own-smtp[metrics]`), which is loaded with this module.
"""

from __future__ import annotations

from collections import Counter as Sums
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from sqlalchemy import Connection, case, func, select

from own_smtp.outbox.totals import WAITING_NUMBER, select_totals
from own_smtp.states import UNFINISHED, RelayState
from own_smtp.storage import counters, periodic
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Alert, Batch, Counter, HourlyStat, Invitation, Journal, Lease, PeriodicTask, Relay

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Whose = tuple[str, ...]
"""Tenant and relay where the metrics have these labels, else empty."""


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """The state of the job queue in Redis."""

    is_up: bool
    """Whether jobs are accepted and run."""
    jobs: int | None
    """How many jobs wait; `None` if Redis does not answer."""


def exposition(connection: Connection, queue: QueueFigures, *, by_tenant: bool) -> bytes:
    """Return all metrics in Prometheus' text format. `by_tenant` adds the labels `tenant` and `relay` to some."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(connection, queue, by_tenant=by_tenant))
    return generate_latest(registry)


class _Collector:
    def __init__(self, connection: Connection, queue: QueueFigures, *, by_tenant: bool) -> None:
        self._connection = connection
        self._queue = queue
        self._labels = ["tenant", "relay"] if by_tenant else []
        self._now = read_clock(connection)

    def describe(self) -> list[Metric]:
        """Return nothing: otherwise a registry would query the database when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        kept = self._kept()
        yield from self._waiting()
        yield self._attempts(kept)
        yield from self._drains(kept)
        yield self._relays()
        yield self._alerts()
        yield from self._health()
        yield self._hook_failures(kept)

    def _kept(self) -> dict[tuple[str, str], float]:
        rows = self._connection.execute(select(Counter.name, Counter.label, Counter.value))
        return {(row.name, row.label): row.value for row in rows}

    def _whose(self, row: Any) -> Whose:
        return (row.tenant_id, str(row.relay_id)) if self._labels else ()

    def _waiting(self) -> Iterator[Metric]:
        """Waiting invitations, including those being sent, and the time of the oldest batch with any."""
        waiting: Sums[Whose] = Sums()
        oldest: dict[Whose, datetime] = {}
        for row in self._connection.execute(_WAITING):
            whose = self._whose(row)
            waiting[whose] += int(row.waiting)
            oldest[whose] = min(oldest.get(whose, row.since), row.since)
        if not self._labels:
            waiting.setdefault((), 0)
        queue = GaugeMetricFamily(
            "own_smtp_waiting_invitations", "Waiting invitations, including those being sent.", labels=self._labels
        )
        age = GaugeMetricFamily(
            "own_smtp_oldest_waiting_seconds", "Age of the oldest batch with waiting invitations.", labels=self._labels
        )
        for whose, number in sorted(waiting.items()):
            queue.add_metric(whose, number)
            age.add_metric(whose, (self._now - oldest[whose]).total_seconds() if whose in oldest else 0)
        yield queue
        yield age

    def _attempts(self, kept: dict[tuple[str, str], float]) -> Metric:
        sums: Sums[tuple[str, ...]] = Sums()
        for row in self._connection.execute(_ATTEMPTS_OF_RELAYS if self._labels else _ATTEMPTS):
            sums[(row.state, _class_name(row.code // 100), *self._whose(row))] += int(row.number)
        for (name, label), value in kept.items():
            if name == counters.ATTEMPTS:
                state, _, reply_class = label.partition("/")
                sums[(state, _class_name(int(reply_class)), *("" for _label in self._labels))] += int(value)
        family = CounterMetricFamily(
            "own_smtp_attempts",
            "Attempts by the invitation's state after it and the class of the reply.",
            labels=["state", "reply", *self._labels],
        )
        for labels, number in sorted(sums.items()):
            family.add_metric(labels, number)
        return family

    def _drains(self, kept: dict[tuple[str, str], float]) -> Iterator[Metric]:
        live = func.sum(case((Lease.expires_at > self._now, 1), else_=0))
        row = self._connection.execute(
            select(func.sum(Lease.drains), func.sum(Lease.drain_seconds), live).select_from(Lease)
        ).one()
        drains = float(row[0] or 0) + kept.get((counters.DRAINS, ""), 0)
        seconds = float(row[1] or 0) + kept.get((counters.DRAIN_SECONDS, ""), 0)
        yield CounterMetricFamily("own_smtp_drains", "Finished drains.", value=drains)
        yield CounterMetricFamily("own_smtp_drain_seconds", "Total duration of finished drains.", value=seconds)
        yield GaugeMetricFamily("own_smtp_live_leases", "Relays being drained now.", value=int(row[2] or 0))
        yield GaugeMetricFamily(
            "own_smtp_open_journals", "Drains that run, or crashed and are not settled.", value=self._count(Journal.id)
        )
        unnotified = Invitation.untold_since.is_not(None)
        yield GaugeMetricFamily(
            "own_smtp_untold_changes",
            "Status changes that the host has not received yet.",
            value=self._count(Invitation.id, unnotified),
        )

    def _count(self, column: Any, *conditions: Any) -> int:
        return self._connection.scalars(select(func.count(column)).where(*conditions)).one()

    def _relays(self) -> Metric:
        family = GaugeMetricFamily("own_smtp_relays", "Relays by state.", labels=["state"])
        rows = self._connection.execute(
            select(Relay.state, func.count()).where(Relay.deleted_at.is_(None)).group_by(Relay.state)
        )
        found: dict[str, int] = {row[0]: row[1] for row in rows}
        for state in RelayState:
            family.add_metric([state], found.get(state, 0))
        return family

    def _alerts(self) -> Metric:
        family = GaugeMetricFamily("own_smtp_alerts", "Current alerts by cause.", labels=["cause"])
        for cause, number in self._connection.execute(select(Alert.cause, func.count()).group_by(Alert.cause)):
            family.add_metric([cause], number)
        return family

    def _health(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "own_smtp_redis_up", "Whether Redis accepts jobs and workers run them.", value=int(self._queue.is_up)
        )
        if self._queue.jobs is not None:
            yield GaugeMetricFamily("own_smtp_waiting_jobs", "Jobs in the queue.", value=self._queue.jobs)
        seen = self._connection.scalar(select(PeriodicTask.taken_at).where(PeriodicTask.name == periodic.LOOK))
        if seen is not None:
            age = (self._now - seen).total_seconds()
            yield GaugeMetricFamily("own_smtp_worker_seen_seconds", "Seconds since a worker was seen.", value=age)
        failed = self._connection.scalar(select(PeriodicTask.taken_at).where(PeriodicTask.name == periodic.NO_JOURNAL))
        yield GaugeMetricFamily(
            "own_smtp_journals_up",
            "Whether every worker can write its journal.",
            value=int(failed is None or self._now - failed > periodic.ALIVE),
        )

    @staticmethod
    def _hook_failures(kept: dict[tuple[str, str], float]) -> Metric:
        family = CounterMetricFamily("own_smtp_hook_failures", "Exceptions in the host's hooks.", labels=["hook"])
        for (name, label), value in sorted(kept.items()):
            if name == counters.HOOK_FAILURES:
                family.add_metric([label], value)
        return family


def _class_name(number: int) -> str:
    return f"{number}xx" if number else "none"


_WAITING = (
    select_totals(
        Batch.tenant_id,
        Batch.relay_id,
        func.sum(WAITING_NUMBER).label("waiting"),
        func.min(Batch.created_at).label("since"),
    )
    .where(Batch.state.in_(UNFINISHED), WAITING_NUMBER > 0)
    .group_by(Batch.tenant_id, Batch.relay_id)
)
_ATTEMPTS = select(HourlyStat.state, HourlyStat.code, func.sum(HourlyStat.count).label("number")).group_by(
    HourlyStat.state, HourlyStat.code
)
_ATTEMPTS_OF_RELAYS = (
    _ATTEMPTS.add_columns(Relay.tenant_id, HourlyStat.relay_id)
    .join(Relay, Relay.id == HourlyStat.relay_id)
    .group_by(Relay.tenant_id, HourlyStat.relay_id)
)
