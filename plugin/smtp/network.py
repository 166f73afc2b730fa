"""Hosts, addresses and ports that may be reached: a name is resolved once, and connections go to checked addresses.

A tenant chooses where the platform connects to. Without checks tenants could scan the platform's own network. So every
address that a name resolves to is checked, and the connection is made to a checked address, never to the name: a later
change in the DNS has no effect (DNS rebinding). Each further connection resolves and checks again.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Container, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Protocol

from own_smtp.errors import ForbiddenError, NoSuchHostError, ResolverError, TargetRefusedError
from own_smtp.settings import Network, Settings
from own_smtp.smtp.connection import Connection
from own_smtp.smtp.hostnames import literal
from own_smtp.smtp.values import RelayProfile
from own_smtp.states import Security

Address = IPv4Address | IPv6Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Returns a name's IP addresses in the order to try. Raises `NoSuchHostError` or `ResolverError`."""

CANNOT_BE_REACHED = "cannot be reached from this platform"
"""Shown to tenants for a refused target, a closed port and a filtered one alike: differences would reveal a network."""

MOST_ADDRESSES = 8
"""The number of a name's addresses that are tried; all of them are checked."""

# `ipaddress.is_global` is not used: its table differs between releases of Python, and in some of them it is true
# for multicast, for 6to4 and for IPv4 inside IPv6. Sources: IANA's special-purpose registries and the RFCs named.
REFUSED: tuple[tuple[Network, str], ...] = tuple(
    (ip_network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "this network; Linux connects 0.0.0.0 to itself (RFC 791)"),
        ("10.0.0.0/8", "private (RFC 1918)"),
        ("100.64.0.0/10", "behind a carrier's NAT, and metadata of some clouds (RFC 6598)"),
        ("127.0.0.0/8", "loopback (RFC 1122)"),
        ("168.63.129.16/32", "the virtual host of Azure: public by its number only"),
        ("169.254.0.0/16", "link-local, and metadata of most clouds (RFC 3927)"),
        ("172.16.0.0/12", "private (RFC 1918)"),
        ("192.0.0.0/24", "IETF protocol assignments, and metadata of a cloud (RFC 6890)"),
        ("192.0.2.0/24", "documentation (RFC 5737)"),
        ("192.31.196.0/24", "AS112 anycast (RFC 7535)"),
        ("192.52.193.0/24", "automatic multicast tunnelling (RFC 7450)"),
        ("192.88.99.0/24", "6to4 relays, deprecated (RFC 7526)"),
        ("192.168.0.0/16", "private (RFC 1918)"),
        ("192.175.48.0/24", "AS112 direct delegation (RFC 7534)"),
        ("198.18.0.0/15", "benchmarking (RFC 2544)"),
        ("198.51.100.0/24", "documentation (RFC 5737)"),
        ("203.0.113.0/24", "documentation (RFC 5737)"),
        ("224.0.0.0/4", "multicast (RFC 5771)"),
        ("240.0.0.0/4", "reserved, and broadcast (RFC 1112)"),
        ("::/96", "unspecified, loopback and IPv4-compatible (RFC 4291)"),
        ("::ffff:0:0/96", "IPv4-mapped: the kernel connects to the IPv4 address (RFC 4291)"),
        ("::ffff:0:0:0/96", "IPv4-translated (RFC 2765)"),
        ("64:ff9b::/96", "NAT64: translated to the IPv4 address (RFC 6052)"),
        ("64:ff9b:1::/48", "NAT64 of the local network (RFC 8215)"),
        ("100::/64", "discarded (RFC 6666)"),
        ("::/3", "not global unicast (RFC 4291)"),
        ("2001::/32", "Teredo (RFC 4380)"),
        ("2001::/23", "IETF protocol assignments, benchmarking and ORCHID among them (RFC 2928)"),
        ("2001:db8::/32", "documentation (RFC 3849)"),
        ("2002::/16", "6to4: tunnelled to the IPv4 address (RFC 3056)"),
        ("2620:4f:8000::/48", "AS112 direct delegation (RFC 7534)"),
        ("3ffe::/16", "6bone, returned to IANA (RFC 3701)"),
        ("3fff::/20", "documentation (RFC 9637)"),
        ("4000::/2", "not global unicast, segment routing among it (RFC 9602)"),
        ("fc00::/7", "unique local, and metadata of some clouds (RFC 4193)"),
        ("fe80::/10", "link-local (RFC 4291)"),
        ("fec0::/10", "site-local, deprecated (RFC 3879)"),
        ("ff00::/8", "multicast (RFC 4291)"),
        ("8000::/1", "not global unicast (RFC 4291)"),
    )
)
"""Networks that are refused unless the platform's operator allows them, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A host whose addresses were all checked."""

    host: str
    """The name that the certificate must match."""
    port: int
    addresses: tuple[str, ...]
    """The addresses to try, in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    """The tenants, targets and protection of connections that the platform's operator allows."""

    allowed_ports: Container[int]
    allowed_networks: tuple[Network, ...] = ()
    """Exceptions from `REFUSED`."""
    allow_plaintext: bool = False
    allowed_tenants: frozenset[str] | None = None
    """`None` means all."""

    @classmethod
    def from_settings(cls, settings: Settings) -> NetworkPolicy:
        return cls(
            allowed_ports=settings.allowed_ports,
            allowed_networks=settings.allowed_networks,
            allow_plaintext=settings.allow_plaintext,
            allowed_tenants=settings.allowed_tenants,
        )

    @classmethod
    def trusting(cls) -> NetworkPolicy:
        """Return the policy for a server that the operator chose, not a tenant."""
        everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
        return cls(allowed_ports=range(1, 65536), allowed_networks=everywhere, allow_plaintext=True)

    def admits(self, tenant_id: str) -> bool:
        """Return whether a tenant may use its own mail servers at all."""
        return self.allowed_tenants is None or tenant_id in self.allowed_tenants

    def check_relay(self, profile: RelayProfile) -> None:
        """Raise `ForbiddenError` unless its tenant may use its own servers, and the encryption is sufficient."""
        if not self.admits(profile.tenant_id):
            raise ForbiddenError("This platform does not offer own mail servers to this account at present.")
        if profile.security is Security.NONE and not self.allow_plaintext:
            raise ForbiddenError("This platform does not allow mail servers without encryption at present.")

    def check_port(self, port: int) -> None:
        """Raise `TargetRefusedError` unless the port may be used."""
        if port not in self.allowed_ports:
            raise TargetRefusedError(f"Port {port} {CANNOT_BE_REACHED}.")

    def allows(self, address: str | Address) -> bool:
        """Return whether connections to an IP address are allowed; `False` for anything that is not an IP address.

        An IPv4 address inside an IPv6 one (NAT64, 6to4 ...) must be allowed as well: a platform that allows its NAT64
        prefix does not thereby allow loopback behind it.
        """
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        inner = tuple(embedded(ip))
        is_usual = not any(ip in network for network, _ in REFUSED)
        return (is_usual or self._lists(ip, *inner)) and all(self.allows(item) for item in inner)

    def lists(self, address: str) -> bool:
        """Return whether an address is in one of the operator's allowed networks."""
        return self._lists(ip_address(address))

    def _lists(self, *addresses: Address) -> bool:
        return any(address in network for network in self.allowed_networks for address in addresses)


