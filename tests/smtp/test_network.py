"""Hosts, addresses and ports that may be reached."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from own_smtp.errors import ForbiddenError, NoSuchHostError, ResolverError, TargetError, TargetRefusedError
from own_smtp.settings import Settings
from own_smtp.smtp import network
from own_smtp.smtp.network import CANNOT_BE_REACHED, REFUSED, NetworkPolicy, embedded, resolve, system_resolver
from own_smtp.smtp.values import Identity, Limits, RelayProfile
from own_smtp.states import Security

PUBLIC = NetworkPolicy.from_settings(Settings())


def allowing(*networks: str, ports: str = "25") -> NetworkPolicy:
    return NetworkPolicy.from_settings(
        Settings.from_config({"OWN_SMTP_ALLOWED_NETWORKS": networks, "OWN_SMTP_ALLOWED_PORTS": ports})
    )


def answering(*answers: Sequence[str] | Exception) -> tuple[network.Resolver, list[str]]:
    """Return a resolver that returns these answers in turn, and the list of its queries."""
    asked: list[str] = []

    async def resolver(host: str, _port: int) -> Sequence[str]:
        answer = answers[len(asked)]
        asked.append(host)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return resolver, asked


REFUSED_ADDRESSES = [
    "0.0.0.0",  # noqa: S104 -- refused, not bound to
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.31.196.1",
    "192.52.193.1",
    "192.88.99.1",
    "192.168.1.1",
    "192.175.48.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::127.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "100::1",
    "100:0:0:1::1",
    "2001::1",
    "2001:0:7f00:1::",
    "2001:1::1",
    "2001:2::1",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "2620:4f:8000::1",
    "3ffe::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "2a00:1450::5efe:127.0.0.1",
    "2a00:1450::200:5efe:10.0.0.1",
]
ALLOWED_ADDRESSES = [
    "1.1.1.1",
    "8.8.8.8",
    "9.255.255.255",
    "11.0.0.1",
    "100.63.255.255",
    "100.128.0.1",
    "168.63.129.17",
    "172.15.255.255",
    "172.32.0.1",
    "192.0.1.1",
    "198.20.0.1",
    "223.255.255.255",
    "2001:200::1",
    "2001:4860:4860::8888",
    "2606:4700::1111",
    "2a00:1450:4001::1b",
    "2a00:1450::5efe:8.8.8.8",
]


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_non_public_addresses_are_refused(address):
    """No special-purpose address, and no such IPv4 address inside an IPv6 one, is reached by default."""
    assert not PUBLIC.allows(address)


@pytest.mark.parametrize("address", ALLOWED_ADDRESSES)
def test_public_addresses_are_allowed(address):
    """The neighbours of the refused networks, and well-known public hosts, are reached."""
    assert PUBLIC.allows(address)


@pytest.mark.parametrize("address", ["", "localhost", "127.1", "0177.0.0.1", "1.2.3.4.5", "10.0.0.1/8", "2130706433"])
def test_an_invalid_address_is_refused(address):
    """A resolver's answer that is not an address is refused."""
    assert not allowing("0.0.0.0/0", "::/0").allows(address)


def test_every_refused_network_has_a_reason_and_is_refused():
    """Every row of the table has a reason, and both ends of each network are refused."""
    for net, reason in REFUSED:
        assert len(reason) > 5
        assert not PUBLIC.allows(net[0])
        assert not PUBLIC.allows(net[-1])


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_an_allowed_address_is_global_to_python_too(address):
    """Python's own table may be more permissive, never stricter."""
    if PUBLIC.allows(address):
        assert address.is_global
        assert not address.is_multicast


@given(st.sampled_from([net for net, _ in REFUSED]).flatmap(lambda net: st.ip_addresses(network=net)))
def test_every_address_of_a_refused_network_is_refused_until_it_is_listed(address):
    """The operator's entry for exactly this address allows it, unless it contains an IPv4 address that is refused."""
    assert not PUBLIC.allows(address)
    inner = [item for item in embedded(address) if not PUBLIC.allows(item)]
    assert allowing(str(address)).allows(address) is not bool(inner)


