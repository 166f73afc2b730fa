"""Rules for every page: its permission, and the data and effects that it must not have."""

from __future__ import annotations

import base64

import pytest

from own_smtp.hooks.events import Action
from own_smtp.relays import confirmations, project_routes
from own_smtp.smtp.replies.outcomes import Stage
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import RelayState, State
from own_smtp.storage.encryption import new_token
from own_smtp.storage.models import LARGEST_ID, AuditEntry, ProjectRoute, Relay
from tests.web.app import MALLORY, build_app
from tests.web.drafts import PASSWORD, TYPED, add_relay, send_mail

PUBLIC = {
    "own_smtp.static",
    "own_smtp.show_confirmation",
    "own_smtp.follow_confirmation",
    "own_smtp.health",
    "own_smtp.metrics",
}
"""For people without an account, and for machines: `metrics` requires its own token."""
NEEDS = {
    "overview": Action.VIEW,
    "new_relay": Action.EDIT,
    "edit_relay": Action.EDIT,
    "show_relay": Action.VIEW,
    "relay_status": Action.VIEW,
    "suggest_relay": Action.EDIT,
    "send_confirmation_again": Action.TEST,
    "pause_relay": Action.EDIT,
    "resume_relay": Action.EDIT,
    "delete_relay": Action.EDIT,
    "show_project": Action.VIEW,
    "route_project": Action.ENABLE,
    "show_report": Action.VIEW,
    "report_status": Action.VIEW,
    "show_audit": Action.EDIT,
    "download_audit": Action.EDIT,
    "show_batch": Action.VIEW,
    "pause_batch": Action.ENABLE,
    "resume_batch": Action.ENABLE,
    "cancel_batch": Action.ENABLE,
    "retry_batch": Action.ENABLE,
    "project_log": Action.VIEW,
    "project_log_file": Action.VIEW,
    "project_log_selection": Action.ENABLE,
    "relay_log": Action.VIEW,
    "relay_log_file": Action.VIEW,
    "relay_log_selection": Action.ENABLE,
    "show_known": Action.VIEW,
    "batch_status": Action.VIEW,
    "test_relay": Action.TEST,
    "show_test": Action.VIEW,
    "test_status": Action.VIEW,
    "test_again": Action.TEST,
    "trust_certificate": Action.EDIT,
    "save_test": Action.EDIT,
    "show_test_mail": Action.TEST,
    "test_mail_status": Action.TEST,
    "show_policy": Action.ADMINISTER,
    "show_all_relays": Action.ADMINISTER,
    "show_tenants": Action.ADMINISTER,
}
"""The permission that each page requires."""
OF_NOTHING = {
    "overview",
    "new_relay",
    "show_audit",
    "download_audit",
    "show_policy",
    "show_all_relays",
    "show_tenants",
}
"""Pages without a relay or a project."""


@pytest.fixture
def relay(db_session, thin) -> Relay:
    relay = add_relay(db_session, thin, active=True)
    project_routes.choose_route(db_session, "acme", "p1", relay, user_id="alice")
    db_session.commit()
    return relay


def _pages(app, relay_id=1, project_id="p1"):
    """Return each page that requires an account, with its method and its address."""
    values = {
        "relay_id": relay_id,
        "project_id": project_id,
        "batch_id": 1,
        "test_id": 1,
        "name": "invitations.csv",
    }
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("own_smtp.") and rule.endpoint not in PUBLIC:
            address = adapter.build(rule.endpoint, {name: values[name] for name in rule.arguments})
            for method in rule.methods & {"GET", "POST"}:
                yield method, address, rule.endpoint.removeprefix("own_smtp.")


def test_every_page_is_in_the_table_of_permissions(web_app):
    """A new page must be added to the table of permissions."""
    assert {name for _method, _address, name in _pages(web_app)} == set(NEEDS)


def test_nobody_gets_in(web_app, web, thin, relay):
    """Without a signed-in person every page but the confirmation link answers 401."""
    thin.host.present = None
    for method, address, _name in _pages(web_app):
        assert web.open(address, method=method).status_code == 401, address


