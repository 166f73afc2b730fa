"""One drain's records: each turn is a transaction that renews the lease, settles what came back and claims more.

Everything here blocks. Drains get at it through `own_smtp.delivery.bookkeeping.bookkeeper`.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from threading import Lock
from typing import Any

from sqlalchemy import Connection

from own_smtp.delivery.bookkeeping.addresser import Addresser
from own_smtp.delivery.bookkeeping.drain_events import DrainEvents
from own_smtp.delivery.contract import Closing, Learned, Load, Turn, TurnRequest
from own_smtp.delivery.retry_policy import PROBES, Backoff
from own_smtp.errors import LeaseLostError
from own_smtp.operations.relay_events import RelayEventKind, notify_now, write_notice
from own_smtp.outbox import actions, leases
from own_smtp.outbox.claims import claim, release
from own_smtp.outbox.closing import close_journal, is_open
from own_smtp.outbox.journal import peek_journal
from own_smtp.outbox.leases import give_back_lease, lock_leases, renew_lease
from own_smtp.outbox.settlements import finish_batches, mark_unnotified, queue_unbegun, settle
from own_smtp.outbox.values import Claim, Settlement, Taken
from own_smtp.relays import lifecycle
from own_smtp.runtime import Runtime
from own_smtp.smtp.values import Outcome, RelayProfile
from own_smtp.states import Route
from own_smtp.storage.clock import read_clock
from own_smtp.storage.models import Lease

log = logging.getLogger(__name__)


class DrainRecords:
    """What one drain reads from and writes to the database, and what the host is told of it.

    Whatever is raised, nothing is forgotten: what could not be written is with the caller still, and may be written
    again although it was committed.
    """

    def __init__(
        self,
        runtime: Runtime,
        taken: Taken,
        profile: RelayProfile,
        route: Route = Route.RELAY,
    ) -> None:
        self._route = route
        self._runtime = runtime
        self._engine = runtime.engine
        self._taken = taken
        self._addresser = Addresser(profile)
        self._events = DrainEvents(runtime, taken.relay_id, self._addresser.info)
        self._notice: RelayEventKind | None = None
        self._lock = Lock()
        """Held by turns and by the end: a turn that hangs may still run when its drain gives up waiting for it."""
        self._has_ended = False

    def write_turn(self, request: TurnRequest) -> Turn:
        """See `Bookkeeper.write_turn`."""
        with self._lock:
            if self._has_ended:  # a turn that hung while its drain ended
                raise LeaseLostError(f"The drain of relay {self._taken.relay_id} has ended.")
            return self._write_turn(request)

    def _write_turn(self, request: TurnRequest) -> Turn:
        unnotified = self._events.take_unnotified()
        asked_at = self._runtime.clock()
        claimed: Claim | None = None
        learned: dict[int, Learned] = {}
        wanted = request.wanted
        try:
            with self._engine.begin() as connection:
                at = renew_lease(connection, self._taken, self._runtime.settings.lease, self._own(request.pace))
                # The journal vouches for the events of these: see `own_smtp.delivery.bookkeeping.drain_events`.
                settle(connection, self._taken, request.settlements, tells_host=False)
                mark_unnotified(connection, self._taken.token, unnotified)
                if wanted.count:
                    claimed = claim(
                        connection, self._taken, wanted.count, after_batch=wanted.after_batch, route=self._route
                    )
                    batches = {invitation.batch_id for invitation in claimed.invitations}
                    learned = self._addresser.learn(connection, batches - wanted.known)
        except BaseException:
            self._events.give_back(unnotified)
            raise
        has_events = self._events.spread(request.settlements)
        load = None if claimed is None else self._load(claimed, learned, wanted.known)
        return Turn(asked_at, at, load, has_events)

    def _load(self, claim: Claim, learned: dict[int, Learned], known: AbstractSet[int]) -> Load:
        in_hand = self._events.hold(claim.invitations)
        self._addresser.forget(in_hand | known)
        letters = [self._addresser.write(invitation) for invitation in claim.invitations]
        return Load(letters, learned, claim.revision, claim.is_active)

    def write_end(self, settlements: Sequence[Settlement], closing: Closing) -> bool:
        """See `Bookkeeper.write_end`."""
        with self._lock:
            self._has_ended = True
            with self._engine.begin() as connection:
                is_settled = self._write_end(connection, settlements, closing)
            self._events.spread(settlements)
            return is_settled

    def _write_end(self, connection: Connection, settlements: Sequence[Settlement], closing: Closing) -> bool:
        taken, wants_changes = self._taken, self._runtime.listener.wants_changes
        lock_leases(connection, [taken.relay_id])
        is_open_still = is_open(connection, taken.token)
        settle(connection, taken, settlements, tells_host=wants_changes)
        # Those may be settled by a turn whose answer got lost: then nothing but the journal vouches for their events.
        unheard = self._events.still_held(settlements) if wants_changes else set()
        mark_unnotified(connection, taken.token, [*self._events.close(), *sorted(unheard)])
        release(connection, taken.token, closing.released)
        queue_unbegun(connection, taken.token, closing.released, tells_host=wants_changes)
        is_settled = not is_open_still or self._end_drain(connection, settlements, closing)
        actions.sweep_cancelled(connection, taken.relay_id)
        finish_batches(connection, taken.relay_id)
        return is_settled

    def _end_drain(self, connection: Connection, settlements: Sequence[Settlement], closing: Closing) -> bool:
        """Give back the relay and close the journal. Not done twice: a recovery or an earlier call deletes its row."""
        taken = self._taken
        give_back_lease(connection, taken, self._lease_values(closing, read_clock(connection)))
        find_notice = self._note_fallback if self._route is Route.PLATFORM else self._move_relay
        self._notice = find_notice(connection, closing)
        if self._notice is not None:
            write_notice(connection, taken.relay_id, self._notice)
        # Closing may release more: only then is it certain what came back into cancelled batches.
        return close_journal(
            connection,
            taken.token,
            lambda: peek_journal(self._runtime.machine, taken.journal),
            is_counted=self._events.count_settled(settlements) == closing.ended,
        )

    def notify_some(self) -> list[int] | None:
        """See `DrainEvents.notify_some`. Call it in another thread than the rest."""
        return self._events.notify_some()

    def notify_rest(self) -> None:
        """See `Bookkeeper.notify_rest`."""
        self._events.notify_rest()
        if self._notice is not None:
            notify_now(self._runtime, self._taken.relay_id, self._notice)

    def _own(self, pace: dict[str, Any] | None) -> dict[str, Any] | None:
        """The pace of the platform's server says nothing of the relay's."""
        return pace if self._route is Route.RELAY else self._taken.pace

    def _lease_values(self, closing: Closing, now: datetime) -> dict[str, Any]:
        failure = closing.failure
        values: dict[str, Any] = {
            "drains": Lease.drains + 1,
            "drain_seconds": Lease.drain_seconds + (now - self._taken.at).total_seconds(),
        }
        if self._route is Route.PLATFORM:
            return values
        values |= {"pace": closing.pace, "wake_at": moment(closing.wake_at)}
        if closing.facts is not None:
            values |= closing.facts.columns(now)
        if failure is not None:
            values |= error_values(self._taken, failure, now, had_success=closing.last_success_at is not None)
        if closing.last_success_at is not None:
            values |= {"last_success_at": moment(closing.last_success_at), "fallback_since": None}
        if closing.is_unreachable and closing.pause is None:
            return values | self._rest(now, closing.ended)
        return values | ({"failures": 0, "failing_since": None} if closing.ended else {})

    def _rest(self, now: datetime, ended: int) -> dict[str, Any]:
        """The relay could not be reached: leave it alone for a while, one probe at a time."""
        settings = self._runtime.settings
        failures = 0 if ended else self._taken.failures
        backoff = Backoff(first=settings.reconnect, longest=settings.longest_reconnect)
        wake_at = now + backoff.delay(failures + 1, self._runtime.random)
        since = self._taken.failing_since if failures else None
        return {"failures": failures + 1, "failing_since": since or now, "wake_at": wake_at}

    def _move_relay(self, connection: Connection, closing: Closing) -> RelayEventKind | None:
        relay_id, outcome = self._taken.relay_id, closing.pause
        if outcome is not None and outcome.pause is not None:
            probe = PROBES.get(outcome.pause)
            probe_at = None if probe is None else read_clock(connection) + probe
            is_new = lifecycle.pause(connection, relay_id, outcome.pause, outcome.said, probe_at)
            return RelayEventKind.PAUSED if is_new else None
        if closing.last_success_at is not None and lifecycle.pass_probe(connection, relay_id):
            return RelayEventKind.RESUMED
        return None

    def _note_fallback(self, connection: Connection, closing: Closing) -> RelayEventKind | None:
        """Return that a fallback began: it must not hide that the relay is out of order."""
        if closing.failure is not None:
            log.error(
                "The platform's own mail could not take over from relay %s: %s",
                self._taken.relay_id,
                cause_of(closing.failure),
                extra={"relay_id": self._taken.relay_id},
            )
            actions.postpone_fallback(connection, self._taken.relay_id, self._runtime.settings.longest_reconnect)
        is_new = bool(closing.last_success_at) and leases.note_fallback(connection, self._taken.relay_id)
        return RelayEventKind.FALLING_BACK if is_new else None


def moment(seconds: float | None) -> datetime | None:
    """Return seconds since 1970 as an aware time."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def cause_of(failure: Outcome) -> str:
    """Return stage and codes, such as `auth 535 5.7.8`: what the same error has in common from one time to the next."""
    reply = failure.reply
    return " ".join(str(part) for part in (failure.stage, *((reply.code, reply.enhanced) if reply else ())) if part)


def error_values(taken: Taken, failure: Outcome, now: datetime, *, had_success: bool) -> dict[str, Any]:
    """Return the columns of the lease that say it. A message that was taken in between begins a new count."""
    cause = cause_of(failure)[:60]
    is_same = not had_success and taken.error_cause == cause and not _has_worked_since(taken)
    return {
        "last_error": f"{failure.stage}: {failure.said}"[:600],
        "last_error_at": now,
        "error_cause": cause,
        "error_count": taken.error_count + 1 if is_same else 1,
        "error_since": (taken.error_since if is_same else None) or now,
    }


def _has_worked_since(taken: Taken) -> bool:
    return (
        taken.last_success_at is not None
        and taken.error_since is not None
        and taken.last_success_at >= taken.error_since
    )
