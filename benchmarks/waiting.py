"""Platforms with few or very many waiting invitations: the cost of a drain and of a page.

`python -m benchmarks.waiting fill|ask|drain JSON` fills an outbox, runs the pages' queries on two of them, or drains a
part.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from statistics import median

from sqlalchemy import Table, insert, literal, select, text, update
from sqlalchemy.orm import Session

from benchmarks.measure import Figures
from benchmarks.send import RelayAddress, drain
from benchmarks.stage import PROJECT, TENANT, Platform, Stage
from own_smtp.delivery.due import find_due
from own_smtp.hooks.events import StatusFilter
from own_smtp.outbox.query import LogScope, Position
from own_smtp.reporting import delivery_log, reports
from own_smtp.storage.models import Batch, Invitation

COPIED = 10_000
"""How many are added through the host's call; the others are copies of their rows."""
ROUNDS = 31
"""How often each query is run, alternating with the other platform's."""

QUERIES: dict[str, Callable[[Session], object]] = {
    "project_batches": lambda session: reports.project_batches(session, TENANT, PROJECT),
    "project_counts": lambda session: reports.project_counts(session, TENANT, PROJECT),
    "waiting_by_relay": lambda session: reports.waiting_by_relay(session, TENANT),
    "refusals": lambda session: reports.refusals(session, TENANT, PROJECT),
    "log_first": lambda session: delivery_log.page(session, LOG, StatusFilter()),
    "log_deep": lambda session: delivery_log.page(session, LOG, StatusFilter(after=_middle(session))),
}
LOG = LogScope(tenant_id=TENANT, project_ids=frozenset({PROJECT}))


def _middle(session: Session) -> str:
    """Return the log position of the invitation in the middle."""
    last = session.scalars(select(Invitation.id).order_by(Invitation.id.desc()).limit(1)).one()
    columns = select(Invitation.batch_id, Invitation.next_attempt_at, Invitation.id)
    found = session.execute(columns.where(Invitation.id <= last // 2).order_by(Invitation.id.desc()).limit(1)).one()
    return str(Position(*found))


def fill(stage: str, *, port: int, waiting: int) -> Figures:
    """Add `waiting` invitations."""
    platform = Stage.load(stage).open(prepare=True)
    relay_id = platform.add_relay(RelayAddress("127.0.0.1", port), max_connections=10)
    receipt = platform.fill(relay_id, COPIED)
    for _ in range(waiting // COPIED - 1):
        _double(platform, receipt.batch_id)
    _tidy(platform)
    return {"relay_id": relay_id}


def _double(platform: Platform, batch_id: int) -> None:
    """Copy the first invitations of the batch, with new references."""
    table = Invitation.__table__
    assert isinstance(table, Table)
    with platform.engine.begin() as connection:
        number = connection.scalar(select(Invitation.id).order_by(Invitation.id.desc()).limit(1))
        columns = [column for column in table.columns if column.name not in {"id", "reference"}]
        copied = select(literal(f"{number}-").concat(table.c.reference), *columns)
        rows = copied.where(table.c.batch_id == batch_id).order_by(table.c.id).limit(COPIED)
        connection.execute(insert(table).from_select(["reference", *(column.name for column in columns)], rows))
        connection.execute(update(Batch).where(Batch.id == batch_id).values(taken_count=Batch.taken_count + COPIED))


def _tidy(platform: Platform) -> None:
    """Run the maintenance that PostgreSQL does by itself, but only some time after so many writes."""
    if platform.engine.dialect.name == "postgresql":
        with platform.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("VACUUM ANALYZE"))
            connection.execute(text("CHECKPOINT"))


def ask(stages: dict[str, str]) -> dict[str, Figures]:
    """Return each query's duration for each platform, in milliseconds: they alternate."""
    platforms = {name: Stage.load(stage).open() for name, stage in stages.items()}
    times: dict[str, dict[str, list[float]]] = {name: {} for name in stages}
    for _ in range(ROUNDS):
        for name, platform in platforms.items():
            for query, seconds in _ask_once(platform):
                times[name].setdefault(query, []).append(seconds * 1000)
    return {name: {query: median(each) for query, each in found.items()} for name, found in times.items()}


def _ask_once(platform: Platform) -> Iterator[tuple[str, float]]:
    runtime = platform.runtime
    yield "due", _seconds(lambda: find_due(runtime, 64))
    with Session(platform.engine) as session:
        for name, query in QUERIES.items():
            yield name, _seconds(partial(query, session))


def _seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def drain_once(stage: str, *, relay_id: int) -> Figures:
    """Drain for a slice, and return its figures."""
    platform = Stage.load(stage).open()
    figures = drain(platform, relay_id, jobs=1)
    messages = platform.count_attempts()
    return figures | {f"{name}_each": figures[name] / messages * 1e6 for name in ("cpu", "seconds")}


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    action: Callable[..., Figures] = {"fill": fill, "ask": ask, "drain": drain_once}[sys.argv[1]]
    print(json.dumps(action(**json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
