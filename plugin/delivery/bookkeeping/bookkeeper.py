"""What a worker's drains need of the database and of the host, behind one interface.

Every method blocks. Drains call them through `own_smtp.delivery.bookkeeping.channel`, which runs them in threads, in
another process where it can. So arguments and results are plain values, and nothing here sends an invitation.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from own_smtp.delivery.bookkeeping.drain_records import DrainRecords
from own_smtp.delivery.contract import ClaimRequest, Closing, Opened, Turn
from own_smtp.delivery.due import find_due
from own_smtp.errors import SecretError
from own_smtp.operations.relay_events import RelayEventKind, notify_now, write_notice
from own_smtp.outbox.last_answers import last_answers
from own_smtp.outbox.leases import give_back_lease, take_lease
from own_smtp.outbox.settlements import close_journal
from own_smtp.outbox.values import Settlement, Taken
from own_smtp.relays import lifecycle, store
from own_smtp.runtime import Runtime
from own_smtp.states import PauseReason, Route


class Bookkeeper:
    """The books of all drains of one worker, by the tokens of their leases."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._books: dict[int, DrainRecords] = {}

    def open(self, relay_id: int, route: Route, journal: str) -> Opened | None:
        """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

        `journal` is the name of the drain's journal, which is there already.
        """
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
        self._books[taken.token] = DrainRecords(runtime, taken, server, route)
        return Opened(asked_at, taken, server, runtime.settings, answers, accepted)

    def _give_up(self, taken: Taken, problem: str | None) -> None:
        """The relay is gone, or its password cannot be read: nothing was claimed."""
        relay_id, is_new = taken.relay_id, False
        with self._runtime.engine.begin() as connection:
            if problem is not None:
                is_new = lifecycle.pause(connection, relay_id, PauseReason.SECRET_UNREADABLE, problem, None)
            if is_new:
                write_notice(connection, relay_id, RelayEventKind.PAUSED)
            give_back_lease(connection, taken, {})
            close_journal(connection, taken.token)
        if is_new:
            notify_now(self._runtime, relay_id, RelayEventKind.PAUSED)

    def write_turn(
        self, token: int, settlements: Sequence[Settlement], wanted: ClaimRequest, pace: dict[str, Any] | None
    ) -> Turn:
        """See `Books.write_turn`."""
        return self._books[token].write_turn(settlements, wanted, pace)

    def write_end(self, token: int, settlements: Sequence[Settlement], closing: Closing) -> None:
        """See `Books.write_end`."""
        self._books[token].write_end(settlements, closing)

    def notify_some(self, token: int) -> list[int] | None:
        """See `DrainEvents.notify_some`. May run beside all other calls."""
        return self._books[token].notify_some()

    def notify_rest(self, token: int) -> None:
        """See `Books.notify_rest`."""
        self._books[token].notify_rest()

    def close(self, token: int) -> None:
        """Forget a drain's books. The last call for it."""
        del self._books[token]

    def find_due(self, most: int) -> list[int]:
        """Return relays that are due and that nobody drains."""
        return find_due(self._runtime, most)

    def run_urgent(self) -> None:
        """Send confirmations, and run tests of servers."""
        self._runtime.urgent()
