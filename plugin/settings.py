"""The settings of a platform: frozen, with named defaults, one documented `OWN_SMTP_*` key for each."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from own_smtp.errors import ConfigurationError

SETTING_PREFIX = "OWN_SMTP_"

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long each phase of a conversation may take as a whole, in seconds (RFC 5321, 4.5.3.2)."""

    connect: float = 30.0
    banner: float = 300.0
    command: float = 300.0
    """EHLO, AUTH, MAIL, RCPT, RSET and the like, each."""
    data: float = 120.0
    """From DATA to its 354."""
    body: float = 180.0
    """For each megabyte of message text, begun ones included."""
    final_dot: float = 600.0
    quit: float = 5.0


INTERACTIVE = Deadlines(connect=8, banner=8, command=8, data=8, body=8, final_dot=15, quit=2)
"""For a person who waits in front of a page."""


class PolicyPage(StrEnum):
    """How far the page of the platform's policy reaches. What the configuration sets is fixed, whatever is chosen."""

    SHOW = "show"
    """It only shows what is in force."""
    EDIT = "edit"
    """It changes what the configuration leaves open, but opens no network: ports can only become fewer."""
    NETWORK = "network"
    """It also opens ports and private networks, and allows plain text."""


class ConfirmationRule(StrEnum):
    """Which addresses must confirm a mail server whose confirmation mail is to go elsewhere than to the sender.

    Without another address it is always the sender's.
    """

    SENDER = "sender"
    """Both."""
    DOMAIN = "domain"
    """The other one alone if it has the sender's organisational domain, else both."""
    ANY = "any"
    """The other one alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that a platform's operator can set. Each field is read from `OWN_SMTP_` and its name in capitals."""

    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys for stored passwords, each `id:base64`; the first encrypts, all decrypt."""
    public_url: str | None = None
    """Where people reach the platform, for links in mails: `https://surveys.example.org`."""
    url_prefix: str = "/own-smtp"
    """Where the pages are mounted."""
    platform_name: str = "Survey platform"
    """How confirmation mails and alerts call the platform."""
    redis_url: str = "redis://localhost:6379/0"
    queue: str = "own-smtp"
    """The name of the RQ queue."""
    journal_dir: Path | None = None
    """A local folder for the workers' journals; `None` means `own-smtp` in the instance folder."""
    policy_page: PolicyPage = PolicyPage.EDIT
    """What administrators may change on the page of the platform's policy."""
    allowed_tenants: frozenset[str] | None = None
    """The ids of the tenants that may use own mail servers; `None` means all."""
    allowed_ports: frozenset[int] = frozenset({25, 465, 587, 2525})
    allowed_networks: tuple[Network, ...] = ()
    """Networks that relays may be in although they are not public, such as `10.1.0.0/16`."""
    allow_plaintext: bool = False
    """Whether a relay may be used without TLS. Never with a password, whatever is set here."""
    relays_per_tenant: int = 200
    ceiling_connections: int = 20
    """The most connections at a time to one relay, whatever the tenant asks for."""
    ceiling_per_second: float | None = None
    """The most messages a second through one relay, whatever the tenant asks for."""
    window: int = 1
    """Messages in flight on one connection that offers CHUNKING; a crash leaves at most so many `unknown` there."""
    lease: timedelta = timedelta(seconds=30)
    """How long a relay stays with a worker that was not heard of."""
    slice: timedelta = timedelta(seconds=60)
    """How long a relay is drained before it goes to the back of the queue."""
    relays_per_worker: int = 64
    """How many relays one worker serves at a time while it waits for slow servers."""
    dispatch_interval: timedelta = timedelta(seconds=2)
    """How often waiting invitations are looked for."""
    machine_grace: timedelta = timedelta(hours=1)
    """After this, what a lost machine had claimed becomes `unknown`."""
    refusals_in_a_row: int = 5
    """So many different recipients refused in the same words, none accepted between: the relay pauses."""
    retry_horizon: timedelta = timedelta(days=3)
    """How long an invitation is tried after its first temporary failure."""
    first_retry: timedelta = timedelta(minutes=5)
    """The wait after an invitation's first temporary failure; it doubles from there."""
    longest_retry: timedelta = timedelta(hours=2)
    """The longest wait between two attempts."""
    reconnect: timedelta = timedelta(seconds=15)
    """The wait after a relay could not be reached; it doubles from there up to `OWN_SMTP_LONGEST_RECONNECT`."""
    longest_reconnect: timedelta = timedelta(minutes=15)
    confirmation_lifetime: timedelta = timedelta(hours=24)
    confirmation_cooldown: timedelta = timedelta(minutes=1)
    confirmation_rule: ConfirmationRule = ConfirmationRule.DOMAIN
    """Whether another address than the sender's may confirm a mail server: `sender`, `domain` or `any`."""
    keep_content: timedelta = timedelta(days=30)
    """How long the content of a finished batch is kept after the last change in it."""
    keep_recipients: timedelta = timedelta(days=180)
    """How long its recipients' addresses are kept before they are shortened."""
    queue_warning: timedelta = timedelta(hours=24)
    """A relay's owner is alerted when invitations wait for so long and none leaves."""
    failure_warning: timedelta = timedelta(minutes=15)
    """A relay's owner is alerted when there has been no usable connection for so long."""
    certificate_warning: timedelta = timedelta(days=14)
    """A relay's owner is alerted when the server's certificate ends within so long."""
    metrics_token: str | None = field(default=None, repr=False)
    """What a scraper shows to read `/metrics`; `None` means that nobody may."""
    metrics_tenants: bool = False
    """Whether the metrics name tenants and relays."""
    tests_per_tenant: int = 60
    """Tests of typed settings that one tenant can cause in an hour."""
    tests_per_person: int = 40
    """Tests of typed settings that one person can cause in an hour."""
    tests_per_target: int = 120
    """Tests of one server and port by all tenants in an hour, from which on each tenant waits between its own."""
    test_mails_per_tenant: int = 20
    """Test mails that one tenant can send in an hour."""
    test_mails_per_person: int = 10
    """Test mails that one person can send in an hour."""
    notices_per_tenant: int = 20
    """Notices of one cause that the platform mails to one tenant's people in an hour."""
    test_recipients: tuple[str, ...] = ()
    """Where test mails may go beside the acting person's own address: addresses, `@` and a domain, or `*` for any."""
    deadlines: Deadlines = Deadlines()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read a Flask configuration.

        Raises `ConfigurationError` for an unknown `OWN_SMTP_*` key and for a value of the wrong kind: a typing error
        must not silently mean the default.
        """
        known = {key_of(item.name): item.name for item in fields(cls)}
        given = {key: value for key, value in config.items() if key.startswith(SETTING_PREFIX)}
        if unknown := sorted(given.keys() - known.keys()):
            meant = get_close_matches(unknown[0].removeprefix(SETTING_PREFIX).lower(), known.values(), n=3)
            hint = (
                f"Did you mean {' or '.join(map(key_of, meant))}?" if meant else f"Known ones are {', '.join(known)}."
            )
            raise ConfigurationError(f"Unknown setting {', '.join(unknown)}. {hint}")
        return cls(**{known[key]: read_value(known[key], value) for key, value in given.items()})


def key_of(name: str) -> str:
    """Return the key of a setting in Flask's configuration."""
    return SETTING_PREFIX + name.upper()


