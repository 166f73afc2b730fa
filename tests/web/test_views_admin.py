"""The platform's policy and the mail servers of all tenants, for administrators."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from own_smtp.hooks.events import Action, Tenant
from own_smtp.relays.policy import Policy
from own_smtp.settings import PolicyPage, Settings
from own_smtp.states import PauseReason, RelayState
from own_smtp.storage.models import AuditEntry, Lease, PolicyValue, Relay
from tests.web.app import MALLORY
from tests.web.drafts import PASSWORD, TYPED, add_relay

pytestmark = pytest.mark.usefixtures("db_session")

POLICY, ALL = "/own-smtp/platform/policy", "/own-smtp/platform/servers"
TENANTS = "/own-smtp/platform/tenants"
OPEN = {
    "who": "all",
    "relays_per_tenant": "200",
    "ceiling_connections": "20",
    "ceiling_per_second": "",
    "confirmation_rule": "domain",
    "test_recipients": "",
    "keep_content": "30",
    "keep_recipients": "180",
    "allowed_ports": "25, 465, 587, 2525",
}
"""The unchanged form, if the page may not open networks."""


@pytest.fixture
def network_page(thin):
    """The configuration lets the page open networks, and sets none itself."""
    settings = replace(thin.settings, allowed_networks=(), policy_page=PolicyPage.NETWORK)
    thin.policy = Policy(settings, frozenset())


def test_a_ceiling_holds_for_the_next_form(web, thin, db_session):
    """A saved value applies at once, is in the log, and is removed when it is reset."""
    answer = web.post(POLICY, data={**OPEN, "ceiling_connections": "2", "ceiling_per_second": "0.5"})
    assert answer.status_code == 302
    assert (thin.in_force().ceiling_connections, thin.in_force().ceiling_per_second) == (2, 0.5)
    refused = web.post("/own-smtp/servers/new", data={**TYPED, "max_connections": "3"})
    assert "This platform allows at most 2." in refused.text
    page = web.get(POLICY).text
    assert "Most connections at a time to one server: 20 → 2" in page
    assert "Alice" in page
    web.post(POLICY, data=OPEN)
    assert thin.in_force() == thin.settings
    assert db_session.query(PolicyValue).count() == 0


def test_an_unchanged_policy_writes_nothing(web, db_session):
    """Saving the unchanged form writes nothing."""
    web.post(POLICY, data=OPEN)
    assert db_session.query(AuditEntry).count() == 0


def test_the_log_of_the_platform_is_no_tenants(web, db_session):
    """Tenants do not see administrators' changes in their log."""
    web.post(POLICY, data={**OPEN, "relays_per_tenant": "5"})
    assert "Policy changed" in web.get(POLICY).text
    assert "Policy changed" not in web.get("/own-smtp/audit").text


def test_only_chosen_tenants(web, thin, db_session):
    """An excluded tenant sees the reason, keeps its data, and cannot add, change or choose anything."""
    relay = add_relay(db_session, thin, active=True)
    thin.host.tenants = {"evil": Tenant(tenant_id="evil", name="Evil Ltd")}
    web.post(POLICY, data={**OPEN, "who": "chosen", "allowed_tenants": ["evil"]})
    assert thin.in_force().allowed_tenants == {"evil"}
    page = web.get("/own-smtp/").text
    assert "does not offer own mail servers to your account" in page
    assert "Company mail" in page
    assert "Add a mail server" not in page
    for address, data in (
        ("/own-smtp/servers/new", TYPED),
        (f"/own-smtp/servers/{relay.id}/edit", TYPED),
        ("/own-smtp/projects/p1/settings", {"route": str(relay.id)}),
    ):
        assert web.post(address, data=data).status_code == 409, address
    thin.host.present = MALLORY
    assert "does not offer" not in web.get("/own-smtp/").text


def test_where_test_mails_may_go_and_how_long_things_are_kept(web, thin):
    """Addresses, domains and the star; days. Anything else is rejected."""
    data = {
        **OPEN,
        "test_recipients": "ann@acme.example\n@Staff.example *",
        "keep_content": "7",
        "keep_recipients": "20",
    }
    assert web.post(POLICY, data=data).status_code == 302
    now = thin.in_force()
    assert now.test_recipients == ("ann@acme.example", "@staff.example", "*")
    assert (now.keep_content.days, now.keep_recipients.days) == (7, 20)
    assert "Days after which what invitations said is deleted: 30 → 7" in web.get(POLICY).text
    for name, text in (("test_recipients", "nobody"), ("keep_content", "0"), ("keep_recipients", "")):
        assert web.post(POLICY, data={**OPEN, name: text}).status_code == 422, name