@given(st.ip_addresses(v=4))
def test_ipv4_inside_ipv6_counts_as_itself(inner):
    """An address that contains an IPv4 address is reached only if the platform allows both."""
    number = int(inner)
    for outer, prefix in (
        (0x64FF9B << 96 | number, "64:ff9b::/96"),
        (0xFFFF << 32 | number, "::ffff:0:0/96"),
        (0x2002 << 112 | number << 80, "2002::/16"),
        (0x20010000 << 96 | 0x08080808 << 64 | number ^ 0xFFFFFFFF, "2001::/32"),
    ):
        address = ipaddress.IPv6Address(outer)
        assert not PUBLIC.allows(address)
        assert allowing(prefix).allows(address) == PUBLIC.allows(inner)


@pytest.mark.parametrize(
    "address",
    ["64:ff9b:1::127.0.0.1", "64:ff9b:1:7f00:0:100::", "64:ff9b:1:ab7f:0:1::", "64:ff9b:1:abcd:7f:0:100:0"],
)
def test_a_local_nat64_is_read_in_every_length(address):
    """127.0.0.1 behind a prefix of 48, 56, 64 or 96 bits is loopback, whatever the operator's NAT64 uses."""
    assert ipaddress.IPv4Address("127.0.0.1") in embedded(ipaddress.IPv6Address(address))
    assert not allowing("64:ff9b:1::/48").allows(address)


def test_a_local_nat64_can_be_allowed():
    """An operator that lists its NAT64 reaches public hosts behind it."""
    assert allowing("64:ff9b:1::/48").allows("64:ff9b:1::8.8.8.8")


def test_loopback_can_be_allowed():
    """An operator that lists loopback reaches it in all its forms; its neighbours stay refused."""
    policy = allowing("127.0.0.0/8", "::1/128")
    assert all(policy.allows(address) for address in ("127.0.0.1", "::1", "::ffff:127.0.0.1"))
    assert not policy.allows("10.0.0.1")
    assert not policy.allows("::")


def test_only_the_listed_ports_may_be_used():
    """A port that the operator did not list is refused before anything is resolved."""
    resolver, asked = answering(["8.8.8.8"])
    with pytest.raises(TargetRefusedError, match=CANNOT_BE_REACHED):
        asyncio.run(resolve("mail.example.org", 22, PUBLIC, resolver))
    assert asked == []
    for port in (25, 465, 587, 2525):
        PUBLIC.check_port(port)


def test_a_target_holds_the_checked_addresses_in_order():
    """Addresses keep the resolver's order, each once."""
    resolver, _ = answering(["2606:4700::1111", "1.1.1.1", "1.1.1.1"])
    target = asyncio.run(resolve("mail.example.org", 25, PUBLIC, resolver))
    assert (target.host, target.port, target.addresses) == ("mail.example.org", 25, ("2606:4700::1111", "1.1.1.1"))


@pytest.mark.parametrize(
    "answer", [["10.0.0.1"], ["1.1.1.1", "10.0.0.1"], ["1.1.1.1", "::ffff:127.0.0.1"], ["rubbish"]]
)
def test_one_refused_address_refuses_the_name(answer):
    """Mixed answers are refused as a whole, with a text that does not reveal the address."""
    resolver, _ = answering(answer)
    with pytest.raises(TargetRefusedError, match=rf"^mail\.example\.org {CANNOT_BE_REACHED}\.$"):
        asyncio.run(resolve("mail.example.org", 25, PUBLIC, resolver))


def test_a_rebinding_resolver_is_asked_once_for_each_target():
    """The second answer is not used for the first target, and refused when the name is resolved again."""
    resolver, asked = answering(["8.8.8.8"], ["127.0.0.1"])

    async def scenario() -> None:
        target = await resolve("mail.example.org", 25, PUBLIC, resolver)
        assert (target.addresses, asked) == (("8.8.8.8",), ["mail.example.org"])
        with pytest.raises(TargetRefusedError):
            await resolve("mail.example.org", 25, PUBLIC, resolver)
        assert target.addresses == ("8.8.8.8",)

    asyncio.run(scenario())


def test_every_address_is_checked_though_few_are_tried():
    """A refused address behind those that will be tried refuses the name, too."""
    many = [f"8.8.8.{number}" for number in range(100)]
    resolver, _ = answering(many, [*many, "127.0.0.1"])
    assert len(asyncio.run(resolve("a.example", 25, PUBLIC, resolver)).addresses) == network.MOST_ADDRESSES
    with pytest.raises(TargetRefusedError):
        asyncio.run(resolve("a.example", 25, PUBLIC, resolver))


