"""A process in which a few or very many invitations wait: what a drain and a page cost then.

`python -m benchmarks.waiting JSON` fills an outbox, drains a part of it and prints what that took.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable
from functools import partial

from sqlalchemy import Table, insert, literal, select, update
from sqlalchemy.orm import Session

from benchmarks.measure import Figures
from benchmarks.send import At, drain
from benchmarks.stage import PROJECT, TENANT, Platform, Stage
from own_smtp import delivery_log, reports
from own_smtp.due import find_due
from own_smtp.hooks.events import StatusFilter
from own_smtp.models import Batch, Invitation
from own_smtp.walks import LogScope, Position

COPIED = 10_000
"""So many are added as a host does it; the others are copies of theirs."""

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
    """Return the position of the invitation in the middle."""
    last = session.scalars(select(Invitation.id).order_by(Invitation.id.desc()).limit(1)).one()
    columns = select(Invitation.batch_id, Invitation.next_attempt_at, Invitation.id)
    found = session.execute(columns.where(Invitation.id <= last // 2).order_by(Invitation.id.desc()).limit(1)).one()
    return str(Position(*found))


def measure(stage: Stage, *, port: int, waiting: int) -> Figures:
    """Let `waiting` invitations wait, drain some of them for a slice, and ask what pages ask."""
    platform = stage.open(prepare=True)
    relay_id = platform.add_relay(At("127.0.0.1", port), max_connections=10)
    receipt = platform.fill(relay_id, COPIED)
    for _ in range(waiting // COPIED - 1):
        _double(platform, receipt.batch_id)
    figures = asked(platform)
    around = platform.around
    figures["due"] = _milliseconds(lambda: find_due(around, 64))
    sent = _drain_once(platform, relay_id)
    return figures | sent


def _double(platform: Platform, batch_id: int) -> None:
    """Copy the first invitations of the batch once more, with references of their own."""
    table = Invitation.__table__
    assert isinstance(table, Table)
    with platform.engine.begin() as connection:
        number = connection.scalar(select(Invitation.id).order_by(Invitation.id.desc()).limit(1))
        columns = [column for column in table.columns if column.name not in {"id", "reference"}]
        copied = select(literal(f"{number}-").concat(table.c.reference), *columns)
        rows = copied.where(table.c.batch_id == batch_id).order_by(table.c.id).limit(COPIED)
        connection.execute(insert(table).from_select(["reference", *(column.name for column in columns)], rows))
        connection.execute(update(Batch).where(Batch.id == batch_id).values(taken_count=Batch.taken_count + COPIED))


def asked(platform: Platform) -> Figures:
    """Return how long each query of the report page takes, in milliseconds."""
    with Session(platform.engine) as session:
        return {name: _milliseconds(partial(ask, session)) for name, ask in QUERIES.items()}


def _milliseconds(ask: Callable[[], object]) -> float:
    times = []
    for _ in range(5):
        started = time.perf_counter()
        ask()
        times.append(time.perf_counter() - started)
    return sorted(times)[2] * 1000


def _drain_once(platform: Platform, relay_id: int) -> Figures:
    figures = drain(platform, relay_id, jobs=1)
    messages = platform.count_attempts()
    each = {f"{name}_each": figures[name] / messages * 1e6 for name in ("cpu", "seconds")}
    return figures | each | {"messages": messages}


def main() -> None:
    logging.basicConfig(level=logging.ERROR)
    given = json.loads(sys.argv[1])
    stage = Stage.load(given.pop("stage"))
    print(json.dumps(measure(stage, **given)))


if __name__ == "__main__":
    main()
