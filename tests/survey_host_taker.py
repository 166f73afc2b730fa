"""A plugin of the example platform that accepts invitations and notifications."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Flask

from own_smtp.hooks import (
    Estimate,
    Invitation,
    InvitationBatch,
    InvitationStatus,
    LocalRefusal,
    Receipt,
    SenderChoice,
    State,
    hookimpl,
)
from tests.survey_host_kit import (
    add_plugin,
)

FINISH = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
"""When everything is delivered."""


@dataclass
class Taker:
    """A plugin that accepts batches and remembers them."""

    refuse: frozenset[str] = frozenset()
    listed: int = 1000
    """How many refusals a receipt lists."""
    taken: list[tuple[InvitationBatch, list[Invitation]]] = field(default_factory=list)
    error: Exception | None = None
    offers: Sequence[SenderChoice] = ()

    @hookimpl
    def survey_send_invitations(self, batch: InvitationBatch) -> Receipt | None:
        invitations = list(batch.invitations)
        if self.error is not None:
            raise self.error
        self.taken.append((batch, invitations))
        refused = [
            LocalRefusal(reference=item.reference, address=item.address, reason="No such domain.")
            for item in invitations
            if item.address in self.refuse
        ]
        return Receipt(
            batch_id=len(self.taken),
            taken=len(invitations) - len(refused),
            refused=refused[: self.listed],
            refused_count=len(refused),
            finishes_at=FINISH,
            waits_for="The server is paused.",
        )

    @hookimpl
    def survey_senders(self, tenant_id: str, project_id: str) -> Sequence[SenderChoice]:
        return self.offers

    @hookimpl
    def survey_estimate(
        self, tenant_id: str, project_id: str, sender: str | None, count: int, expires_at: datetime | None
    ) -> Estimate | None:
        return Estimate(count=count, text=f"{count} by {sender}, until about tomorrow", is_late=True)

    @hookimpl
    def survey_invitation_statuses(
        self, tenant_id: str, project_id: str, references: Sequence[str] | None
    ) -> Iterable[InvitationStatus]:
        for number, (_batch, invitations) in reversed(list(enumerate(self.taken, start=1))):
            for item in invitations:
                if item.address not in self.refuse:
                    yield status(item.reference, State.ACCEPTED, batch_id=number)


def status(reference: str, state: State, *, batch_id: int = 1, seconds: int = 0, **more: Any) -> InvitationStatus:
    facts: dict[str, Any] = {
        "tenant_id": "1",
        "project_id": "1",
        "batch_id": batch_id,
        "reference": reference,
        "address": "x@r.example",
        "state": state,
        "changed_at": FINISH + timedelta(seconds=seconds),
        "attempts": 1,
        "message_id": "<x@r.example>",
    }
    return InvitationStatus(**facts | more)


def with_plugin(app: Flask, **options: Any) -> Taker:
    taker = Taker(**options)
    add_plugin(app, taker)
    return taker
