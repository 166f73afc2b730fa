"""What a drain tells the host, beside its books: a slow host slows no delivery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from threading import Lock

from sqlalchemy.exc import DBAPIError

from own_smtp.delivery.bookkeeping.status_events import note_notified, notify_host
from own_smtp.delivery.contract import BatchInfo
from own_smtp.hooks.events import InvitationStatus
from own_smtp.operations import json_logs
from own_smtp.outbox.values import Claimed, Settlement
from own_smtp.runtime import Runtime

log = logging.getLogger(__name__)

AT_A_TIME = 1000
MOST = 20_000
"""Changes that wait in memory for a slow host; the dispatcher tells it the rest from the database."""


class DrainEvents:
    """Turns settlements into the contract's words and hands them to the host, in order.

    As long as the drain has its journal, that vouches for what the host must still hear: a line says what it heard, and
    a recovery tells it the rest. The database is told only of what the host could not take, and at the end. That saves
    a write to each invitation.

    `notify_some` is for another thread than the rest.
    """

    def __init__(self, runtime: Runtime, relay_id: int, info: Callable[[int], BatchInfo]) -> None:
        self._runtime = runtime
        self._relay_id = relay_id
        self._held: dict[int, Claimed] = {}
        self._settled = 0
        self._info = info
        self._lock = Lock()  # for all that follows
        self._waiting: list[InvitationStatus] = []
        self._telling: list[InvitationStatus] = []
        self._untold: list[int] = []
        self._left: list[int] | None = None
        """What the database must know at the end; `None` before it."""
        self._told_late: list[InvitationStatus] = []
        """What was told after that."""

    def hold(self, claimed: Iterable[Claimed]) -> set[int]:
        """Remember invitations until they are settled; return the batches of all that are remembered."""
        self._held.update((invitation.id, invitation) for invitation in claimed)
        return {invitation.batch_id for invitation in self._held.values()}

    def still_held(self, settlements: Sequence[Settlement]) -> set[int]:
        """Return the ids of those that were not taken by `spread` yet."""
        return {item.invitation_id for item in settlements} & self._held.keys()

    def count_settled(self, settlements: Sequence[Settlement]) -> int:
        """Return how many are settled once these are, too; each counts once, however often it is written."""
        return self._settled + len(self.still_held(settlements))

    def spread(self, settlements: Sequence[Settlement]) -> bool:
        """Take what was settled and committed, and pass over what was taken already.

        Return whether something waits to be told.
        """
        news = [(item, claimed) for item in settlements if (claimed := self._held.get(item.invitation_id))]
        wants_changes = self._runtime.listener.wants_changes
        changes = [self._status(item, claimed) for item, claimed in news] if wants_changes else []
        if json_logs.wants_attempts(item.state for item, _claimed in news):
            self._log(news)
        with self._lock:
            if len(self._waiting) > MOST and self._left is None:
                self._untold += [change.invitation_id for change in changes]
            else:
                self._waiting += changes
            for item, _claimed in news:
                del self._held[item.invitation_id]
            self._settled += len(news)
            return bool(self._waiting)

    # What the database must know

    def take_unnotified(self) -> list[int]:
        """Return the invitations that the dispatcher must tell of, because the host could not be told here."""
        with self._lock:
            unnotified, self._untold = self._untold, []
        return unnotified

    def give_back(self, unnotified: list[int]) -> None:
        """They could not be written; try again in the next turn."""
        with self._lock:
            self._untold = unnotified + self._untold

    def close(self) -> list[int]:
        """Return all that the host has not heard of: the journal will vouch for it no longer, the database must."""
        with self._lock:
            if self._left is None:
                waiting = [change.invitation_id for change in self._telling + self._waiting]
                self._left = self._untold + waiting
            return self._left

    # What the host is told

    def notify_some(self) -> list[int] | None:
        """Tell the host what waits longest. Return what it heard, for the journal; `None` when nothing waits.

        What the host could not take is told by the dispatcher.
        """
        changes = self._take_next()
        if not changes:
            return None
        could = notify_host(self._runtime, changes)
        ids = [change.invitation_id for change in changes]
        with self._lock:
            self._telling = []
            if self._left is not None:
                self._told_late += changes if could else []
            elif not could:
                self._untold += ids
        return ids if could else []

    def notify_rest(self) -> None:
        """The database knows: tell the rest, and note there what was told."""
        self._note(self._told_late)
        while changes := self._take_next():
            if notify_host(self._runtime, changes):
                self._note(changes)

    def _take_next(self) -> list[InvitationStatus]:
        with self._lock:
            self._telling, self._waiting = self._waiting[:AT_A_TIME], self._waiting[AT_A_TIME:]
            return self._telling

    def _note(self, told: list[InvitationStatus]) -> None:
        try:
            note_notified(self._runtime, told)
        except DBAPIError as error:
            log.warning("It could not be noted that the host was told: %s", type(error).__name__)

    def _log(self, settled: Iterable[tuple[Settlement, Claimed]]) -> None:
        for item, claimed in settled:
            json_logs.note_attempt(
                relay_id=self._relay_id,
                batch_id=claimed.batch_id,
                invitation_id=claimed.id,
                state=item.state,
                stage=item.stage,
                code=item.code,
                enhanced=item.enhanced,
                route=item.route,
            )

    def _status(self, item: Settlement, claimed: Claimed) -> InvitationStatus:
        batch = self._info(claimed.batch_id)
        return InvitationStatus(
            tenant_id=batch.tenant_id,
            project_id=batch.project_id,
            batch_id=claimed.batch_id,
            reference=claimed.reference,
            address=claimed.address,
            state=item.state,
            changed_at=datetime.fromtimestamp(item.at, UTC),
            attempts=claimed.attempts + 1,
            message_id=batch.message_id(claimed.id),
            stage=item.stage,
            reply_code=item.code,
            enhanced_code=item.enhanced,
            reply_text=item.words,
            route=item.route,
            invitation_id=item.invitation_id,
        )