def test_an_address_needs_no_resolver():
    """A literal is checked as it is, without a look-up."""
    resolver, asked = answering()
    assert asyncio.run(resolve("2606:4700:0::1111", 25, PUBLIC, resolver)).addresses == ("2606:4700::1111",)
    with pytest.raises(TargetRefusedError):
        asyncio.run(resolve("::1", 25, PUBLIC, resolver))
    assert asked == []


def test_an_empty_answer_means_no_such_host():
    """An empty answer means that the host does not exist."""
    resolver, _ = answering([])
    with pytest.raises(NoSuchHostError):
        asyncio.run(resolve("mail.example.org", 25, PUBLIC, resolver))


def test_a_resolver_that_does_not_answer_times_out():
    """The deadline covers the resolver; the error counts as temporary."""

    async def never(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    with pytest.raises(ResolverError, match="later"):
        asyncio.run(resolve("mail.example.org", 25, PUBLIC, never, seconds=0.01))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (socket.EAI_NONAME, NoSuchHostError),
        (socket.EAI_NODATA, NoSuchHostError),
        (socket.EAI_AGAIN, ResolverError),
        (socket.EAI_FAIL, ResolverError),
        (socket.EAI_SYSTEM, ResolverError),
    ],
)
def test_the_systems_errors_are_distinguished(monkeypatch, number, error):
    """A name that does not exist pauses a relay; a DNS that does not answer only delays it."""

    def fail(*_args: object, **_options: object) -> None:
        raise socket.gaierror(number, "as the system says")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with pytest.raises(error, match=r"mail\.example\.org"):
        asyncio.run(system_resolver("mail.example.org", 25))


def test_the_system_is_asked_outside_of_the_loop(monkeypatch):
    """A slow DNS does not block other sessions."""
    threads = []

    def look_up(host: str, port: int, *_args: object, **_options: object) -> list[object]:
        threads.append(threading.current_thread())
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.7", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert asyncio.run(system_resolver("mail.example.org", 25)) == ["192.0.2.7"]
    assert threads != [threading.main_thread()]


def test_the_system_resolves_localhost():
    """The real resolver returns addresses that the policy understands, and refuses."""
    addresses = asyncio.run(system_resolver("localhost", 25))
    assert addresses
    assert all(allowing("127.0.0.0/8", "::1/128").allows(address) for address in addresses)
    with pytest.raises(TargetRefusedError):
        asyncio.run(resolve("localhost", 25, PUBLIC))


@pytest.mark.parametrize("host", ["127.1", "0x7f000001", "2130706433", "0177.0.0.1", "0"])
def test_disguised_loopback_is_refused_even_when_stored(host):
    """Notations that `clean_host` refuses are also refused by their address, if the system resolves them."""
    with pytest.raises(TargetError):
        asyncio.run(resolve(host, 25, PUBLIC))


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "a..example"])
def test_an_impossible_name_does_not_exist(host):
    """A name that Python refuses to encode is an unknown host, not a crash."""
    with pytest.raises(NoSuchHostError):
        asyncio.run(system_resolver(host, 25))


def relay_of(tenant: str, security: Security = Security.STARTTLS) -> RelayProfile:
    return RelayProfile(
        relay_id=1,
        tenant_id=tenant,
        label="Acme",
        host="mail.example.org",
        port=587,
        security=security,
        credentials=None,
        fingerprint=None,
        identity=Identity(address="research@acme.example"),
        envelope_sender="research@acme.example",
        ehlo_name=None,
        limits=Limits(),
        revision=1,
    )


def test_all_tenants_are_admitted_unless_the_operator_names_some():
    """An empty list admits no tenant; it differs from `None`."""
    assert PUBLIC.admits("acme")
    named = NetworkPolicy(allowed_ports={25}, allowed_tenants=frozenset({"acme"}))
    assert named.admits("acme")
    assert not named.admits("other")
    assert not NetworkPolicy(allowed_ports={25}, allowed_tenants=frozenset()).admits("acme")


def test_a_relay_of_a_tenant_that_is_not_admitted_is_forbidden():
    """Whatever its encryption; a relay of an admitted tenant is allowed."""
    named = NetworkPolicy(allowed_ports={25}, allow_plaintext=True, allowed_tenants=frozenset({"acme"}))
    named.check_relay(relay_of("acme"))
    for security in Security:
        with pytest.raises(ForbiddenError, match="this account"):
            named.check_relay(relay_of("other", security))


