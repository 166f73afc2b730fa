"""What a worker's drains need of the database and of the host, behind one door.

Every method blocks; drains call them through `own_smtp.desk`, which runs them in threads, of another process where it
can. So what goes in and out are plain values, and nothing here sends any invitation.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from own_smtp import ledger, relays
from own_smtp.books import Books, Closing, Turn, Wanted
from own_smtp.config import Settings
from own_smtp.due import find_due
from own_smtp.errors import SecretError
from own_smtp.ledger import Settlement, Taken
from own_smtp.notices import Kind, tell_now, write_notice
from own_smtp.profiles import RelayProfile
from own_smtp.states import PauseReason, Route
from own_smtp.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Opened:
    """A relay that a drain may serve now."""

    asked_at: float
    """The machine's clock before the lease was taken."""
    taken: Taken
    profile: RelayProfile
    """Where to connect: the relay, or the platform's own server in its place."""
    settings: Settings
    """Those in force: an administrator's policy holds from the next drain on, a slice later at most."""


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
            taken = ledger.take_lease(
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
                profile = relays.load_profile(connection, relay_id, around.vault)
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
                is_news = relays.pause(connection, relay_id, PauseReason.SECRET_UNREADABLE, problem, None)
            if is_news:
                write_notice(connection, relay_id, Kind.PAUSED)
            ledger.give_back_lease(connection, taken, {})
            ledger.close_journal(connection, taken.token)
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
