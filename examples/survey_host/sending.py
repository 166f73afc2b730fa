"""Selects recipients and hands their mails to a plugin that accepts them, else to the platform's own mail server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, cast

from flask import current_app
from sqlalchemy import ColumnElement, CursorResult, Select, and_, func, or_, select, update
from sqlalchemy.exc import IntegrityError

from survey_host import plugins, texts
from survey_host.base import now
from survey_host.extensions import db
from survey_host.mail_events import participant_id_of, reference_of
from survey_host.models import Account, Kind, MailState, Participant, SendRun, Survey, SurveyText

if TYPE_CHECKING:
    from own_smtp.hooks import Content, Estimate, Invitation, InvitationBatch, Receipt, SenderChoice

PLATFORM = "platform"
"""The sender that always exists: the platform's own mail."""
CHUNK = 500
"""Number of participants read, and of rows changed, at a time."""

_WAITING = (MailState.QUEUED, MailState.SENDING)
_MISSED = ("refused", "failed", "cancelled")
"""Plugins' states of a mail that did not arrive and is not retried."""


class Audience(StrEnum):
    """The recipients of a send."""

    NEW = "new"
    REMINDER = "reminder"
    AGAIN = "again"

    @property
    def kind(self) -> Kind:
        """The kind of text that they get."""
        return Kind.REMINDER if self is Audience.REMINDER else Kind.INVITATION


class NothingToSendError(Exception):
    """The audience is empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """The input of the send page."""

    survey: Survey
    audience: Audience
    sender: str | None
    """`PLATFORM`, the key that a plugin offered, or `None` if no plugin offered one."""
    nonce: str
    account: Account


def belongs_to(audience: Audience) -> ColumnElement[bool]:
    """Return the SQL condition on a participant. People who opted out or answered belong to no audience."""
    state = Participant.mail_state
    if audience is Audience.NEW:
        chosen = and_(Participant.invited_at.is_(None), or_(state.is_(None), state == MailState.NOT_TAKEN))
    elif audience is Audience.REMINDER:
        chosen = and_(Participant.invited_at.is_not(None), state.not_in((*_WAITING, *_MISSED)))
    else:
        chosen = state.in_(_MISSED)
    return and_(Participant.opted_out_at.is_(None), Participant.answered_at.is_(None), chosen)


def count(survey: Survey, condition: ColumnElement[bool]) -> int:
    """Return how many of a survey's participants meet `condition`."""
    query = select(func.count()).select_from(Participant).where(Participant.survey_id == survey.id, condition)
    return db.session.scalar(query) or 0


def audiences(survey: Survey) -> dict[Audience, int]:
    """Return the current size of each audience."""
    return {audience: count(survey, belongs_to(audience)) for audience in Audience}


def estimates(survey: Survey, senders: Sequence[SenderChoice]) -> dict[str, dict[Audience, Estimate]]:
    """Estimate when each audience would have its mail through each sender."""
    numbers = {audience: number for audience, number in audiences(survey).items() if number}
    found: dict[str, dict[Audience, Estimate]] = {}
    for sender in senders if numbers else ():
        if not sender.is_available:
            continue
        for audience, number in numbers.items():
            estimate = plugins.current().estimate(
                str(survey.tenant_id), str(survey.id), sender.key, number, survey.closes_at
            )
            if estimate is not None:
                found.setdefault(sender.key, {})[audience] = estimate
    return found


def texts_of(survey: Survey, kind: Kind) -> dict[str, SurveyText]:
    """Return a survey's invitations or reminders by language."""
    query = select(SurveyText).where(SurveyText.survey_id == survey.id, SurveyText.kind == kind)
    return {text.language: text for text in db.session.scalars(query)}


def hand_over(order: Order) -> tuple[SendRun, bool]:
    """Claim the audience, offer it to the plugins and commit; return the run and whether it is a new one.

    A run that no plugin accepted waits for `delivery.deliver`. Raises `NothingToSendError` for an empty audience.
    """
    known = db.session.scalar(_same_form(order))
    if known is not None:
        return known, False
    try:
        run = _begin(order)
    except IntegrityError:
        # The same form was posted twice at the same moment, and the other post was first.
        db.session.rollback()
        return db.session.scalars(_same_form(order)).one(), False
    _take_over(run, order)
    db.session.commit()
    return run, True


def _same_form(order: Order) -> Select[Any]:
    return select(SendRun).where(SendRun.survey_id == order.survey.id, SendRun.nonce == order.nonce)


def _begin(order: Order) -> SendRun:
    run = SendRun(
        survey_id=order.survey.id,
        nonce=order.nonce,
        kind=order.audience.kind,
        audience=order.audience,
        sender=order.sender or PLATFORM,
        created_by=order.account.id,
    )
    db.session.add(run)
    db.session.flush()
    run.claimed = _claim(run, order.audience)
    if not run.claimed:
        db.session.rollback()
        raise NothingToSendError
    return run


