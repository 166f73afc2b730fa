"""The bookkeeper that writes to the database and tells the host.

Drains call it through `own_smtp.delivery.bookkeeping.channel`, which runs it in threads, in another process where it
can. So arguments and results are plain values, and nothing here sends an invitation.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace

from own_smtp.delivery.bookkeeping.drain_records import DrainRecords
from own_smtp.delivery.contract import Bookkeeper, Closing, Opened, Turn, TurnRequest
from own_smtp.delivery.due import find_due
from own_smtp.errors import SecretError
from own_smtp.operations.relay_events import RelayEventKind, notify_now, write_notice
from own_smtp.outbox.closing import close_journal
from own_smtp.outbox.journal_lines import Findings
from own_smtp.outbox.last_answers import last_answers
from own_smtp.outbox.leases import give_back_lease, take_lease
from own_smtp.outbox.values import Settlement, Taken
from own_smtp.relays import lifecycle, store
from own_smtp.relays.urgent_tasks import UrgentTask
from own_smtp.runtime import Runtime
from own_smtp.states import PauseReason, Route


class DatabaseBookkeeper(Bookkeeper):
    """Keeps the records of all drains of one worker, by the tokens of their leases."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._records: dict[int, DrainRecords] = {}

    def open(self, relay_id: int, route: Route, journal: str) -> Opened | None:
        runtime, asked_at = self._runtime, self._runtime.clock()
        with runtime.engine.begin() as connection:
            taken = take_lease(
                connection,
                relay_id,
                owner=socket.gethostname(),
                machine=runtime.machine,
                journal=journal,
                duration=runtime.settings.lease,
                route=route,
            )
        if taken is None:
            return None
        try:
            with runtime.engine.connect() as connection:
                runtime = replace(runtime, settings=runtime.policy.in_force(connection))
                profile = store.load_profile(connection, relay_id, runtime.vault)
                accepted = lifecycle.accepted_refusal(connection, relay_id)
                answers = last_answers(connection, relay_id, runtime.settings.refusals_in_a_row)
        except SecretError as error:
            self._give_up(taken, str(error))
            return None
        server = runtime.platform(profile) if profile is not None and route is Route.PLATFORM else profile
        if server is None:
            self._give_up(taken, None)
            return None
        self._records[taken.token] = DrainRecords(runtime, taken, server, route)
        return Opened(asked_at, taken, server, runtime.settings, answers, accepted)

    def _give_up(self, taken: Taken, problem: str | None) -> None:
        """The relay is gone, or its password cannot be read: nothing was claimed."""
        relay_id, is_new = taken.relay_id, False
        with self._runtime.engine.begin() as connection:
            give_back_lease(connection, taken, {})  # first: leases are locked before relays everywhere
            if problem is not None:
                is_new = lifecycle.pause(connection, relay_id, PauseReason.SECRET_UNREADABLE, problem, None)
            if is_new:
                write_notice(connection, relay_id, RelayEventKind.PAUSED)
            close_journal(connection, taken.token, Findings, is_counted=True)
        if is_new:
            notify_now(self._runtime, relay_id, RelayEventKind.PAUSED)

    def write_turn(self, request: TurnRequest) -> Turn:
        return self._records[request.token].write_turn(request)

    def write_end(self, token: int, settlements: Sequence[Settlement], closing: Closing) -> bool:
        return self._records[token].write_end(settlements, closing)

    def notify_some(self, token: int) -> list[int] | None:
        return self._records[token].notify_some()

    def notify_rest(self, token: int) -> None:
        self._records[token].notify_rest()

    def close(self, token: int) -> None:
        self._records.pop(token, None)

    def find_due(self, most: int) -> list[int]:
        return find_due(self._runtime, most)

    def find_urgent(self, passed_over: frozenset[str]) -> list[UrgentTask]:
        return self._runtime.urgent.find(passed_over)

    def run_urgent(self, task: UrgentTask) -> None:
        self._runtime.urgent.run(task)