def read_value(name: str, value: Any) -> Any:
    """Turn what somebody set into what the field `name` of `Settings` holds. Raises `ConfigurationError`."""
    reader: Callable[[str, Any], Any] = _READERS.get(name, _same_kind)
    try:
        return reader(name, value)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"{key_of(name)} cannot be {value!r}: {error}") from error


def _same_kind(name: str, value: Any) -> Any:
    default = _DEFAULTS[name]
    if isinstance(default, timedelta):
        return _duration(name, value)
    if isinstance(default, bool) and not isinstance(value, bool):
        raise TypeError("it must be True or False, which an environment variable says as `true` or `false`")
    if isinstance(default, bool) or not isinstance(default, (int, float)):
        if default is not None and not isinstance(value, type(default)):
            raise TypeError(f"it must be of type {type(default).__name__}")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value <= 0:
        raise ValueError("it must be a number above 0")
    return type(default)(value)


_NEVER_ZERO = frozenset({"dispatch_interval", "lease", "slice"})


def _duration(name: str, value: Any) -> timedelta:
    if isinstance(value, bool) or not isinstance(value, (int, float, timedelta)):
        raise TypeError("it must be a number of seconds or a datetime.timedelta")
    seconds = value if isinstance(value, timedelta) else timedelta(seconds=value)
    if seconds < timedelta(0):
        raise ValueError("it must not be negative")
    if not seconds and name in _NEVER_ZERO:
        raise ValueError("it must be above 0")
    return seconds


