"""What a drain tells the host, in the background: a slow host slows no delivery."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress

from sqlalchemy.exc import DBAPIError

from own_smtp import logs
from own_smtp.composer import Composer
from own_smtp.errors import JournalError
from own_smtp.hooks.events import InvitationStatus
from own_smtp.journal import JournalWriter
from own_smtp.ledger import Claimed, Settlement
from own_smtp.surroundings import Surroundings
from own_smtp.telling import note_told, tell

log = logging.getLogger(__name__)

AT_A_TIME = 1000
MOST = 20_000
"""Changes that wait in memory for a slow host; the dispatcher tells it the rest from the database."""


class News:
    """Turns settlements into the contract's words and hands them to the host, in order.

    As long as the drain has its journal, that vouches for what the host must still hear: a line says what it heard, and
    a recovery tells it the rest. The database is told only of what the host could not take, and at the end. That saves
    a write to each invitation.
    """

    def __init__(self, around: Surroundings, composer: Composer, journal: JournalWriter, relay_id: int) -> None:
        self._around = around
        self._relay_id = relay_id
        self._composer = composer
        self._journal = journal
        self._held: dict[int, Claimed] = {}
        self._waiting: list[InvitationStatus] = []
        self._telling: list[InvitationStatus] = []
        self._untold: list[int] = []
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        self._noted = asyncio.Event()

    def hold(self, claimed: Iterable[Claimed]) -> set[int]:
        """Remember invitations until they are settled; return the batches of all that are remembered."""
        self._held.update((invitation.id, invitation) for invitation in claimed)
        return {invitation.batch_id for invitation in self._held.values()}

    def spread(self, settlements: Sequence[Settlement]) -> None:
        """Tell what was settled and committed, without waiting for it."""
        held = [self._held.pop(item.invitation_id) for item in settlements]
        if logs.wants_attempts(item.state for item in settlements):
            self._log(settlements, held)
        if not self._around.listener.wants_changes:
            return
        if len(self._waiting) > MOST and not self._is_closing:
            self._untold += [item.invitation_id for item in settlements]
            return
        self._waiting += [self._status(*pair) for pair in zip(settlements, held, strict=True)]
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._tell_all())

    # What the database must know

    def take_untold(self) -> list[int]:
        """Return the invitations that the dispatcher must tell of, because the host could not be told here."""
        untold, self._untold = self._untold, []
        return untold

    def give_back(self, untold: list[int]) -> None:
        """They could not be written; try again in the next turn."""
        self._untold = untold + self._untold

    def close(self) -> list[int]:
        """Return all that the host has not heard of: the journal will vouch for it no longer, the database must."""
        self._is_closing = True
        return self.take_untold() + [change.invitation_id for change in self._telling + self._waiting]

    async def finish(self) -> None:
        """The database knows: tell the rest, and note there what was told."""
        self._noted.set()
        if self._task is not None:
            await self._task

    def abandon(self) -> None:
        """The database could not be reached: the recovery will tell the rest."""
        if self._task is not None:
            self._task.cancel()

    # In the background

    async def _tell_all(self) -> None:
        while self._waiting:
            self._telling, self._waiting = self._waiting[:AT_A_TIME], self._waiting[AT_A_TIME:]
            could = await asyncio.to_thread(tell, self._around, self._telling)
            told, self._telling = self._telling, []
            if self._is_closing:
                await self._noted.wait()
                if could:
                    await asyncio.to_thread(self._note, told)
            elif could:
                # Without this line the host only hears of them once more, should the process die.
                with suppress(JournalError):
                    self._journal.told([change.invitation_id for change in told])
            else:
                self._untold += [change.invitation_id for change in told]

    def _note(self, told: list[InvitationStatus]) -> None:
        try:
            note_told(self._around, told)
        except DBAPIError as error:
            log.warning("It could not be noted that the host was told: %s", type(error).__name__)

    def _log(self, settlements: Sequence[Settlement], held: Sequence[Claimed]) -> None:
        for item, claimed in zip(settlements, held, strict=True):
            logs.note_attempt(
                relay_id=self._relay_id,
                batch_id=claimed.batch_id,
                invitation_id=claimed.id,
                state=item.state,
                stage=item.outcome.stage,
                reply=item.outcome.reply,
                route=item.route,
            )

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