def test_plain_text_is_forbidden_unless_the_operator_allows_it():
    """Both kinds of TLS are allowed under any policy."""
    for security in (Security.STARTTLS, Security.IMPLICIT):
        PUBLIC.check_relay(relay_of("acme", security))
    with pytest.raises(ForbiddenError, match="without encryption"):
        PUBLIC.check_relay(relay_of("acme", Security.NONE))
    NetworkPolicy(allowed_ports={25}, allow_plaintext=True).check_relay(relay_of("acme", Security.NONE))


def test_a_policy_has_the_values_of_the_settings():
    """All four values are used; by default only public networks may be reached, and only under TLS."""
    settings = Settings.from_config(
        {
            "OWN_SMTP_ALLOWED_PORTS": "26",
            "OWN_SMTP_ALLOWED_NETWORKS": ["10.1.0.0/16"],
            "OWN_SMTP_ALLOW_PLAINTEXT": True,
            "OWN_SMTP_ALLOWED_TENANTS": ["acme"],
        }
    )
    policy = NetworkPolicy.from_settings(settings)
    assert (policy.allow_plaintext, policy.allowed_tenants) == (True, frozenset({"acme"}))
    policy.check_port(26)
    assert policy.allows("10.1.2.3")
    assert not policy.allows("10.2.2.3")
    with pytest.raises(TargetRefusedError):
        policy.check_port(25)
    assert (PUBLIC.allow_plaintext, PUBLIC.allowed_tenants, PUBLIC.allowed_networks) == (False, None, ())


def test_the_operators_own_server_may_be_anywhere():
    """Also on loopback, without TLS, on any port."""
    policy = NetworkPolicy.trusting()
    for port in (1, 25, 65535):
        policy.check_port(port)
    for port in (0, 65536):
        with pytest.raises(TargetRefusedError):
            policy.check_port(port)
    assert all(policy.allows(address) for address in ("127.0.0.1", "::1", "10.0.0.1", "64:ff9b::7f00:1", "8.8.8.8"))
    policy.check_relay(relay_of("anybody", Security.NONE))


@pytest.mark.parametrize("line", range(len(REFUSED)))
def test_no_row_of_the_table_is_redundant(monkeypatch, line):
    """Without it some address would be reached, or have the reason of a wider row."""
    network_of_line, _reason = REFUSED[line]
    others = REFUSED[:line] + REFUSED[line + 1 :]
    monkeypatch.setattr(network, "REFUSED", others)
    covered = any(
        network_of_line.version == other.version and network_of_line.subnet_of(other) for other, _why in others
    )
    ends = (network_of_line[0], network_of_line[-1])
    assert covered or any(PUBLIC.allows(end) or list(embedded(end)) for end in ends)


@pytest.mark.parametrize(
    ("address", "inner"),
    [
        ("::8.8.8.8", ["8.8.8.8"]),
        ("::ffff:8.8.8.8", ["8.8.8.8"]),
        ("::ffff:0:8.8.8.8", ["8.8.8.8"]),
        ("64:ff9b::8.8.8.8", ["8.8.8.8"]),
        ("2002:808:808::1", ["8.8.8.8"]),
        ("2001:0:808:808:0:0:f7f7:f7f7", ["8.8.8.8", "8.8.8.8"]),
        ("2a00:1450::5efe:8.8.8.8", ["8.8.8.8"]),
        ("2a00:1450::200:5efe:8.8.8.8", ["8.8.8.8"]),
        ("2a00:1450::5eff:8.8.8.8", []),
        ("2a00:1450::1:5efe:8.8.8.8", []),
        ("::", []),
        ("::1", []),
        ("::2", ["0.0.0.2"]),
        ("8.8.8.8", []),
    ],
)
def test_embedded_ipv4_addresses_are_found(address, inner):
    """By the RFC of each kind: compatible, mapped, translated, NAT64, 6to4, Teredo's two, ISATAP's two."""
    assert [str(found) for found in embedded(ipaddress.ip_address(address))] == inner


def test_a_public_address_of_this_machine_is_refused(monkeypatch):
    """Its own mail server trusts it: a tenant would send through it as the platform, without a password."""
    monkeypatch.setattr(network, "REFUSED", ())  # as if loopback were a public address
    with pytest.raises(TargetRefusedError, match=CANNOT_BE_REACHED):
        asyncio.run(resolve("127.0.0.1", 25, PUBLIC))
    assert asyncio.run(resolve("127.0.0.1", 25, allowing("127.0.0.0/8"))).addresses == ("127.0.0.1",)
    assert asyncio.run(resolve("192.0.2.1", 25, PUBLIC)).addresses == ("192.0.2.1",)