def test_tenants_are_chosen_among_those_that_exist(web, thin):
    """An id that was not offered is rejected."""
    answer = web.post(POLICY, data={**OPEN, "who": "chosen", "allowed_tenants": ["nobody"]})
    assert answer.status_code == 422
    assert "There is no such tenant." in answer.text


@pytest.fixture
def crowd(thin):
    """More tenants than a form can show, two of them with the same name and one right-to-left."""
    named = {f"t{number}": f"Tenant {number:03}" for number in range(120)} | {
        "a1": "Twins",
        "a2": "Twins",
        "he": "مركز",
    }
    thin.host.tenants = {key: Tenant(tenant_id=key, name=name) for key, name in named.items()}
    return thin.host.tenants


def test_many_tenants_are_prepared_before_they_count(web, thin, db_session, crowd):
    """The list is selected on its own page while all tenants may; one choice then applies it, and one suspends it."""
    page = web.get(POLICY).text
    assert 'name="allowed_tenants"' not in page
    assert "nobody would be allowed" in page
    web.post(f"{TENANTS}?q=twins", data={"shown": ["a1", "a2"], "chosen": ["a2"]})
    assert "It counts once only chosen tenants may" in web.get(TENANTS).text
    assert thin.in_force().allowed_tenants is None
    assert "1 tenant is chosen:" in web.get(POLICY).text
    web.post(POLICY, data={**OPEN, "who": "chosen"})
    assert thin.in_force().allowed_tenants == {"a2"}
    assert "In force now: 1 tenant may" in web.get(TENANTS).text
    web.post(POLICY, data=OPEN)
    assert thin.in_force().allowed_tenants is None
    assert thin.policy.chosen(db_session) == {"a2"}


def test_saving_the_policy_undoes_no_choice_of_a_tenant(web, thin, db_session, crowd, monkeypatch):
    """The form names no tenants where there are many: one that is chosen while it is saved stays chosen."""
    thin.policy.change(db_session, {"allowed_tenants": frozenset({"t1"})}, user_id="root")
    db_session.commit()
    monkeypatch.setattr(Policy, "chosen", lambda *_where: frozenset({"read before t1 was chosen"}))
    web.post(POLICY, data={**OPEN, "who": "chosen", "ceiling_connections": "3"})
    assert (thin.in_force().ceiling_connections, thin.in_force().allowed_tenants) == (3, {"t1"})


def test_ticks_change_only_the_tenants_that_were_shown(web, thin, db_session, crowd):
    """Tenants on other pages stay unchanged, and the log names those that were added and removed."""
    thin.policy.change(db_session, {"allowed_tenants": frozenset({"t1", "t100"})}, user_id="root")
    db_session.commit()
    answer = web.post(f"{TENANTS}?page=1&show=all", data={"shown": ["t1", "t2", "t3"], "chosen": ["t2"]})
    assert answer.location.endswith("/platform/tenants?page=1&show=all")
    assert thin.in_force().allowed_tenants == {"t2", "t100"}
    page = web.get(POLICY).text
    assert "Tenants that were chosen: Tenant 002" in page
    assert "Tenants that are no longer chosen: Tenant 001" in page
    assert "<bdi>Tenant 100</bdi>, <bdi>Tenant 002</bdi>." in page


def test_tenants_are_found_by_name_and_id_in_pages(web, thin, db_session, crowd):
    """Fifty on a page; a number beyond the end shows the last page; an unknown text says so."""
    thin.policy.choose(db_session, add=frozenset({"t7"}), by="root")
    db_session.commit()
    pages = [web.get(f"{TENANTS}?page={number}").text.count('name="chosen"') for number in (1, 3, 99)]
    assert pages == [50, 24, 24]  # plus the acting person's tenant
    for question, wanted in (
        ("q=TENANT+007", 1),
        ("q=t7", 11),
        ("show=chosen", 1),
        ("q=%D8%B1", 1),
        ("q=%25", 0),
    ):
        assert web.get(f"{TENANTS}?{question}").text.count('name="chosen"') == wanted, question
    assert "No tenant fits." in web.get(f"{TENANTS}?q=%25").text
    assert "(1)" in web.get(f"{TENANTS}?show=others").text


