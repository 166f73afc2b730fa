"""The example platform with Own SMTP: the estimate on its send page, and the omitted and greyed parts of its report."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import insert, update

from own_smtp import OwnSMTP
from own_smtp.extension import plugin
from own_smtp.storage import schema
from own_smtp.storage.models import BatchTotals, Invitation, ProjectRoute, Relay
from survey_host.extensions import db
from survey_host.models import Survey
from tests.survey_host_kit import SEND, Visitor, add_people, platform, press, signed_in, text_of


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with platform(tmp_path, {"TESTING": True, "OWN_SMTP_REDIS_URL": "redis://127.0.0.1:1/0"}) as made:
        manager = made.extensions["survey_plugins"].manager
        manager.register(plugin)
        OwnSMTP(made, db, plugins=manager)
        with made.app_context():
            schema.upgrade(db.engine)
        yield made


@pytest.fixture
def manager(app: Flask) -> Visitor:
    return signed_in(app, "manager@north.example")


def choose_relay(app: Flask, **limits: object) -> None:
    with app.app_context(), db.engine.begin() as connection:
        row = {"tenant_id": "1", "label": "Faculty mail", "host": "mail.north.example", "port": 587, "state": "active"}
        added = connection.execute(insert(Relay).values(sender_address="a@north.example", **row, **limits))
        assert added.inserted_primary_key is not None
        route = {"tenant_id": "1", "project_id": "1", "relay_id": added.inserted_primary_key[0]}
        connection.execute(insert(ProjectRoute).values(**route))


def test_the_send_page_says_by_when_before_anything_is_sent(app: Flask, manager: Visitor) -> None:
    """Number, rate and end; and a warning if that is too late for the survey."""
    choose_relay(app, per_minute=1)
    add_people(app, *(f"person{number}@r.example" for number in range(120)))
    page = manager.get(SEND)
    assert "Invitation: 120 invitations, at 1 a minute, until about " in text_of(page)
    assert "after the survey closes" not in page.text
    with app.app_context():
        db.session.get_one(Survey, 1).closes_at = datetime.now(UTC) + timedelta(hours=1)
        db.session.commit()
    assert "after the survey closes" in manager.get(SEND).text


def test_what_was_sent_leads_to_the_page_that_follows_it(app: Flask, manager: Visitor) -> None:
    """If a plugin accepted it; the page is in the platform's own layout."""
    choose_relay(app)
    add_people(app, "ada@r.example")
    answer = manager.post(SEND, {"audience": "new", "sender": "relay:1"})
    assert 'href="/own-smtp/projects/1/batches/1">Follow it</a>' in manager.get(answer.location).text
    assert "1 invitation: 1 waiting." in text_of(manager.get("/own-smtp/projects/1/batches/1"))


def test_the_report_shows_what_is_known_and_says_why_no_more(app: Flask, manager: Visitor) -> None:
    """Numbers for server replies; bounces and deliveries greyed with reasons; no statuses that the platform does not
    count.
    """
    assert "Bounced" not in text_of(manager.get("/surveys/1/report"))
    choose_relay(app)
    add_people(app, "ada@r.example", "bert@r.example")
    press(manager, sender="relay:1")
    with app.app_context():
        ada = update(Invitation).where(Invitation.address == "ada@r.example").values(state="accepted")
        db.session.execute(ada)
        db.session.execute(update(BatchTotals).values(accepted=1))
        db.session.commit()
    page = text_of(manager.get("/surveys/1/report"))
    assert "Waiting 1" in page
    assert "Accepted by the server 1" in page
    assert "Bounced for good \u2013 not known Bounce messages go to your server's envelope sender" in page
    assert "Delivered \u2013 not known Your server delivers the invitation." in page
    assert "Opened" not in page