def embedded(ip: Address) -> Iterator[IPv4Address]:
    """Yield the IPv4 addresses that a packet to this IPv6 address may reach.

    NAT64 with the operator's own prefix (RFC 6052, 2.2) looks like any other network and cannot be detected.
    """
    if isinstance(ip, IPv4Address) or int(ip) <= 1:
        return
    for network, shift, mask in _EMBEDDINGS:
        if ip in network:
            yield IPv4Address((int(ip) >> shift & _32_BITS) ^ mask)
    if ip in _NAT64_LOCAL:
        yield from _nat64_readings(ip)
    if int(ip) >> 32 & 0xFDFF_FFFF == _ISATAP:
        yield IPv4Address(int(ip) & _32_BITS)


def _nat64_readings(ip: IPv6Address) -> Iterator[IPv4Address]:
    """Read the IPv4 address behind a NAT64 prefix of 48, 56, 64 and 96 bits: its length is not known (RFC 6052)."""
    without_zero_octet = ip.packed[:8] + ip.packed[9:]
    readings = [without_zero_octet[start : start + 4] for start in (6, 7, 8)]
    # Wrong readings mostly begin with a zero; a right one that does cannot be reached.
    yield from (IPv4Address(reading) for reading in (*readings, ip.packed[12:]) if reading[0])