def _claim(run: SendRun, audience: Audience) -> int:
    """Claim the audience for this run. Two simultaneous sends never share a participant."""
    change = update(Participant).where(Participant.survey_id == run.survey_id, belongs_to(audience))
    values = {"run_id": run.id, "mail_state": MailState.QUEUED, "mail_note": None, "mail_changed_at": None}
    if audience is Audience.REMINDER:
        change = change.values(**values, reminders=Participant.reminders + 1)
    else:
        change = change.values(**values, invited_at=now())
    result = db.session.execute(change.execution_options(synchronize_session=False))
    return cast("CursorResult[Any]", result).rowcount


def _take_over(run: SendRun, order: Order) -> None:
    if order.sender == PLATFORM or not plugins.current().are_possible:
        return
    receipt = plugins.current().send_invitations(_batch(run, order))
    if receipt is not None:
        _keep(run, order, receipt)


def _batch(run: SendRun, order: Order) -> InvitationBatch:
    from own_smtp.hooks import InvitationBatch

    survey = order.survey
    kinds = texts_of(survey, Kind(run.kind))
    return InvitationBatch(
        tenant_id=str(survey.tenant_id),
        project_id=str(survey.id),
        content=_content(kinds[survey.language]),
        invitations=_invitations(run, survey, kinds),
        kind=run.kind,
        idempotency_key=run.nonce,
        sender=order.sender,
        created_by=str(order.account.id),
        expires_at=survey.closes_at,
    )


def _content(text: SurveyText) -> Content:
    from own_smtp.hooks import Content

    return Content(
        subject=text.subject,
        text=text.text,
        html=text.html,
        list_unsubscribe="{OPTOUTURL}",
        one_click_unsubscribe=True,
    )


def claimed(run: SendRun, *conditions: ColumnElement[bool]) -> Iterator[list[Participant]]:
    """Read a run's participants in chunks, by key: no cursor stays open while others use the connection."""
    last = 0
    query = select(Participant).where(Participant.run_id == run.id, *conditions).order_by(Participant.id).limit(CHUNK)
    while chunk := list(db.session.scalars(query.where(Participant.id > last))):
        last = chunk[-1].id
        yield chunk


def _invitations(run: SendRun, survey: Survey, kinds: Mapping[str, SurveyText]) -> Iterator[Invitation]:
    """Stream the run's invitations; those in another language than the survey's carry their own content."""
    base = current_app.config["SURVEY_PUBLIC_URL"]
    contents = {language: _content(text) for language, text in kinds.items() if language != survey.language}
    for chunk in claimed(run):
        yield from [_invitation(survey, person, base, contents.get(person.language)) for person in chunk]


def _invitation(survey: Survey, person: Participant, base: str, content: Content | None) -> Invitation:
    from own_smtp.hooks import Invitation

    return Invitation(
        reference=reference_of(person.id),
        address=person.email,
        name=person.name,
        values=texts.values_for(survey, person, base),
        content=content,
    )


def _keep(run: SendRun, order: Order, receipt: Receipt) -> None:
    run.is_taken_over = True
    run.batch_id = receipt.batch_id
    run.taken = receipt.taken
    run.refused_count = receipt.refused_count
    run.refused = [
        {"reference": item.reference, "address": item.address, "reason": item.reason} for item in receipt.refused
    ]
    run.waits_for = receipt.waits_for
    run.finishes_at = receipt.finishes_at
    run.url = receipt.url
    release(run, _reasons(run, order, receipt))


def _reasons(run: SendRun, order: Order, receipt: Receipt) -> dict[int, str]:
    """Return the reason by participant id for all that were not accepted, also beyond those that the receipt lists."""
    numbers = ((participant_id_of(item.reference), item.reason) for item in receipt.refused)
    listed = {number: reason for number, reason in numbers if number is not None}
    if receipt.refused_count <= len(receipt.refused):
        return listed
    known = plugins.current().statuses(str(order.survey.tenant_id), str(order.survey.id))
    taken = {participant_id_of(status.reference) for status in known if status.batch_id == receipt.batch_id}
    everybody = (person.id for chunk in claimed(run) for person in chunk)
    return {
        number: listed.get(number, "No mail server could deliver it.") for number in everybody if number not in taken
    }


def release(run: SendRun, reasons: Mapping[int, str]) -> None:
    """Release participants whose mail was not accepted: they count as not invited, or not reminded, by this run."""
    numbers: Sequence[int] = sorted(reasons)
    for start in range(0, len(numbers), CHUNK):
        some = numbers[start : start + CHUNK]
        for person in db.session.scalars(select(Participant).where(Participant.id.in_(some))):
            _let_go(person, run, reasons[person.id])


def _let_go(person: Participant, run: SendRun, reason: str) -> None:
    person.mail_state, person.mail_note = MailState.NOT_TAKEN, reason
    if run.kind == Kind.REMINDER:
        person.reminders -= 1
    else:
        person.invited_at = None