def test_many_tenants_are_pasted(web, thin, db_session, crowd):
    """Ids and names, one per line; nothing is selected while a line matches no tenant, or more than one."""
    for text, words in (
        ("t1\nNobody <b>", "There is no such tenant: “Nobody &lt;b&gt;”."),
        ("twins", "Several tenants are called so, please write their ids: “twins”."),
        (" \n", "fill in"),
    ):
        answer = web.post(TENANTS, data={"many": text})
        assert answer.status_code == 422
        assert words in answer.text, text
    assert not thin.policy.chosen(db_session)
    assert web.post(TENANTS, data={"many": " t1 \r\ntenant 002\n\nمركز\n"}).status_code == 302
    assert thin.policy.chosen(db_session) == {"t1", "t2", "he"}


def test_a_forged_tenant_is_not_chosen(web, thin, db_session, crowd):
    """An unknown id is rejected, whether ticked or shown."""
    for data in ({"shown": ["nobody"]}, {"shown": ["t1"], "chosen": ["nobody"]}):
        answer = web.post(TENANTS, data=data)
        assert answer.status_code == 422
        assert "There is no such tenant." in answer.text
    assert not thin.policy.chosen(db_session)


def test_what_the_configuration_says_of_tenants_holds(web, thin, db_session, crowd):
    """Then nothing can be selected, and the policy's page names the first ones of many."""
    thin.policy = Policy(replace(thin.settings, allowed_tenants=frozenset(crowd)), frozenset({"allowed_tenants"}))
    assert web.get(TENANTS).status_code == web.post(TENANTS, data={"many": "t1"}).status_code == 409
    assert "113 more" in web.get(POLICY).text
    assert db_session.query(PolicyValue).count() == 0


def test_the_page_does_not_grow_with_the_tenants(web, thin, crowd):
    """Ten times as many tenants make neither page longer."""
    few = [len(web.get(address).data) for address in (POLICY, TENANTS)]
    crowd |= {f"u{number}": Tenant(tenant_id=f"u{number}", name="U") for number in range(1200)}
    many = [len(web.get(address).data) for address in (POLICY, TENANTS)]
    assert all(after < before + 100 for before, after in zip(few, many, strict=True))


def test_ports_only_become_fewer(web, thin):
    """Without the operator's permission the page can close ports and open none; an empty list is rejected."""
    for ports, words in (
        ("25, 22", "Only the configuration opens further ports"),
        ("", "fill in"),
        ("99999", "Ports are"),
    ):
        answer = web.post(POLICY, data={**OPEN, "allowed_ports": ports})
        assert answer.status_code == 422
        assert words in answer.text
    web.post(POLICY, data={**OPEN, "allowed_ports": "587"})
    assert thin.in_force().allowed_ports == {587}
    refused = web.post("/own-smtp/servers/new", data={**TYPED, "port": "465"})
    assert "Allowed on this platform: 587." in refused.text


def test_networks_and_plain_text_are_the_operators(web, thin):
    """By default the page only shows them, and typing them into the form has no effect."""
    page = web.get(POLICY).text
    assert "OWN_SMTP_ALLOWED_NETWORKS" in page
    assert "127.0.0.0/8" in page
    web.post(POLICY, data={**OPEN, "allowed_networks": "10.0.0.0/8", "allow_plaintext": "y"})
    assert thin.in_force() == thin.settings


def test_the_operator_may_leave_networks_to_the_page(web, thin, network_page):
    """Then private networks, further ports and plain text can be allowed."""
    data = {**OPEN, "allowed_ports": "25, 1025", "allowed_networks": "10.1.0.0/16\nfd12::/32", "allow_plaintext": "y"}
    assert web.post(POLICY, data=data).status_code == 302
    now = thin.in_force()
    assert now.allowed_ports == {25, 1025}
    assert [str(network) for network in now.allowed_networks] == ["10.1.0.0/16", "fd12::/32"]
    assert now.allow_plaintext


