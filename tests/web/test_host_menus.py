"""Offers in the host's own pages: senders by permission and policy, and the ready-made choice."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import render_template_string

from own_smtp.hooks.events import Action, SenderChoice
from own_smtp.relays import project_routes, suggestions
from own_smtp.storage.models import Relay
from own_smtp.web import host_menus
from tests.web.app import ALICE, MALLORY
from tests.web.drafts import add_relay


@pytest.fixture
def servers(db_session, thin) -> list[Relay]:
    """Three servers; the second is the project's current one, the third suggested for it, the first not confirmed."""
    made = [add_relay(db_session, thin, active=label != "a", label=label) for label in ("a", "b", "c")]
    project_routes.choose_route(db_session, "acme", "p1", made[1], user_id="alice")
    suggestions.choose_suggestions(db_session, made[2], everybody=False, users=[], projects=["p1"], user_id="alice")
    db_session.commit()
    return made


@pytest.fixture
def in_request(web_app) -> Iterator[None]:
    with web_app.test_request_context():
        yield


def offered(db_session, thin) -> list[str]:
    return [choice.label for choice in host_menus.senders(db_session, thin.host, thin.policy, "acme", "p1")]


@pytest.mark.usefixtures("servers", "in_request")
def test_who_may_choose_is_offered_all(db_session, thin):
    """The project's current one first, then the suggested one, then the others."""
    assert offered(db_session, thin) == ["b", "c", "a"]


@pytest.mark.usefixtures("in_request")
def test_the_summary_is_what_recipients_see(db_session, thin):
    """Name and reply address if they differ from the sender address, and the server."""
    add_relay(db_session, thin, active=True, sender_name="Acme", reply_to="office@acme.example", label="a")
    add_relay(db_session, thin, active=True, label="b")
    assert [choice.summary for choice in host_menus.senders(db_session, thin.host, thin.policy, "acme", "p1")] == [
        "Recipients see “Acme”. Replies go to office@acme.example. It leaves through mail.acme.example.",
        "It leaves through mail.acme.example.",
    ]


@pytest.mark.usefixtures("servers", "in_request")
def test_who_may_not_choose_is_offered_what_is_chosen(db_session, thin):
    """Permission to send is not permission to choose: other routes are not offered."""
    thin.host.allowed = {Action.VIEW}
    assert offered(db_session, thin) == ["b"]


@pytest.mark.usefixtures("servers", "in_request")
def test_nobody_and_others_are_offered_nothing(db_session, thin):
    """Without a signed-in person of the tenant there is no sender."""
    for present in (None, MALLORY):
        thin.host.present = present
        assert offered(db_session, thin) == []


@pytest.mark.usefixtures("servers")
def test_a_job_of_the_host_gets_all(db_session, thin):
    """Outside a request there is no acting person: the tenant's permissions apply."""
    assert len(offered(db_session, thin)) == 3


@pytest.mark.usefixtures("servers", "in_request")
def test_a_tenant_that_may_not_is_offered_nothing_that_it_could_choose(db_session, thin):
    """The current choice is shown with the reason; a person with servers there still finds the page about it."""
    thin.policy.change(db_session, {"allowed_tenants": frozenset({"evil"})}, user_id="root")
    choices = host_menus.senders(db_session, thin.host, thin.policy, "acme", "p1")
    assert [(choice.label, choice.is_available) for choice in choices] == [("b", False)]
    assert "does not offer own mail servers" in choices[0].reason
    thin.host.present = MALLORY
    assert offered(db_session, thin) == []
    thin.host.present = ALICE
    assert host_menus.has_pages(db_session, thin.host, thin.policy, "acme")
    thin.host.allowed = {Action.VIEW}
    assert not host_menus.has_pages(db_session, thin.host, thin.policy, "other")
    thin.host.allowed = {Action.ADMINISTER}
    assert host_menus.has_pages(db_session, thin.host, thin.policy, "other")


CHOICES = [
    SenderChoice(
        key="relay:1", label="Old <b>", address="old@acme.example", is_available=False, reason="It is paused."
    ),
    SenderChoice(
        key="relay:2", label="New", address="new@acme.example", is_default=True, summary="Recipients see “New”."
    ),
]
PAGE = """{% from "own_smtp/senders.html" import sender_choices %}
{% call(sender) sender_choices(choices, legend="Sent by", platform="Ours", chosen=chosen) %}[{{ sender.key }}]
{% endcall %}"""


@pytest.mark.parametrize(
    ("chosen", "checked"), [(None, "relay:2"), ("platform", "platform"), ("relay:1", None), ("relay:2", "relay:2")]
)
@pytest.mark.usefixtures("in_request")
def test_the_ready_made_choice(chosen, checked):
    """The default is selected unless another one was chosen; an unavailable one is shown, and never selected."""
    html = " ".join(render_template_string(PAGE, choices=CHOICES, chosen=chosen).split())
    assert html.count("checked") == (checked is not None)
    assert checked is None or f'value="{checked}" checked' in html
    assert 'value="relay:1" disabled aria-describedby="sender-1-more"' in html
    for words in ("Old &lt;b&gt;", "It is paused.", "Recipients see “New”.", "[relay:2]", "Ours"):
        assert words in html


@pytest.mark.usefixtures("in_request")
def test_the_ready_made_choice_needs_no_context():
    """It works with the platform's mail alone, and without a call block."""
    text = (
        '{% from "own_smtp/senders.html" import sender_choices %}{{ sender_choices([], legend="x", platform="Ours") }}'
    )
    html = render_template_string(text)
    assert 'value="platform" checked' in html
