"""Our pages inside a host's layout: neither side hides a name of the other, and nothing of the host's is replaced."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from flask import Flask
from jinja2 import ChoiceLoader, DictLoader, meta

from own_smtp.i18n import ensure_babel
from tests.web.drafts import add_relay
from tests.web.everything import fill_outbox

# Names that hosts use: Flask-Moment's object, a macro of the layout, values of context processors.
LAYOUT = """{% from "macros.html" import field, trail, heading %}{% set relay = "the host's relay" %}
<html lang="{{ language }}"><title>{% block title %}{% endblock %}</title>
<i>{{ moment.include_moment() }}|{{ project }}|{{ title }}|{{ form }}|{{ page }}|{{ number }}|{{ tr }}|{{ again }}</i>
{{ field("x") }}{{ trail() }}{{ heading() }}{{ relay }}{% block content %}{% endblock %}</html>"""
MACROS = """{% macro field(name) %}host field {{ name }}{% endmacro %}{% macro trail() %}host trail{% endmacro %}
{% macro heading() %}host heading{% endmacro %}"""


class Moment:
    """Flask-Moment's object, as far as layouts use it."""

    def include_moment(self) -> str:
        return "moment.js"


@pytest.fixture
def host_names(web_app: Flask, thin):
    """A host whose layout has names of its own."""
    names = ("language", "project", "title", "form", "page", "number", "tr", "again")
    web_app.context_processor(lambda: {"moment": Moment(), **{name: f"host {name}" for name in names}})
    web_app.jinja_loader = DictLoader({"host.html": LAYOUT, "macros.html": MACROS})
    thin.host.layout_name = "host.html"
    return names


def test_names_of_the_host_mean_in_its_layout_what_the_host_says(web, thin, db_session, host_names):
    """Every page is shown inside the host's values: `moment` is Flask-Moment in the layout, and ours in the page."""
    relay = add_relay(db_session, thin, active=True)
    batch = fill_outbox(db_session, relay)
    around = "|".join(f"host {name}" for name in host_names if name != "language")
    for address in (
        "/",
        "/servers/new",
        f"/servers/{relay.id}",
        f"/servers/{relay.id}/edit",
        "/projects/p1/settings",
        "/projects/p1/report",
        "/projects/p1/log",
        "/projects/p1/known",
        f"/projects/p1/batches/{batch.id}",
        "/platform/policy",
        "/audit",
        "/servers/999",
        "/confirm/unknown",
    ):
        page = web.get(f"/own-smtp{address}").text
        assert f"<i>moment.js|{around}</i>" in page, address
        assert '<html lang="host language">' in page
        assert "host field x" in page
        assert "host heading" in page
        assert "the host&#39;s relay" in page
        assert re.search(r"<title>[^<]+</title>", page)


def test_names_of_the_layout_mean_nothing_in_a_page(web, thin, host_names):
    """A macro that the layout imports does not replace ours."""
    page = web.get("/own-smtp/servers/new").text
    assert page.count("host field") == 1
    assert 'id="label"' in page


def test_a_layout_finds_one_name_of_ours(web_app):
    """The layout's context has `own_smtp` and no other name of ours."""
    source = web_app.jinja_env.loader.get_source(web_app.jinja_env, "own_smtp/frame.html")[0]
    assert meta.find_undeclared_variables(web_app.jinja_env.parse(source)) == {"own_smtp"}


def test_a_host_without_flask_babel_keeps_its_own_texts(tmp_path):
    """Its `gettext` and its filters stay unchanged: ours are passed to our own templates only."""
    app = Flask("plain_host")
    app.jinja_env.globals["gettext"] = lambda text: f"host:{text}"
    app.jinja_env.filters["datetimeformat"] = lambda moment: f"host:{moment.year}"
    filters, names = set(app.jinja_env.filters), set(app.jinja_env.globals)
    ensure_babel(app)
    assert (set(app.jinja_env.filters), set(app.jinja_env.globals)) == (filters, names)
    text = "{{ gettext('a') }} {{ at | datetimeformat }}"
    assert app.jinja_env.from_string(text).render(at=datetime(2026, 1, 1, tzinfo=UTC)) == "host:a host:2026"


@pytest.mark.parametrize("name", ["_csrf", "csrf_token"])
def test_the_hosts_name_of_the_csrf_field_is_used(web_app, web, thin, db_session, name):
    """Whatever the host names the field, each form has it and reads it."""
    web_app.config.update(WTF_CSRF_ENABLED=True, WTF_CSRF_FIELD_NAME=name)
    relay = add_relay(db_session, thin, active=True)
    fill_outbox(db_session, relay)
    for address in ("/projects/p1/log", "/platform/tenants", "/servers/new", "/projects/p1/settings"):
        page = web.get(f"/own-smtp{address}").text
        forms = re.findall(r'<form method="post".*?</form>', page, re.DOTALL)
        assert forms
        assert all(form.count(f'name="{name}"') == 1 for form in forms), address
    token = re.search(rf'name="{name}" type="hidden" value="([^"]+)"', web.get("/own-smtp/projects/p1/log").text)
    data = {name: token[1], "deed": "retry", "everything": "y"}
    page = web.post("/own-smtp/projects/p1/log/selection", data=data)
    assert page.status_code == 200
    assert f'name="{name}"' in page.text


def test_a_hosts_loader_may_replace_a_page(web_app, web):
    """A host's page of the same name takes precedence, as with any blueprint."""
    web_app.jinja_loader = ChoiceLoader([DictLoader({"own_smtp/overview.html": "{% extends 'own_smtp/page.html' %}"})])
    assert '<div class="own-smtp">' in web.get("/own-smtp/").text
