"""The platform's policy: precedence of its sources, and its effect on deliveries."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.errors import ConfigurationError
from own_smtp.relays.policy import EDITABLE, Policy, may_open, stored
from own_smtp.settings import ConfirmationRule, PolicyPage, Settings
from own_smtp.smtp.network import NetworkPolicy
from own_smtp.storage.models import PolicyValue, Relay
from tests.engine import TENANT, Platform


def lay_down(platform: Platform, **values: Any) -> None:
    """Change settings as an administrator does on the page."""
    with platform.app.app_context():
        session = platform.own_smtp.db.session()
        platform.runtime.policy.change(session, values, user_id="root")
        session.commit()


def leave_open(platform: Platform, *names: str, page: PolicyPage = PolicyPage.NETWORK) -> None:
    """Make the tests' configuration the default for these settings, without fixing them."""
    policy = Policy(replace(platform.own_smtp.settings, policy_page=page), frozenset(EDITABLE) - {*names})
    platform.own_smtp.policy = policy
    platform.with_parts(policy=policy)


# What may override what


@given(
    page=st.sampled_from(PolicyPage),
    fixed=st.frozensets(st.sampled_from(EDITABLE)),
    ports=st.frozensets(st.sampled_from([22, 25, 465, 587, 6379])),
    networks=st.lists(st.sampled_from(["127.0.0.0/8", "10.0.0.0/8", "0.0.0.0/0", "fd00:ec2::/64", "fd01::/16"])),
)
def test_no_row_opens_more_than_the_operator_allows(page, fixed, ports, networks):
    """Whatever the table contains: the configuration wins; only private networks open, and only if allowed."""
    policy = Policy(Settings(policy_page=page), fixed)
    typed = {"allowed_ports": ports, "allowed_networks": tuple(map(ip_network, networks)), "allow_plaintext": True}
    values = {name: policy.bounded(name, value) for name, value in typed.items() if policy.may_edit(name)}
    now = replace(policy.settings, **values)
    assert all(getattr(now, name) == getattr(policy.settings, name) for name in fixed)
    assert all(may_open(network) for network in now.allowed_networks)
    assert not NetworkPolicy.from_settings(now).allows("127.0.0.1")
    if page is not PolicyPage.NETWORK:
        assert now.allowed_ports <= policy.settings.allowed_ports
        assert not now.allowed_networks
        assert not now.allow_plaintext


def test_values_come_back_as_they_were(platform):
    """A value stored as JSON is read as the same setting."""
    leave_open(platform, *EDITABLE)
    values = {
        "allowed_tenants": frozenset({"acme", "other"}),
        "relays_per_tenant": 3,
        "ceiling_connections": 2,
        "ceiling_per_second": 0.5,
        "confirmation_rule": ConfirmationRule.SENDER,
        "test_recipients": ("@acme.example", "*"),
        "keep_content": timedelta(days=2),
        "keep_recipients": timedelta(days=3),
        "allowed_ports": frozenset({25, 587}),
        "allowed_networks": (ip_network("10.0.0.0/8"),),
        "allow_plaintext": False,
    }
    lay_down(platform, **values)
    with platform.engine.connect() as connection:
        now = platform.runtime.policy.in_force(connection)
    assert {name: getattr(now, name) for name in EDITABLE} == values


def test_a_configuration_that_became_stricter_counts_at_once(platform):
    """An older row has no effect on a setting that the configuration has fixed since."""
    leave_open(platform, "ceiling_connections")
    lay_down(platform, ceiling_connections=7)
    leave_open(platform)
    with platform.engine.connect() as connection:
        assert platform.runtime.policy.in_force(connection) == platform.runtime.policy.settings
    assert [row.value for row in platform.rows(PolicyValue)] == [7]


def test_configured_settings_are_fixed():
    """A configured key fixes its setting, also with the default's value."""
    config = {"OWN_SMTP_RELAYS_PER_TENANT": 200}
    policy = Policy.of(Settings.from_config(config), config)
    assert not policy.may_edit("relays_per_tenant")
    assert policy.may_edit("ceiling_connections")
    assert not policy.may_edit("encryption_keys")


def test_an_unknown_policy_page_stops_the_start():
    """A typing error never means the default."""
    with pytest.raises(ConfigurationError, match="OWN_SMTP_POLICY_PAGE"):
        Settings.from_config({"OWN_SMTP_POLICY_PAGE": "everything"})


def test_sets_are_stored_in_order():
    """The audit log shows no change if only the order of a set differs."""
    assert stored(frozenset({587, 25})) == [25, 587]


# What deliveries keep to


def test_a_tenant_that_is_not_allowed_waits_and_continues_later(platform, scripted):
    """Its server pauses before any connection and keeps the invitations; once allowed, it resumes automatically."""
    leave_open(platform, "allowed_tenants")
    relay = platform.add_relay(scripted)
    platform.send(relay, 2)
    lay_down(platform, allowed_tenants=frozenset({"somebody else"}))
    assert "does not offer own mail servers" in (platform.send(relay, ["late@example.org"]).waits_for or "")
    platform.drain(relay)
    assert platform.states() == {"queued": 3}
    assert (platform.relay(relay).state, platform.relay(relay).pause_reason) == ("paused", "forbidden")
    assert scripted.connections == []
    assert [change.pause_reason for change in platform.host.relay_changes] == ["forbidden"]
    lay_down(platform, allowed_tenants=frozenset({TENANT}))
    assert platform.relay(relay).probe_at is not None
    platform.change(relay, state="active")  # what the dispatcher does then
    platform.drain_again(relay)
    assert platform.states() == {"accepted": 3}
    assert platform.relay(relay).pause_reason is None


@pytest.mark.parametrize(
    ("values", "reason"),
    [({"allow_plaintext": False}, "forbidden"), ({"allowed_ports": frozenset({25})}, None)],
)
def test_a_stricter_policy_applies_to_existing_servers(platform, scripted, values, reason):
    """There are no connections to a server that was saved under a milder policy; a refused port looks closed."""
    leave_open(platform, *values)
    relay = platform.add_relay(scripted)
    platform.send(relay)
    lay_down(platform, **values)
    platform.drain(relay)
    assert platform.relay(relay).pause_reason == reason
    assert (platform.lease(relay).failing_since is not None) == (reason is None)
    assert platform.states() == {"queued": 1}
    assert scripted.connections == []


def test_a_ceiling_applies_to_the_next_drain(platform, scripted):
    """The administrator's maximum of connections overrides the relay's setting."""
    leave_open(platform, "ceiling_connections")
    lay_down(platform, ceiling_connections=1)
    relay = platform.add_relay(scripted, max_connections=4)
    platform.send(relay, 40)
    platform.drain(relay)
    assert platform.states() == {"accepted": 40}
    assert len(scripted.connections) == 1


def test_pages_and_confirmation_mails_see_the_same(platform):
    """Pages and mails use the current policy for connections."""
    leave_open(platform, "allowed_ports")
    lay_down(platform, allowed_ports=frozenset({587}))
    with platform.app.app_context():
        assert platform.own_smtp.network_policy.allowed_ports == {587}
        assert platform.own_smtp.in_force().allowed_ports == {587}
    assert platform.rows(Relay) == []
