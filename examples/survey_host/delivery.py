"""The platform's own sending, by Flask-Mail, for runs that no plugin accepted.

It runs inside the request, one mail after the other, which is fine for the few hundred people of an example. Each mail
is marked before and settled after it is sent, so that a crash never sends one twice.
"""

from __future__ import annotations

from smtplib import SMTPDataError, SMTPException, SMTPRecipientsRefused
from typing import Any, cast

from flask import current_app
from flask_mail import Connection
from sqlalchemy import CursorResult, and_, func, select, update

from survey_host import mailer, sending, texts
from survey_host.extensions import db, mail
from survey_host.mail_events import reference_of
from survey_host.models import Kind, MailState, Participant, SendRun, Survey, SurveyText


def waiting(run: SendRun) -> int:
    """Return how many mails of a run the platform has yet to send."""
    if run.is_taken_over:
        return 0
    query = select(func.count()).select_from(Participant).where(Participant.run_id == run.id, _TO_SEND)
    return db.session.scalar(query) or 0


_TO_SEND = and_(
    Participant.mail_state == MailState.QUEUED, Participant.opted_out_at.is_(None), Participant.answered_at.is_(None)
)


def deliver(run: SendRun) -> None:
    """Send the waiting mails of `run`, committing each. An error is stored in `run.problem`; call again to continue."""
    survey = db.session.get_one(Survey, run.survey_id)
    kinds = sending.texts_of(survey, Kind(run.kind))
    _give_up_interrupted(run)
    run.problem = None
    db.session.commit()
    try:
        with mail.connect() as connection:
            for chunk in sending.claimed(run, _TO_SEND):
                for number in [person.id for person in chunk]:
                    _deliver_one(connection, run, survey, kinds, number)
    except (OSError, SMTPException) as error:
        _give_up_interrupted(run)
        run.problem = str(error)
    db.session.commit()


def _give_up_interrupted(run: SendRun) -> None:
    """Mark mails without a reply as unknown: they may have been sent, and are not sent again."""
    lost = update(Participant).where(Participant.run_id == run.id, Participant.mail_state == MailState.SENDING)
    note = "The connection was lost before the mail server answered."
    db.session.execute(lost.values(mail_state=MailState.UNKNOWN, mail_note=note))


def _deliver_one(
    connection: Connection, run: SendRun, survey: Survey, kinds: dict[str, SurveyText], number: int
) -> None:
    if not _mark(number):
        return
    person = db.session.get_one(Participant, number)
    base = current_app.config["SURVEY_PUBLIC_URL"]
    letter = texts.compose(texts.text_for(kinds, survey, person.language), texts.values_for(survey, person, base))
    message = mailer.invitation((person.name, person.email), letter, texts.opt_out_url(base, person))
    try:
        connection.send(message)
    except (SMTPRecipientsRefused, SMTPDataError, UnicodeError) as error:
        _refuse(run, person, _words(error))
    else:
        person.mail_state = MailState.SENT
        run.taken += 1
    db.session.commit()


def _mark(number: int) -> bool:
    """Claim one mail; `False` when another request has claimed it."""
    change = update(Participant).where(Participant.id == number, _TO_SEND).values(mail_state=MailState.SENDING)
    changed = cast("CursorResult[Any]", db.session.execute(change)).rowcount
    db.session.commit()
    return changed == 1


def _refuse(run: SendRun, person: Participant, reason: str) -> None:
    sending.release(run, {person.id: reason})
    run.refused_count += 1
    reference = reference_of(person.id)
    run.refused = [*run.refused, {"reference": reference, "address": person.email, "reason": reason}][:1000]


def _words(error: SMTPRecipientsRefused | SMTPDataError | UnicodeError) -> str:
    """Return the server's reply text."""
    if isinstance(error, UnicodeError):
        return "The address has characters that the mail server does not take."
    if isinstance(error, SMTPRecipientsRefused):
        code, reply = next(iter(error.recipients.values()))
        return f"{code} {reply.decode('utf-8', 'replace')}"
    words = error.smtp_error
    return f"{error.smtp_code} {words.decode('utf-8', 'replace') if isinstance(words, bytes) else words}"