_32_BITS = 0xFFFF_FFFF
_ISATAP = 0x0000_5EFE
"""The middle of an ISATAP address, less its "universal" bit (RFC 5214, 6.1)."""
_NAT64_LOCAL = ip_network("64:ff9b:1::/48")
_EMBEDDINGS: tuple[tuple[Network, int, int], ...] = (
    # The network, the right shift of its IPv4 address in bits, and the mask (XOR) of its bits.
    (ip_network("::/96"), 0, 0),
    (ip_network("::ffff:0:0/96"), 0, 0),
    (ip_network("::ffff:0:0:0/96"), 0, 0),
    (ip_network("64:ff9b::/96"), 0, 0),
    (ip_network("2002::/16"), 80, 0),
    (ip_network("2001::/32"), 64, 0),
    (ip_network("2001::/32"), 0, _32_BITS),
)


async def system_resolver(host: str, port: int) -> Sequence[str]:
    """Ask the system (hosts file, DNS) in the loop's default executor.

    The caller sets the deadline, as `resolve` does; the system's own timeout ends the waiting thread.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_HOST:
            raise NoSuchHostError(_no_such_host(host)) from error
        raise ResolverError(_no_answer(host)) from error
    except UnicodeError as error:
        raise NoSuchHostError(_no_such_host(host)) from error
    return [str(address[0]) for *_, address in found]


# Not every C library has all three.
_NO_SUCH_HOST = {getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")}


async def resolve(
    host: str, port: int, policy: NetworkPolicy, resolver: Resolver = system_resolver, *, seconds: float = 30.0
) -> Target:
    """Find the addresses of a host within `seconds`, and check them and the port.

    One refused address refuses the name: no honest mail server has public and private addresses at once, and a partial
    list would reveal which addresses are refused.

    Raises `NoSuchHostError`, `ResolverError` (may succeed later) or `TargetRefusedError`.
    """
    policy.check_port(port)
    addresses = tuple(dict.fromkeys(await _look_up(host, port, resolver, seconds)))
    if not addresses:
        raise NoSuchHostError(_no_such_host(host))
    if not all(
        policy.allows(address) and (policy.lists(address) or not is_this_machine(address)) for address in addresses
    ):
        raise TargetRefusedError(f"{host} {CANNOT_BE_REACHED}.")
    return Target(host=host, port=port, addresses=addresses[:MOST_ADDRESSES])


def is_this_machine(address: str) -> bool:
    """Return whether an IP address is one of this machine's own, public ones included.

    The machine's own mail server usually accepts mail from it without a password. Asks the kernel for the source
    address of a packet to the address, without sending one.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as asked:
            asked.connect((address, 9))
            return ip_address(asked.getsockname()[0]) == ip_address(address)
    except OSError:  # there is no route to it
        return False


async def _look_up(host: str, port: int, resolver: Resolver, seconds: float) -> Sequence[str]:
    if (address := literal(host)) is not None:
        return [address]
    try:
        async with asyncio.timeout(seconds):
            return await resolver(host, port)
    except TimeoutError as error:
        raise ResolverError(_no_answer(host)) from error


def _no_such_host(host: str) -> str:
    return f"There is no host called {host}. Check the spelling."


def _no_answer(host: str) -> str:
    return f"The DNS does not answer for {host}. We'll retry later."


@dataclass(frozen=True, slots=True)
class Connected:
    """An open connection and the server's address."""

    connection: Connection
    address: str


class Dialer(Protocol):
    """Opens connections. Tests pass one that connects elsewhere."""

    async def __call__(self, target: Target, seconds: float) -> Connected:
        """Connect within `seconds` in all, or raise `OSError` or `TimeoutError`."""


async def dial(target: Target, seconds: float) -> Connected:
    """Connect to the first checked address that accepts the connection; each gets an equal share of the time."""
    loop = asyncio.get_running_loop()
    failure: OSError = ConnectionRefusedError("no address")
    for address in target.addresses:
        try:
            async with asyncio.timeout(seconds / len(target.addresses)):
                _, connection = await loop.create_connection(lambda: Connection(loop), address, target.port)
                return Connected(connection, address)
        except OSError as error:
            failure = error
    raise failure