def _networks(_name: str, value: Any) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(item) for item in _listed(value))


def _ports(_name: str, value: Any) -> frozenset[int]:
    ports = frozenset(int(item) for item in _listed(value))
    if not all(0 < port < 65536 for port in ports):
        raise ValueError("a port is a number from 1 to 65535")
    return ports


def _tenants(_name: str, value: Any) -> frozenset[str] | None:
    return None if value is None else frozenset(str(item) for item in _listed(value))


def _listed(value: Any) -> list[Any]:
    if isinstance(value, int):
        return [value]
    return value.replace(",", " ").split() if isinstance(value, str) else list(value)


def _positive_or_none(_name: str, value: Any) -> float | None:
    if value is not None and value <= 0:
        raise ValueError("it must be a number above 0")
    return None if value is None else float(value)


def _text_or_none(_name: str, value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError("it must be of type str")
    return value


def _url_or_none(name: str, value: Any) -> str | None:
    url = _text_or_none(name, value) or None
    if url is not None and not (url.startswith(("https://", "http://")) and urlsplit(url).hostname):
        raise ValueError("it must begin with https:// or http://, such as https://surveys.example.org")
    return url


def _prefix(name: str, value: Any) -> str:
    prefix: str = _same_kind(name, value)
    if prefix and not prefix.startswith("/"):
        raise ValueError("it must begin with a slash, such as /own-smtp")
    return prefix.rstrip("/")


def _rule(_name: str, value: Any) -> ConfirmationRule:
    if value not in set(ConfirmationRule):
        raise ValueError(f"it must be one of {', '.join(ConfirmationRule)}")
    return ConfirmationRule(value)


def _page(_name: str, value: Any) -> PolicyPage:
    if value not in set(PolicyPage):
        raise ValueError(f"it must be one of {', '.join(PolicyPage)}")
    return PolicyPage(value)


def _token_or_none(name: str, value: Any) -> str | None:
    return _text_or_none(name, value) or None  # an empty one would be known to everybody


def _lowered(_name: str, value: Any) -> tuple[str, ...]:
    return tuple(str(item).lower() for item in _listed(value))


_READERS = {
    "allowed_networks": _networks,
    "allowed_ports": _ports,
    "allowed_tenants": _tenants,
    "ceiling_per_second": _positive_or_none,
    "confirmation_rule": _rule,
    "encryption_keys": lambda _name, value: tuple(_listed(value)),
    "journal_dir": lambda _name, value: None if value is None else Path(value),
    "metrics_token": _token_or_none,
    "policy_page": _page,
    "public_url": _url_or_none,
    "test_recipients": _lowered,
    "url_prefix": _prefix,
}
_DEFAULTS = {item.name: getattr(Settings(), item.name) for item in fields(Settings)}
