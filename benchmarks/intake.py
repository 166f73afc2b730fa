"""P6: the host's "send" of 100,000 invitations, against a bare bulk insert of the same rows.

We measure everything that the host's request waits for: `outbox.add` from a generator of invitations, the addresses
checked, in one transaction. The peer is SQLAlchemy's executemany of the finished rows in the same chunks, which checks
nothing. Both alternate within one run, on SQLite and, where it is installed, on PostgreSQL.
"""

from __future__ import annotations

import gc
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, create_engine, insert, select

from own_smtp.hooks.events import Content, InvitationBatch
from own_smtp.hooks.events import Invitation as Invited
from own_smtp.outbox import actions
from own_smtp.outbox.intake import CHUNK
from own_smtp.storage import schema
from own_smtp.storage.models import Batch, Invitation, Relay
from tests.outbox_kit import profile
from tests.servers.databases import PostgreSQL

COUNT = 100_000
ROUNDS = 3
CONTENT = Content(subject="Your opinion, {FIRSTNAME}", text="Dear {FIRSTNAME} {LASTNAME}: {SURVEYURL} {OPTOUTURL}")


def people(count: int) -> Iterator[Invited]:
    """Yield invitations as a survey platform creates them."""
    for number in range(count):
        yield Invited(
            reference=f"participant-{number}",
            address=f"firstname.lastname{number}@department{number % 500}.example.com",
            name=f"Jürgen Müller {number}",
            values={
                "FIRSTNAME": f"Jürgen {number}",
                "LASTNAME": "Müller",
                "SURVEYURL": f"https://surveys.example.org/s/12345/token-{number:012d}?lang=de",
                "OPTOUTURL": f"https://surveys.example.org/o/12345/token-{number:012d}",
            },
        )


def ours(connection: Connection, relay_id: int, count: int) -> None:
    """The whole call that the host's request waits for."""
    batch = InvitationBatch(tenant_id="t", project_id="p", content=CONTENT, invitations=people(count))
    assert actions.add(connection, batch, profile(relay_id), fallback_after=None).taken == count


def bare(connection: Connection, rows: Iterable[dict[str, Any]]) -> None:
    """The same rows, prepared."""
    source = iter(rows)
    while chunk := list(islice(source, CHUNK)):
        connection.execute(insert(Invitation), chunk)


def stored_rows(connection: Connection, batch_id: int) -> list[dict[str, Any]]:
    """Return the rows that `ours` wrote, as rows of another batch."""
    columns = [column for column in Invitation.__table__.c if column.name != "id"]
    found = connection.execute(select(*columns).where(Invitation.batch_id == batch_id))
    return [{**row._mapping, "batch_id": batch_id} for row in found]


def timed(work: Callable[[], None]) -> float:
    gc.collect()
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def peak_memory(work: Callable[[], None]) -> int:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def measure(engine: Engine, name: str) -> list[dict[str, object]]:
    schema.upgrade(engine)
    with engine.begin() as connection:
        row = {"tenant_id": "t", "label": "l", "host": "h", "port": 25, "sender_address": "a@example.org"}
        relay_id = connection.execute(insert(Relay).values(**row, state="active")).inserted_primary_key[0]

    def rolled_back(work: Callable[[Connection], None]) -> Callable[[], None]:
        """Roll back, so that every round finds the same tables."""

        def run() -> None:
            with engine.connect() as connection:
                work(connection)
                connection.rollback()

        return run

    rows: list[dict[str, Any]] = []
    with engine.connect() as connection:
        ours(connection, relay_id, COUNT)
        batch_id = connection.execute(select(Invitation.batch_id).limit(1)).scalar_one()
        rows = stored_rows(connection, batch_id)
        connection.rollback()

    def peer(connection: Connection) -> None:
        actions.add(
            connection,
            InvitationBatch(tenant_id="t", project_id="p", content=CONTENT, invitations=()),
            profile(relay_id),
            fallback_after=None,
        )
        batch = connection.execute(select(Batch.id).limit(1)).scalar_one()
        bare(connection, ({**row, "batch_id": batch} for row in rows))

    send = rolled_back(lambda connection: ours(connection, relay_id, COUNT))
    pairs = [(timed(send), timed(rolled_back(peer))) for _round in range(ROUNDS)]
    mine, theirs = median(pair[0] for pair in pairs), median(pair[1] for pair in pairs)
    few = peak_memory(rolled_back(lambda connection: ours(connection, relay_id, COUNT // 20)))
    many = peak_memory(rolled_back(lambda connection: ours(connection, relay_id, COUNT // 2)))
    return [
        {
            "id": "P6",
            "what": f"taking in {COUNT:,} invitations, {name}, against a bare bulk insert",
            "ours": f"{mine:.2f} s",
            "peer": f"{theirs:.2f} s",
            "ratio": mine / theirs,
            "bar": "<= 2.0",
        },
        {
            "id": "P6",
            "what": f"its memory, {name}: {COUNT // 2:,} invitations against {COUNT // 20:,}",
            "ours": f"{many / 2**20:.1f} MiB",
            "peer": f"{few / 2**20:.1f} MiB",
            "ratio": many / few,
            "bar": "<= 1.2",
        },
    ]


def run() -> list[dict[str, object]]:
    """Return the lines of the table."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        lines = measure(create_engine(f"sqlite:///{folder / 'intake.sqlite3'}"), "SQLite")
        try:
            server = stack.enter_context(PostgreSQL())
        except pytest.skip.Exception:
            return lines
        url = stack.enter_context(server.fresh())
        engine = create_engine(url)
        lines += measure(engine, "PostgreSQL")
        engine.dispose()
        return lines


if __name__ == "__main__":
    for line in run():
        print(line)
