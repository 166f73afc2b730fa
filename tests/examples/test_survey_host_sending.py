"""The example platform offers its sends to plugins, and sends itself when none accepts."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Event, current_thread, main_thread
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import event

from own_smtp.hooks import (
    InvitationBatch,
    Receipt,
    SenderChoice,
    hookimpl,
)
from survey_host.extensions import db
from survey_host.models import Survey, SurveyText
from tests.accepting_plugin import AcceptingPlugin, with_plugin
from tests.survey_host_kit import (
    SEND,
    URL,
    Visitor,
    add_people,
    add_plugin,
    hidden_fields,
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


def test_a_plugin_takes_the_batch(app: Flask, manager: Visitor) -> None:
    """The batch has recipients, content and deadline; each invitation has its values and its language's content."""
    taker = with_plugin(app)
    add_people(app, "ada@r.example")
    add_people(app, "bernd@r.example", language="de")
    page = press(manager)
    ((batch, (ada, bernd)),) = taker.taken
    assert (batch.tenant_id, batch.project_id, batch.kind, batch.sender) == ("1", "1", "invitation", None)
    assert batch.idempotency_key
    assert batch.created_by == "3"
    assert batch.expires_at is not None
    assert batch.expires_at.tzinfo is not None
    assert batch.content.list_unsubscribe == "{OPTOUTURL}"
    assert batch.content.one_click_unsubscribe
    assert (ada.reference, ada.address, ada.name) == ("participant-1", "ada@r.example", "Ada Example")
    assert ada.values["SURVEYURL"] == f"{URL}/s/1/{people(app)['ada@r.example'].token}"
    assert ada.content is None
    assert bernd.content is not None
    assert bernd.content.subject.startswith("Ihre Meinung")
    assert "Taken over 2" in page
    assert "The server is paused." in page
    assert "Jan 2, 2030" in page


def test_invitations_are_not_a_list(app: Flask, manager: Visitor) -> None:
    """A plugin that declines has read nothing, and the platform sends itself."""
    seen: list[InvitationBatch] = []

    class Decliner:
        @hookimpl
        def survey_send_invitations(self, batch: InvitationBatch) -> Receipt | None:
            assert not isinstance(batch.invitations, (list, tuple))
            seen.append(batch)
            return None

    add_plugin(app, Decliner())
    app.extensions["mail"].suppress = True
    add_people(app, "ada@r.example")
    assert "Sent 1" in press(manager)
    assert len(seen) == 1
    assert people(app)["ada@r.example"].mail_state == "sent"


def test_what_was_refused_locally_counts_as_not_invited(app: Flask, manager: Visitor) -> None:
    """A refused participant keeps the reason and stays in the audience; the receipt is shown."""
    with_plugin(app, refuse=frozenset({"bad@r.example"}))
    add_people(app, "ada@r.example", "bad@r.example")
    page = press(manager)
    assert "Taken over 1" in page
    assert "bad@r.example No such domain." in page
    bad, ada = people(app)["bad@r.example"], people(app)["ada@r.example"]
    assert (bad.invited_at, bad.mail_state, bad.mail_note) == (None, "not_taken", "No such domain.")
    assert ada.invited_at is not None
    assert ada.mail_state == "queued"


def test_more_refusals_than_the_receipt_lists_are_found(app: Flask, manager: Visitor) -> None:
    """Beyond the list, the plugin's statuses say which ones were accepted."""
    with_plugin(app, refuse=frozenset({"b@r.example", "c@r.example"}), listed=1)
    add_people(app, "a@r.example", "b@r.example", "c@r.example")
    press(manager)
    assert {name for name, row in people(app).items() if row.invited_at is None} == {"b@r.example", "c@r.example"}


def test_a_double_click_sends_once(app: Flask, manager: Visitor) -> None:
    """The same form posted twice calls the hook once and shows the same receipt."""
    taker = with_plugin(app)
    add_people(app, "ada@r.example")
    form = {"audience": "new", "sender": "platform"}
    page = manager.get(SEND)
    first = manager.client.post(SEND, data=form | hidden_fields(page.text))
    add_people(app, "late@r.example")
    second = manager.client.post(SEND, data=form | hidden_fields(page.text))
    assert first.location == second.location
    assert "sent before" in text_of(manager.get(second.location))
    assert len(taker.taken) == 1
    assert people(app)["late@r.example"].invited_at is None


