"""Adding participants, changing their address, and erasing them."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import delete, func, select

from survey_host import plugins
from survey_host.extensions import db
from survey_host.models import Account, ImportDraft, Participant, Response, Survey, Tenant
from survey_host.people_csv import Person, Reading, Taken, read


def read_file(survey: Survey, data: bytes) -> Reading:
    """Read a CSV file and check it against the participants of `survey`. Raises `people_csv.FileError`."""
    rows = db.session.execute(select(Participant.email, Participant.token).where(Participant.survey_id == survey.id))
    pairs = [tuple(row) for row in rows]
    return read(data, Taken.by([email for email, _ in pairs], [token for _, token in pairs]), survey.language)


def add_all(survey: Survey, people: Iterable[Person]) -> None:
    """Add good rows; the caller commits."""
    db.session.add_all(_participant(survey, person) for person in people)
    db.session.flush()


def _participant(survey: Survey, person: Person) -> Participant:
    fields = {"token": person.token} if person.token else {}
    return Participant(
        survey_id=survey.id,
        first_name=person.first_name,
        last_name=person.last_name,
        email=person.email,
        language=person.language,
        attributes=dict(person.attributes),
        **fields,
    )


def is_taken(survey: Survey, email: str, participant: Participant | None = None) -> bool:
    """Return whether another participant of the survey has this address, ignoring case."""
    query = select(Participant.id).where(
        Participant.survey_id == survey.id, func.lower(Participant.email) == email.lower()
    )
    others = set(db.session.scalars(query)) - {participant.id if participant else None}
    return bool(others)


def move_to(participant: Participant, email: str) -> None:
    """Change the address. The new one counts as not invited."""
    if participant.email != email:
        participant.email = email
        participant.invited_at = participant.run_id = None
        participant.mail_state = participant.mail_note = participant.mail_changed_at = None
        participant.reminders = 0


def keep_draft(survey: Survey, account: Account, data: bytes) -> None:
    """Store an upload until its owner decides; it replaces an earlier one."""
    drop_draft(survey, account)
    db.session.add(ImportDraft(survey_id=survey.id, account_id=account.id, data=data))


def draft_of(survey: Survey, account: Account) -> ImportDraft | None:
    """Return the stored upload."""
    return db.session.scalar(
        select(ImportDraft).where(ImportDraft.survey_id == survey.id, ImportDraft.account_id == account.id)
    )


def drop_draft(survey: Survey, account: Account) -> None:
    """Delete the upload."""
    db.session.execute(
        delete(ImportDraft).where(ImportDraft.survey_id == survey.id, ImportDraft.account_id == account.id)
    )


def forget(tenant: Tenant, email: str) -> int:
    """Delete a person with all answers from all of a tenant's surveys; return the number of surveys. The caller
    commits.
    """
    query = select(Participant).join(Survey, Survey.id == Participant.survey_id)
    found = db.session.scalars(
        query.where(Survey.tenant_id == tenant.id, func.lower(Participant.email) == email.lower())
    ).all()
    for participant in found:
        db.session.execute(delete(Response).where(Response.participant_id == participant.id))
        db.session.delete(participant)
    plugins.current().person_deleted(str(tenant.id), email)
    return len(found)