def test_signed_out_is_no_dead_end(web, thin, relay):
    """A page redirects to the host's sign-in; a script, and a form of an expired session, get 401 with a scheme."""
    thin.host.present, thin.host.sign_in = None, "/sign-in"
    browser = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    answer = web.get(f"/own-smtp/servers/{relay.id}", headers=browser)
    assert (answer.status_code, answer.location) == (302, f"/sign-in?next=%2Fown-smtp%2Fservers%2F{relay.id}")
    assert answer.headers["Cache-Control"] == "no-store"
    script = web.get(f"/own-smtp/servers/{relay.id}/status", headers={"Accept": "application/json"})
    form = web.post(f"/own-smtp/servers/{relay.id}/pause", headers=browser)
    assert (script.status_code, form.status_code) == (401, 401)
    assert script.headers["WWW-Authenticate"] == form.headers["WWW-Authenticate"] == 'Cookie realm="platform"'
    assert 'href="/sign-in?next=%2Fown-smtp%2F"' in form.text


def test_each_page_asks_for_its_permission(web_app, web, thin, relay):
    """Without exactly its permission a page answers 403, and has no effect."""
    for method, address, name in _pages(web_app):
        thin.host.allowed = set(Action) - {NEEDS[name]}
        assert web.open(address, method=method).status_code == 403, address


def test_who_may_not_is_in_the_log(web, thin, relay, caplog):
    """Somebody who tries what a role does not allow can be found by the ids of the host."""
    thin.host.allowed = {Action.VIEW}
    web.post(f"/own-smtp/servers/{relay.id}/pause")
    assert "User 'alice' of tenant 'acme' may not edit at own_smtp.pause_relay." in caplog.messages


def test_what_belongs_to_others_is_not_found(web_app, web, thin, db_session, relay):
    """Each page answers 404 for another tenant's relay or project, as for one that does not exist."""
    thin.host.present = MALLORY
    for relay_id, project_id in ((relay.id, "p1"), (relay.id + 1, "p9")):
        for method, address, name in _pages(web_app, relay_id, project_id):
            if name not in OF_NOTHING:
                assert web.open(address, method=method).status_code == 404, address
    db_session.expire_all()
    assert relay.state == RelayState.ACTIVE


@pytest.mark.parametrize(
    ("address", "status"),
    [
        (f"servers/{LARGEST_ID}", 404),
        (f"servers/{LARGEST_ID + 1}", 404),
        (f"tests/{LARGEST_ID + 1}/status", 404),
        (f"projects/p1/batches/{LARGEST_ID + 1}", 404),
        (f"projects/p1/report?before={LARGEST_ID + 1}", 200),
        (f"audit?before=-{LARGEST_ID + 1}", 200),
        (f"servers/new?test={LARGEST_ID + 1}", 200),
        (f"projects/p1/log?batch={LARGEST_ID + 1}", 422),
    ],
)
def test_a_number_that_no_id_can_be_is_no_error(web, address, status):
    """No database is queried: SQLite fails at a number of more than 64 bits."""
    assert web.get(f"/own-smtp/{address}").status_code == status


def test_a_choice_of_impossible_ids_is_refused(web):
    """No row is queried, and the log asks for another selection."""
    form = {"deed": "retry", "ids": str(LARGEST_ID + 1)}
    answer = web.post("/own-smtp/projects/p1/log/selection", data=form, follow_redirects=True)
    assert "Please choose again." in answer.text


def test_a_project_cannot_be_led_through_another_tenants_relay(web, thin, db_session, relay):
    """A relay id of another tenant is not a valid choice in the form."""
    theirs = add_relay(db_session, thin, tenant_id="evil")
    answer = web.post("/own-smtp/projects/p1/settings", data={"route": str(theirs.id)})
    assert answer.status_code == 422
    db_session.expire_all()
    assert db_session.get_one(ProjectRoute, 1).relay_id == relay.id


