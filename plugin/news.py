"""What a drain tells the host, in the background: a slow host slows no delivery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence

from sqlalchemy.exc import DBAPIError

from own_smtp.composer import Composer
from own_smtp.hooks.events import InvitationStatus
from own_smtp.ledger import Claimed, Settlement
from own_smtp.surroundings import Surroundings
from own_smtp.telling import tell

log = logging.getLogger(__name__)

AT_A_TIME = 1000
MOST = 20_000
"""Changes that wait in memory for a slow host; the dispatcher tells it the rest from the database."""


class News:
    """Turns settlements into the contract's words and hands them to the host, in order."""

    def __init__(self, around: Surroundings, composer: Composer) -> None:
        self._around = around
        self._composer = composer
        self._held: dict[int, Claimed] = {}
        self._waiting: list[InvitationStatus] = []
        self._task: asyncio.Task[None] | None = None

    def hold(self, claimed: Iterable[Claimed]) -> set[int]:
        """Remember invitations until they are settled; return the batches of all that are remembered."""
        self._held.update((invitation.id, invitation) for invitation in claimed)
        return {invitation.batch_id for invitation in self._held.values()}

    def spread(self, settlements: Sequence[Settlement]) -> None:
        """Tell what was settled and committed, without waiting for it."""
        held = [self._held.pop(item.invitation_id) for item in settlements]
        if not self._around.listener.wants_changes or len(self._waiting) > MOST:
            return
        self._waiting += [self._status(*pair) for pair in zip(settlements, held, strict=True)]
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._tell_all())

    async def finish(self) -> None:
        """Wait until all is told."""
        if self._task is not None:
            await self._task

    async def _tell_all(self) -> None:
        while self._waiting:
            some, self._waiting = self._waiting[:AT_A_TIME], self._waiting[AT_A_TIME:]
            await asyncio.to_thread(self._tell, some)

    def _tell(self, changes: list[InvitationStatus]) -> None:
        try:
            tell(self._around, changes)
        except DBAPIError as error:
            log.warning("It could not be noted that the host was told: %s", type(error).__name__)

    def _status(self, item: Settlement, claimed: Claimed) -> InvitationStatus:
        batch, reply = self._composer.batch(claimed.batch_id), item.outcome.reply
        return InvitationStatus(
            tenant_id=batch.tenant_id,
            project_id=batch.project_id,
            batch_id=claimed.batch_id,
            reference=claimed.reference,
            address=claimed.address,
            state=item.state,
            changed_at=item.at,
            attempts=claimed.attempts + 1,
            message_id=self._composer.message_id(claimed),
            stage=item.outcome.stage,
            reply_code=reply.code if reply else None,
            enhanced_code=reply.enhanced if reply else None,
            reply_text=item.outcome.words,
            route=item.route,
            invitation_id=item.invitation_id,
        )