@pytest.mark.parametrize(
    "network",
    ["127.0.0.0/8", "169.254.169.254/32", "0.0.0.0/0", "100.64.0.0/10", "::1/128", "fd00:ec2::254/128", "fc00::/7"],
)
def test_no_page_opens_the_machine_itself(web, thin, network_page, network):
    """Loopback, link-local and the credential addresses of clouds can only be opened in the configuration."""
    answer = web.post(POLICY, data={**OPEN, "allowed_networks": network})
    assert answer.status_code == 422
    assert "Only private networks can be opened here" in answer.text
    assert thin.in_force().allowed_networks == ()


def test_a_page_that_only_shows(web, thin):
    """If the configuration says so there is no form, and a forged one changes nothing."""
    thin.policy = Policy(replace(thin.settings, policy_page=PolicyPage.SHOW), frozenset())
    page = web.get(POLICY).text
    assert "<form" not in page
    assert "OWN_SMTP_RELAYS_PER_TENANT" in page
    web.post(POLICY, data={**OPEN, "relays_per_tenant": "1"})
    assert thin.in_force().relays_per_tenant == 200


def test_refused_servers_try_again_after_a_change(web, thin, db_session):
    """Servers that the policy paused are tried at once; servers that a person paused stay paused."""
    refused, stopped = (add_relay(db_session, thin, active=True, label=label) for label in ("Refused", "Stopped"))
    for relay, reason in ((refused, PauseReason.FORBIDDEN), (stopped, PauseReason.PERSON)):
        relay.state, relay.pause_reason = RelayState.PAUSED, reason
    db_session.commit()
    web.post(POLICY, data={**OPEN, "relays_per_tenant": "5"})
    db_session.expire_all()
    assert db_session.get_one(Relay, refused.id).probe_at is not None
    assert db_session.get_one(Relay, stopped.id).probe_at is None


def test_the_servers_of_all_tenants(web, thin, db_session):
    """State and health of each, found by tenant, server or sender; no password, and no recipient's address."""
    thin.host.tenants = {"evil": Tenant(tenant_id="evil", name="Evil Ltd")}
    mine = add_relay(db_session, thin, active=True, label="Mine")
    add_relay(db_session, thin, tenant_id="evil", label="Theirs", host="mx.evil.example")
    error = "550 5.1.1 <someone@private.example>: user unknown"
    db_session.add(Lease(relay_id=mine.id, last_error_at=datetime(2026, 1, 1, tzinfo=UTC), last_error=error))
    db_session.commit()
    page = web.get(ALL).text
    for words in ("Mine", "Theirs", "Evil Ltd", "Failing", "user unknown", "mx.evil.example:587"):
        assert words in page
    for words in ("someone", "private.example", PASSWORD):
        assert words not in page
    for text in ("ltd", "MX.evil", "theirs", "evil"):
        found = web.get(f"{ALL}?q={text}").text
        assert "Theirs" in found, text
        assert "Mine" not in found, text
    assert "Theirs" not in web.get(f"{ALL}?show=attention").text
    assert "No server fits." in web.get(f"{ALL}?q=100%25").text


def test_only_administrators_get_there(web, thin, db_session):
    """All permissions within a tenant do not include other tenants."""
    thin.host.allowed = set(Action) - {Action.ADMINISTER}
    add_relay(db_session, thin)
    for address in (POLICY, ALL, TENANTS):
        assert web.get(address).status_code == 403
    assert "all tenants" not in web.get("/own-smtp/").text


def test_settings_are_named_in_the_log():
    """Every setting that the page changes has a label, and exists."""
    from own_smtp.relays.policy import EDITABLE
    from own_smtp.reporting.audit_texts import FIELDS

    assert set(EDITABLE) <= set(FIELDS)
    assert all(hasattr(Settings(), name) for name in EDITABLE)


def test_who_must_confirm_a_server_is_a_matter_of_policy(web, thin):
    """An administrator changes it, and the log describes the change."""
    assert web.post(POLICY, data={**OPEN, "confirmation_rule": "any"}).status_code == 302
    assert thin.in_force().confirmation_rule == "any"
    assert "→ The address that the tenant enters, whatever it is" in web.get(POLICY).text
    assert web.post(POLICY, data={**OPEN, "confirmation_rule": "nobody"}).status_code == 422