def test_two_sends_share_nobody(app: Flask, manager: Visitor) -> None:
    """A second send, from a fresh form, includes only participants added since."""
    taker = with_plugin(app)
    add_people(app, "ada@r.example")
    press(manager)
    add_people(app, "bob@r.example")
    press(manager)
    assert [[item.address for item in items] for _batch, items in taker.taken] == [["ada@r.example"], ["bob@r.example"]]
    assert "Nobody is left to send to." in press(manager)


def test_a_plugin_that_fails_leaves_nothing_behind(app: Flask, manager: Visitor) -> None:
    """The host rolls back its claims, and the person can try again."""
    taker = with_plugin(app, error=RuntimeError("broken"))
    add_people(app, "ada@r.example")
    page = manager.get(SEND)
    data = {"audience": "new", "sender": "platform"} | hidden_fields(page.text)
    assert manager.client.post(SEND, data=data).status_code == 500
    assert people(app)["ada@r.example"].invited_at is None
    taker.error = None
    assert manager.client.post(SEND, data=data).status_code == 302
    assert len(taker.taken) == 1


CHOICES = (
    SenderChoice(key="relay:1", label="Faculty server", address="faculty@north.example", is_default=True),
    SenderChoice(key="relay:2", label="Old server", address=None, is_available=False, reason="It is paused."),
)


def test_the_senders_of_plugins_are_offered(app: Flask, manager: Visitor) -> None:
    """The default is selected; an unavailable one is shown with its reason and cannot be forced."""
    taker = with_plugin(app, offers=CHOICES)
    add_people(app, "ada@r.example")
    page = manager.get(SEND)
    html = page.text
    assert 'value="relay:1" checked' in html
    assert "It is paused." in html
    assert "Invitation: 1 by relay:1, until about tomorrow" in text_of(page)
    assert "after the survey closes" in html
    assert "by relay:2" not in html
    assert manager.post(SEND, {"audience": "new", "sender": "relay:2"}).status_code == 422
    press(manager, sender="relay:1")
    assert taker.taken[0][0].sender == "relay:1"


def test_choosing_the_platform_does_not_ask_plugins(app: Flask, manager: Visitor) -> None:
    """If the platform's own sender was chosen, the platform sends, although plugins offer senders."""
    taker = with_plugin(app, offers=CHOICES)
    app.extensions["mail"].suppress = True
    add_people(app, "ada@r.example")
    assert "Sent 1" in press(manager, sender="platform")
    assert taker.taken == []


def test_nothing_is_sent_for_a_closed_survey_or_without_text(app: Flask, manager: Visitor) -> None:
    """The obstacle is shown, and no participant is claimed."""
    add_people(app, "ada@r.example")
    with app.app_context():
        db.session.execute(db.delete(SurveyText).where(SurveyText.kind == "invitation", SurveyText.language == "en"))
        db.session.commit()
    assert "no text in the survey's main language" in press(manager)
    with app.app_context():
        db.session.get_one(Survey, 1).closes_at = datetime(2020, 1, 1, tzinfo=UTC)
        db.session.commit()
    assert "The survey is closed." in press(manager)
    assert people(app)["ada@r.example"].invited_at is None


def test_two_presses_at_the_same_moment_send_once(app: Flask, manager: Visitor) -> None:
    """While the first post is being processed, the second one waits for it and shows its receipt."""
    add_people(app, "ada@r.example")
    second = signed_in(app, "manager@north.example")
    first_form, second_form = (hidden_fields(visitor.get(SEND).text) for visitor in (manager, second))
    form = {"audience": "new", "sender": "platform"}
    inserting = Event()

    def watch(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if statement.startswith("INSERT INTO send_run") and current_thread() is not main_thread():
            inserting.set()

    class Slow(AcceptingPlugin):
        @hookimpl
        def survey_send_invitations(self, batch: InvitationBatch) -> Receipt | None:
            answers.append(pool.submit(second.client.post, SEND, data=form | second_form | nonce))
            assert inserting.wait(30)
            return super().survey_send_invitations(batch)

    nonce, answers, taker = {"nonce": first_form["nonce"]}, [], Slow()
    add_plugin(app, taker)
    with app.app_context():
        event.listen(db.engine, "before_cursor_execute", watch)
    with ThreadPoolExecutor() as pool:
        first = manager.client.post(SEND, data=form | first_form)
        assert answers[0].result().location == first.location
    assert len(taker.taken) == 1
