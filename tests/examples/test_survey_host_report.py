"""Status events, reminders and the report of the example platform."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from flask import Flask

from own_smtp.hooks import (
    InvitationStatus,
    Knowledge,
    KnownStatus,
    State,
    hookimpl,
)
from survey_host.extensions import db
from survey_host.mail_events import participant_id_of, reference_of
from survey_host.models import Participant
from tests.accepting_plugin import FINISH, status, with_plugin
from tests.survey_host_kit import (
    Visitor,
    add_people,
    add_plugin,
    people,
    platform,
    press,
    signed_in,
    text_of,
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path) as made:
        yield made


@pytest.fixture
def manager(app: Flask) -> Visitor:
    return signed_in(app, "manager@north.example")


def events(app: Flask, *changes: InvitationStatus) -> None:
    with app.app_context():
        app.extensions["survey_plugins"].manager.hook.own_smtp_invitations_changed(changes=list(changes))


def test_events_are_stored_per_participant_and_may_be_repeated(app: Flask, manager: Visitor) -> None:
    """Repeated, late and unknown events change nothing."""
    with_plugin(app)
    add_people(app, "ada@r.example")
    press(manager)
    refused = status("participant-1", State.REFUSED, seconds=5, reply_code=550, reply_text="No such user")
    for _ in range(2):
        events(app, refused)
    events(app, status("participant-1", State.SENDING, seconds=1))
    events(app, status("participant-1", State.ACCEPTED, seconds=9, batch_id=7))
    events(app, status("participant-1", State.ACCEPTED, seconds=9, project_id="2"))
    events(app, status("participant-99", State.ACCEPTED), status("odd", State.ACCEPTED))
    ada = people(app)["ada@r.example"]
    assert (ada.mail_state, ada.mail_note) == ("refused", "550 No such user")


def test_reminders_go_to_those_who_were_invited_and_are_silent(app: Flask, manager: Visitor) -> None:
    """Not to participants who answered, opted out, still wait or were refused; reminders are counted; refused ones are
    sent again.
    """
    taker = with_plugin(app)
    names = ("silent", "answered", "out", "waits", "refused")
    add_people(app, *(f"{name}@r.example" for name in names))
    press(manager)
    states = {"silent": State.ACCEPTED, "answered": State.ACCEPTED, "out": State.ACCEPTED, "refused": State.REFUSED}
    events(app, *(status(reference_of(names.index(name) + 1), state) for name, state in states.items()))
    with app.app_context():
        for name, column in {"answered": "answered_at", "out": "opted_out_at"}.items():
            db.session.execute(
                db.update(Participant).where(Participant.email == f"{name}@r.example").values({column: FINISH})
            )
        db.session.commit()
    press(manager, "reminder")
    (batch, invitations) = taker.taken[-1]
    assert [item.address for item in invitations] == ["silent@r.example"]
    assert batch.kind == "reminder"
    assert batch.content.subject.startswith("Reminder")
    assert people(app)["silent@r.example"].reminders == 1
    press(manager, "again")
    assert [item.address for item in taker.taken[-1][1]] == ["refused@r.example"]


def test_a_reminder_that_was_refused_is_not_counted(app: Flask, manager: Visitor) -> None:
    """The participant stays invited and can be reminded again."""
    taker = with_plugin(app)
    add_people(app, "ada@r.example")
    press(manager)
    events(app, status("participant-1", State.ACCEPTED))
    taker.refuse = frozenset({"ada@r.example"})
    press(manager, "reminder")
    ada = people(app)["ada@r.example"]
    assert ada.reminders == 0
    assert ada.invited_at is not None
    assert ada.mail_state == "not_taken"


def test_the_report_greys_out_what_cannot_be_known(app: Flask, manager: Visitor) -> None:
    """Known columns have numbers, others their reason or no line; server replies are shown and escaped."""

    def known(status: str, label: str, knowledge: Knowledge, reason: str, *, is_used: bool = True) -> KnownStatus:
        facts = {"status": status, "label": label, "knowledge": knowledge, "reason": reason}
        return KnownStatus(route="relay", is_used=is_used, **facts)  # type: ignore[arg-type] # a test's own table

    class Reporter:
        @hookimpl
        def survey_known_statuses(self, tenant_id: str, project_id: str, counted: Sequence[str]) -> list[KnownStatus]:
            assert list(counted) == []
            return [
                known("accepted", "Accepted", Knowledge.REPORTED, "It said so."),
                known("refused", "Refused", Knowledge.REPORTED, "It said so."),
                known("bounced_hard", "Bounced", Knowledge.ELSEWHERE, "Your server knows."),
                known("opened", "Opened", Knowledge.NOT_KNOWN, "Nobody counts."),
                known("delivered", "Of no route of ours", Knowledge.NOT_KNOWN, "", is_used=False),
            ]

        @hookimpl
        def survey_invitation_statuses(
            self, tenant_id: str, project_id: str, references: Sequence[str] | None
        ) -> Iterable[InvitationStatus]:
            yield status("participant-1", State.ACCEPTED)
            yield status("participant-2", State.REFUSED, reply_code=550, reply_text="<b>No such user")

    add_plugin(app, Reporter())
    html = manager.get("/surveys/1/report")
    page = text_of(html)
    assert "Accepted 1" in page
    assert "Refused 1" in page
    assert "Bounced \u2013 not known Your server knows." in page
    assert "Opened" not in page
    assert "Of no route of ours" not in page
    assert "550 &lt;b&gt;No such user" in html.text


@pytest.mark.parametrize("number", [1, 10**9])
def test_references_can_be_read_back(number: int) -> None:
    """A reference identifies its participant, and an invalid one identifies none."""
    assert participant_id_of(reference_of(number)) == number
    assert participant_id_of("participant-x") is None
    assert participant_id_of("7") is None
