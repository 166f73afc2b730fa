"""Characters that no database stores, and characters that reverse surrounding text, in all input."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from own_smtp.forms.base import REPLACEMENT, storable
from own_smtp.hooks.events import Project
from own_smtp.storage.models import Relay
from tests.web.app import ALICE, build_app
from tests.web.drafts import TYPED, add_relay
from tests.web.everything import fill_outbox

SOURCES = Path(__file__).resolve().parents[2]
ADDRESSES = (
    "/?q=a%00b",
    "/?show=%00&page=%00&projects=%00",
    "/servers/new?preset=%00&test=%00",
    "/projects/p1/log?recipient=a%00b",
    "/projects/p1/log?text=a%00b",
    "/projects/p1/log?reply=%00&batch=%00&after=%00",
    "/projects/p1/log/invitations.csv?text=a%00b",
    "/projects/p%001/log",
    "/projects/p1/report?before=%00",
    "/platform/servers?q=a%00b",
    "/platform/tenants?q=a%00b",
    "/confirm/%00",
    "/audit?before=%00",
)


@pytest.fixture
def stored(migrated_url: str) -> Iterator[tuple[Flask, FlaskClient]]:
    """The pages on each database, with a relay and a batch."""
    app = build_app(migrated_url)
    thin = app.extensions["own_smtp"]
    with app.app_context():
        session = thin.db.session()
        fill_outbox(session, add_relay(session, thin, active=True))
        session.commit()
        session.close()
    yield app, app.test_client()
    with app.app_context():
        thin.db.engine.dispose()


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_of_a_page_breaks_the_database(stored, address):
    """A NUL in any part of an address is answered like any other nonsense, on each database."""
    _app, web = stored
    assert web.get(f"/own-smtp{address}").status_code in {200, 404, 422}


@pytest.mark.parametrize("name", [name for name in TYPED if name not in {"security", "auth"}] + ["description"])
def test_no_field_of_a_server_breaks_the_database(stored, name):
    """A NUL in a field is rejected at that field, on each database."""
    _app, web = stored
    typed = {**TYPED, name: f"a\0b{TYPED.get(name, '')}"}
    page = web.post("/own-smtp/servers/new", data=typed)
    assert page.status_code == 422
    assert f'href="#{name}"' in page.text


def test_no_selection_in_the_log_breaks_the_database(stored):
    """A NUL in the filter of a selection, and in the selection itself, on each database."""
    _app, web = stored
    url = "/own-smtp/projects/p1/log/selection"
    for address, data in (
        (f"{url}?text=a%00b", {"deed": "retry", "everything": "y"}),
        (url, {"deed": "\0", "ids": "\0"}),
    ):
        assert web.post(address, data=data).status_code in {200, 302}


@pytest.mark.parametrize(
    "sent",
    [
        {"json": [1, 2]},
        {"json": "text"},
        {"json": {name: {"a": 1} for name in TYPED}},
        {"data": "{", "content_type": "application/json"},
        {"content_type": "multipart/form-data"},
    ],
    ids=["list", "text", "objects", "broken", "files"],
)
def test_what_is_no_form_is_a_form_with_nothing_in_it(web_app, web, thin, db_session, sent):
    """JSON and files where fields belong break no page: none of them reads anything but the text of fields."""
    fill_outbox(db_session, add_relay(db_session, thin, active=True))
    db_session.commit()
    adapter = web_app.url_map.bind("localhost")
    values = {"relay_id": 1, "project_id": "p1", "batch_id": 1, "test_id": 1, "token": "x"}
    for rule in web_app.url_map.iter_rules():
        if "POST" in (rule.methods or ()):
            address = adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments}, method="POST")
            files = {name: (BytesIO(b"x"), "name.txt") for name in TYPED}
            assert web.post(address, **{"data": None if "json" in sent else files, **sent}).status_code < 500, address


@pytest.mark.parametrize("text", ["a\0b", "a\ud800b"])
def test_what_no_database_takes_is_replaced(text):
    """Half of a surrogate pair is as impossible as NUL."""
    assert storable(text) == f"a{REPLACEMENT}b"


def test_requests_are_read_in_one_place():
    """Every page and form reads input through the one module that cleans it."""
    found = [
        f"{path.relative_to(SOURCES)}:{node.lineno}"
        for folder in ("forms", "plugin/web")
        for path in (SOURCES / folder).rglob("*.py")
        if path.name != "base.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in {"request.args", "request.form", "request.values"})
        or (isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "FlaskForm" for base in node.bases))
    ]
    assert found == []


@pytest.mark.parametrize("control", ["\u202e", "\u2066", "\u2069"])
@pytest.mark.parametrize("name", ["label", "sender_name", "username", "description", "password"])
def test_controls_of_direction_are_refused_in_our_own_fields(web, name, control):
    """A label that ends with an override would reverse the text after it, also on the platform's own pages."""
    page = web.post("/own-smtp/servers/new", data={**TYPED, name: f"{TYPED.get(name, 'note')}{control}"})
    assert page.status_code == 422
    assert f'href="#{name}"' in page.text


def test_labels_of_before_keep_their_direction_to_themselves(web, thin, db_session):
    """A stored label with such controls is shown without them inside a sentence, and isolated."""
    relay = add_relay(db_session, thin, active=True, label="\u202eevil \u05e9\u05e8\u05ea")
    page = web.get(f"/own-smtp/servers/{relay.id}/test-mail").text
    assert "Test mail through “\u2068evil \u05e9\u05e8\u05ea\u2069”" in page


def test_what_the_host_calls_things_keeps_its_direction_to_itself(web_app, web, thin, db_session):
    """A right-to-left title is isolated in sentences, and its direction controls are dropped."""
    from own_smtp.host import HookedHost
    from own_smtp.plugin_manager import add_specifications, manager_for

    class Host:
        def own_smtp_projects(self, tenant_id):
            return [Project(project_id="p1", tenant_id=tenant_id, title="\u202e\u0627\u0633\u062a\u2069")]

        def own_smtp_actor(self):
            return replace(ALICE, name="Al\u202eice")

    manager = manager_for(Host())
    add_specifications(manager)
    host = HookedHost(web_app, manager)
    thin.host.surveys = list(host.projects("acme"))
    assert (host.actor().name, thin.host.surveys[0].title) == ("Alice", "\u0627\u0633\u062a")
    add_relay(db_session, thin, active=True)
    assert "<title>Report: \u2068\u0627\u0633\u062a\u2069" in web.get("/own-smtp/projects/p1/report").text


def test_relays_are_saved_as_they_were_typed(web, db_session):
    """Cleaning leaves all other input unchanged."""
    note = "Zeile 1\r\nZeile 2 ünïcode \U0001f4e7"
    assert web.post("/own-smtp/servers/new", data={**TYPED, "description": note}).status_code == 302
    assert db_session.query(Relay).one().description == note
