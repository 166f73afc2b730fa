"""Status events of invitations that a plugin delivers, stored by participant."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sqlalchemy import select

from survey_host.extensions import db
from survey_host.models import Participant, SendRun

if TYPE_CHECKING:
    from own_smtp.hooks import InvitationStatus

PREFIX = "participant-"


def reference_of(participant_id: int) -> str:
    """Return a participant's reference in a batch."""
    return f"{PREFIX}{participant_id}"


def participant_id_of(reference: str) -> int | None:
    """Return the id of a reference; `None` for a reference that is not the platform's."""
    number = reference.removeprefix(PREFIX)
    return int(number) if reference.startswith(PREFIX) and number.isdecimal() else None


def record_changes(changes: Sequence[InvitationStatus]) -> None:
    """Store the changes and commit. Repeated or late events, or those about deleted people, change nothing."""
    try:
        people = _people(changes)
        for change in changes:
            participant, batch_id = people.get(participant_id_of(change.reference), (None, None))
            if participant is not None and _is_news(participant, batch_id, change):
                _note(participant, change)
        db.session.commit()
    except BaseException:
        db.session.rollback()
        raise


def _people(changes: Sequence[InvitationStatus]) -> dict[int | None, tuple[Participant, int | None]]:
    """Return the participants with the plugin's id of the batch of their last mail."""
    ids = {participant_id_of(change.reference) for change in changes} - {None}
    query = select(Participant, SendRun.batch_id).join(SendRun, Participant.run_id == SendRun.id)
    return {person.id: (person, batch) for person, batch in db.session.execute(query.where(Participant.id.in_(ids)))}


def _is_news(participant: Participant, batch_id: int | None, change: InvitationStatus) -> bool:
    if (str(participant.survey_id), batch_id) != (change.project_id, change.batch_id):
        return False
    return participant.mail_changed_at is None or change.changed_at >= participant.mail_changed_at


def _note(participant: Participant, change: InvitationStatus) -> None:
    participant.mail_state = change.state
    participant.mail_changed_at = change.changed_at
    participant.mail_note = words_of(change) or None


def words_of(status: InvitationStatus) -> str:
    """Return the server's reply with its codes, or a description of the error; empty without either."""
    parts = (status.reply_code, status.enhanced_code, status.reply_text)
    return " ".join(str(part) for part in parts if part)
