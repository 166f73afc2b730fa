"""What a worker's drains need of the database and of the host, behind one door.

Every method blocks; drains call them through `own_smtp.desk`, which runs them in threads, of another process where it
can. So what goes in and out are plain values, and nothing here sends any invitation.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from own_smtp.delivery.bookkeeping.drain_records import Books
from own_smtp.delivery.contract import Closing, Opened, Turn, Wanted
from own_smtp.delivery.due import find_due
from own_smtp.errors import SecretError
from own_smtp.operations.relay_events import Kind, tell_now, write_notice
from own_smtp.outbox.leases import give_back_lease, take_lease
from own_smtp.outbox.settlements import close_journal
from own_smtp.outbox.values import Settlement, Taken
from own_smtp.relays import lifecycle, store
from own_smtp.runtime import Surroundings
from own_smtp.states import PauseReason, Route


class Office:
    """The books of all drains of one worker, by the tokens of their leases."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._books: dict[int, Books] = {}

    def open(self, relay_id: int, route: Route, journal: str) -> Opened | None:
        """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

        `journal` is the name of the drain's journal, which is there already.
        """
        around, asked_at = self._around, self._around.clock()
        with around.engine.begin() as connection:
            taken = take_lease(
                connection,
                relay_id,
                owner=socket.gethostname(),
                machine=around.machine,
                journal=journal,
                duration=around.settings.lease,
                route=route,
            )
        if taken is None:
            return None
        try:
            with around.engine.connect() as connection:
                around = replace(around, settings=around.policy.in_force(connection))
                profile = store.load_profile(connection, relay_id, around.vault)
        except SecretError as error:
            self._give_up(taken, str(error))
            return None
        server = around.platform(profile) if profile is not None and route is Route.PLATFORM else profile
        if server is None:
            self._give_up(taken, None)
            return None
        self._books[taken.token] = Books(around, taken, server, route)
        return Opened(asked_at, taken, server, around.settings)

    def _give_up(self, taken: Taken, problem: str | None) -> None:
        """The relay is gone, or its password cannot be read: nothing was claimed."""
        relay_id, is_news = taken.relay_id, False
        with self._around.engine.begin() as connection:
            if problem is not None:
                is_news = lifecycle.pause(connection, relay_id, PauseReason.SECRET_UNREADABLE, problem, None)
            if is_news:
                write_notice(connection, relay_id, Kind.PAUSED)
            give_back_lease(connection, taken, {})
            close_journal(connection, taken.token)
        if is_news:
            tell_now(self._around, relay_id, Kind.PAUSED)

    def write_turn(
        self, token: int, settlements: Sequence[Settlement], wanted: Wanted, pace: dict[str, Any] | None
    ) -> Turn:
        """See `Books.write_turn`."""
        return self._books[token].write_turn(settlements, wanted, pace)

    def write_end(self, token: int, settlements: Sequence[Settlement], closing: Closing) -> None:
        """See `Books.write_end`."""
        self._books[token].write_end(settlements, closing)

    def tell_some(self, token: int) -> list[int] | None:
        """See `News.tell_some`. May run beside all other calls."""
        return self._books[token].tell_some()

    def tell_rest(self, token: int) -> None:
        """See `Books.tell_rest`."""
        self._books[token].tell_rest()

    def close(self, token: int) -> None:
        """Forget a drain's books. The last call for it."""
        del self._books[token]

    def find_due(self, most: int) -> list[int]:
        """Return relays that are due and that nobody drains."""
        return find_due(self._around, most)

    def run_urgent(self) -> None:
        """Send confirmations, and run tests of servers."""
        self._around.urgent()
