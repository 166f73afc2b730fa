"""The outbox without a drain: relays, batches and tokens, for tests of its records and their writers."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

from sqlalchemy import Connection, Engine, insert, select, update

from own_smtp.hooks.events import Content, Invitation, InvitationBatch, Receipt
from own_smtp.outbox import actions, closing, leases, settlements
from own_smtp.outbox.journal import Machine
from own_smtp.outbox.journal_lines import Findings
from own_smtp.outbox.settlements import Claimed, Taken
from own_smtp.outbox.values import Settlement
from own_smtp.smtp.replies.outcomes import Stage, classify
from own_smtp.smtp.values import Identity, Limits, Outcome, RelayProfile, Reply
from own_smtp.states import Security, State
from own_smtp.storage.clock import read_clock
from own_smtp.storage.engine import for_workers
from own_smtp.storage.models import Attempt, Batch, Relay
from own_smtp.storage.models import Invitation as InvitationRow

LEASE = timedelta(seconds=30)
TENANT = "acme"
CONTENT = Content(subject="Hello", text="Hello {NAME}")

ACCEPTED = classify(Stage.MESSAGE, Reply(code=250, text="queued as 1", enhanced="2.0.0"))
REFUSED = classify(Stage.RCPT, Reply(code=550, text="no such user", enhanced="5.1.1"))
DEFERRED = classify(Stage.RCPT, Reply(code=450, text="greylisted", enhanced="4.2.0"))


@dataclass
class Outbox:
    """Each method is one transaction."""

    hosts: Engine
    engine: Engine
    machine: Machine

    @classmethod
    def at(cls, engine: Engine, folder: Path) -> Outbox:
        return cls(engine, for_workers(engine), Machine.at(folder))

    def __call__(self, function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        """Call a function with a connection inside a transaction, as hosts do, and commit."""
        with self.hosts.begin() as connection:
            return function(connection, *arguments, **keywords)

    def relay(self, **values: Any) -> int:
        row = {
            "tenant_id": TENANT,
            "label": "Acme",
            "host": "mail.acme.example",
            "port": 587,
            "sender_address": "research@acme.example",
            "state": "active",
        }
        return int(self(leases.inserted_id, insert(Relay).values(**row | values)))

    def send(self, relay_id: int, count: int | Iterable[Invitation] = 1, **values: Any) -> Receipt:
        receipt: Receipt = self(add, relay_id, count, **values)
        return receipt

    def change(self, model: Any, row_id: int, **values: Any) -> None:
        key = model.__table__.primary_key.columns[0]
        self(Connection.execute, update(model).where(key == row_id).values(**values))

    # A drain's transactions

    def take(self, relay_id: int, machine: Machine | None = None) -> Taken | None:
        with self.engine.begin() as connection:
            return leases.take_lease(
                connection,
                relay_id,
                owner="test",
                machine=machine or self.machine,
                journal=secrets.token_hex(16),
                duration=LEASE,
            )

    def taken(self, relay_id: int) -> Taken:
        """Take the lease of a relay that nobody drains."""
        taken = self.take(relay_id)
        assert taken is not None
        return taken

    def now(self) -> datetime:
        """Return the database's time."""
        with self.engine.connect() as connection:
            return read_clock(connection)

    def told(self, ids_by_state: dict[State, list[int]]) -> None:
        with self.engine.begin() as connection:
            settlements.mark_notified(connection, ids_by_state)

    def claim(self, taken: Taken, count: int = 100, after_batch: int = 0) -> list[Claimed]:
        with self.engine.begin() as connection:
            leases.renew_lease(connection, taken, LEASE, None)
            return settlements.claim(connection, taken, count, after_batch=after_batch).invitations

    def settle(self, taken: Taken, ids: Iterable[int], outcome: Outcome = ACCEPTED, *, tells_host: bool = True) -> None:
        with self.engine.begin() as connection:
            leases.lock_leases(connection, [taken.relay_id])
            now = read_clock(connection)
            batches = batches_of(connection)
            items = [settlement(id_, outcome, now, batch_id=batches.get(id_, 0)) for id_ in ids]
            settlements.settle(connection, taken, items, tells_host=tells_host)

    def end(self, taken: Taken) -> None:
        with self.engine.begin() as connection:
            settlements.give_back_lease(connection, taken, {})
            closing.close_journal(connection, taken.token, Findings, is_counted=True)
            actions.sweep_cancelled(connection, taken.relay_id)
            settlements.finish_batches(connection, taken.relay_id)

    # Records

    def states(self) -> dict[str, int]:
        return dict(Counter(self.column(InvitationRow.state)))

    def column(self, column: Any) -> list[Any]:
        """Return all values of a column, in the order of the rows' ids."""
        with self.engine.connect() as connection:
            return list(connection.scalars(select(column).order_by(column.class_.__table__.primary_key.columns[0])))

    def batch_states(self) -> list[str]:
        return self.column(Batch.state)

    def attempts(self) -> list[str]:
        return self.column(Attempt.state)


def add(connection: Connection, relay_id: int, count: int | Iterable[Invitation] = 1, **values: Any) -> Receipt:
    """Add a batch of so many invitations, or of the given ones."""
    invitations = invited(count) if isinstance(count, int) else count
    batch = InvitationBatch(
        **{"tenant_id": TENANT, "project_id": "survey", "content": CONTENT, "invitations": invitations} | values
    )
    return actions.add(connection, batch, profile(relay_id), fallback_after=None)


def invited(count: int) -> Iterable[Invitation]:
    return (
        Invitation(reference=str(number), address=f"user{number}@example.org", values={"NAME": f"No. {number}"})
        for number in range(1, count + 1)
    )


def profile(relay_id: int) -> RelayProfile:
    return RelayProfile(
        relay_id=relay_id,
        tenant_id=TENANT,
        label="Acme",
        host="mail.acme.example",
        port=587,
        security=Security.STARTTLS,
        credentials=None,
        fingerprint=None,
        identity=Identity(address="research@acme.example"),
        envelope_sender="research@acme.example",
        ehlo_name=None,
        limits=Limits(),
        revision=1,
    )


def batches_of(connection: Connection) -> dict[int, int]:
    """Return the batch of each invitation."""
    return {row.id: row.batch_id for row in connection.execute(select(InvitationRow.id, InvitationRow.batch_id))}


def settlement(
    invitation_id: int, outcome: Outcome, now: datetime, wait: timedelta = timedelta(minutes=5), batch_id: int = 1
) -> Settlement:
    again = {"next_attempt_at": now + wait, "first_failure_at": now} if outcome.state is State.QUEUED else {}
    return Settlement.of(invitation_id, batch_id, outcome, now.timestamp(), **again)


def at_once(*actions: Callable[[], Any]) -> list[Any]:
    """Run actions in threads that start together, and return their results; the first error is raised."""
    barrier = Barrier(len(actions))

    def run(action: Callable[[], Any]) -> Any:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as threads:
        return [future.result() for future in [threads.submit(run, action) for action in actions]]