def test_every_post_needs_its_token(tmp_path):
    """Without the CSRF token of the page no POST changes anything."""
    app = build_app(f"sqlite:///{tmp_path / 'csrf.sqlite3'}")
    app.config["WTF_CSRF_ENABLED"] = True
    thin = app.extensions["own_smtp"]
    with app.app_context():
        session = thin.db.session()
        relay = add_relay(session, thin)
        confirmations.request_confirmation(session, thin.settings, relay, user_id="alice")
        token = new_token()
        send_mail(session, relay, token)
        before = session.query(AuditEntry).count()
        forged = {**TYPED, "route": "1"}
        posts = [address for method, address, _name in _pages(app) if method == "POST"]
        for address in [*posts, f"/own-smtp/confirm/{token}"]:
            app.test_client().post(address, data=forged)
        session.expire_all()
        assert session.query(AuditEntry).count() == before
        assert session.get_one(Relay, relay.id).state == RelayState.UNCONFIRMED


def test_the_password_is_on_no_page(web_app, web, db_session, thin):
    """A stored password appears in no page, no cookie and no header, neither plain nor encoded."""
    answer = web.post("/own-smtp/servers/new", data=TYPED)
    seen = [answer.text, str(answer.headers)]
    bad = web.post("/own-smtp/servers/new", data={**TYPED, "sender_address": "nobody"})
    seen += [bad.text, str(bad.headers)]
    for method, address, _name in _pages(web_app):
        if method == "GET":
            page = web.get(address)
            seen += [page.text, str(page.headers)]
    for secret in (PASSWORD, base64.b64encode(PASSWORD.encode()).decode().rstrip("=")):
        assert not any(secret in text for text in seen)
    assert str(TYPED["host"]) in bad.text


def test_a_servers_words_are_text(web, db_session, thin):
    """Markup in a server's reply is shown as text."""
    relay = add_relay(db_session, thin)
    confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
    reply = Reply(code=554, text="<script>alert(1)</script> {{ 7*7 }}")
    send_mail(db_session, relay, new_token(), Outcome(state=State.REFUSED, stage=Stage.MESSAGE, reply=reply))
    page = web.get(f"/own-smtp/servers/{relay.id}").text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; {{ 7*7 }}" in page


def test_a_tenant_cannot_tell_refused_from_closed_targets(web, db_session, thin):
    """Before a server has replied the text is always the same, so that no tenant can scan a network."""
    seen = set()
    for text in ("Connection refused", "Timed out", "10.0.0.1 is not allowed"):
        relay = add_relay(db_session, thin)
        confirmations.request_confirmation(db_session, thin.settings, relay, user_id="alice")
        send_mail(db_session, relay, new_token(), Outcome(state=State.FAILED, stage=Stage.CONNECT, text=text))
        page = web.get(f"/own-smtp/servers/{relay.id}").text
        assert text not in page
        seen.add(page.partition("<strong>")[2].partition("</strong>")[0])
    assert seen == {"This server cannot be reached from here."}


def test_pages_are_kept_out_of_caches_and_frames(web):
    """Headers keep a tenant's data out of caches, frames and Referer headers."""
    headers = web.get("/own-smtp/").headers
    assert (headers["Cache-Control"], headers["X-Frame-Options"]) == ("no-store", "SAMEORIGIN")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert web.get("/own-smtp/confirm/unknown").headers["Referrer-Policy"] == "no-referrer"


def test_nothing_is_inline_or_from_elsewhere(web_app, web, relay):
    """Pages work under a strict Content-Security-Policy: no inline scripts or styles, nothing from other hosts."""
    for method, address, name in _pages(web_app):
        if method == "GET" and not name.endswith("status"):
            page = web.get(address).text
            assert "<style" not in page
            assert " style=" not in page
            assert " on" + "click" not in page
            assert "<script>" not in page
            assert "https://" not in page
            assert "http://" not in page


def test_a_hosts_layout_carries_the_pages(web_app, web, thin):
    """A host that names a template gets our content in its block, without our own layout."""
    from jinja2 import DictLoader

    layout = "<title>{% block title %}{% endblock %}</title><nav>Host</nav>{% block content %}{% endblock %}"
    web_app.jinja_loader = DictLoader({"host.html": layout})
    thin.host.layout_name = "host.html"
    page = web.get("/own-smtp/").text
    assert page.startswith("<title>Own SMTP server</title><nav>Host</nav>")
    assert page.count("own_smtp.css") == 1
    assert "own-smtp-header" not in page
