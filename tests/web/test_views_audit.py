"""The audit log as a person reads it."""

from __future__ import annotations

import csv
import io

import pytest

from own_smtp.relays import edits, lifecycle, project_routes
from own_smtp.reporting.audit_log import PAGE
from own_smtp.reporting.audit_texts import ACTIONS, FIELDS
from own_smtp.states import PauseReason
from own_smtp.storage import audit
from own_smtp.storage.audit import AuditAction
from own_smtp.storage.models import Relay
from tests.web.app import MALLORY
from tests.web.drafts import PASSWORD, add_relay, draft

URL, CSV = "/own-smtp/audit", "/own-smtp/audit.csv"


@pytest.fixture
def relay(db_session, thin) -> Relay:
    relay = add_relay(db_session, thin, active=True)
    edits.change(db_session, thin.vault, relay, draft(host="new.acme.example"), user_id="alice")
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="bob", fallback_after=3600)
    db_session.commit()
    return relay


def _table(web):
    return list(csv.reader(io.StringIO(web.get(CSV).text.removeprefix("\N{BYTE ORDER MARK}"))))


def test_every_action_and_field_has_words():
    """No name from the code is shown on the page."""
    assert set(ACTIONS) == set(AuditAction)
    assert {*edits.RELAY_FIELDS, "password"} <= set(FIELDS)


def test_the_page_says_who_changed_what(web, relay):
    """With names of servers and projects, the values before and after, and the acting person's own name."""
    page = web.get(URL).text
    for words in (
        "Mail server changed: <bdi>Company mail</bdi>",
        "Mail server: mail.acme.example → new.acme.example",
        "Password: changed",
        "Staff survey",
        "Alice",
        "bob",
        "whoever followed the link",
    ):
        assert words in page
    assert PASSWORD not in page


def test_reasons_are_said_in_words(web, db_session, thin):
    """The reason for a pause has the same text as on the server's page."""
    relay = add_relay(db_session, thin, active=True)
    lifecycle.pause(db_session, relay.id, PauseReason.CREDENTIALS, "535", None)
    db_session.commit()
    assert "Reason: The server refuses the user name or the password." in web.get(URL).text


def test_the_whole_log_is_there_as_csv(web, relay):
    """One row for each entry below a heading, newest first."""
    rows = _table(web)
    assert rows[0] == ["When", "Who", "What", "Server", "Project", "Changes"]
    assert [row[2] for row in rows[1:]] == [
        "Way of a project chosen",
        "Mail server changed",
        "Mail server confirmed",
        "Mail server added",
    ]
    assert rows[1][5] == "Mail server: Company mail; Platform's mail takes over after: 1 hour"


def test_a_spreadsheet_finds_no_formula(web, db_session, thin):
    """A label that looks like a formula stays a text."""
    add_relay(db_session, thin, label="=HYPERLINK(1)")
    assert _table(web)[1][3] == "'=HYPERLINK(1)"


def test_others_read_nothing_of_it(web, relay, thin):
    """Another tenant's log is empty."""
    thin.host.present = MALLORY
    assert "Nothing was changed yet." in web.get(URL).text
    assert len(_table(web)) == 1


def test_long_logs_come_in_pages(web, db_session):
    """The page links to older entries; the CSV has them all."""
    for _ in range(PAGE + 1):
        audit.record(db_session, AuditAction.RELAY_RESUMED, tenant_id="acme", user_id="alice")
    db_session.commit()
    page = web.get(URL).text
    assert "Older ones" in page
    assert web.get(f"{URL}?before=2").text.count("Mail server resumed") == 1
    assert len(_table(web)) == PAGE + 2
