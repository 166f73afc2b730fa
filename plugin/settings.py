"""The platform's settings: frozen, with defaults, one documented `OWN_SMTP_*` key for each."""

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
    """The maximum duration of each phase of a session as a whole, in seconds (RFC 5321, 4.5.3.2)."""

    connect: float = 30.0
    banner: float = 300.0
    command: float = 300.0
    """For each command such as EHLO, AUTH, MAIL, RCPT and RSET."""
    data: float = 120.0
    """From DATA to its 354."""
    body: float = 180.0
    """For each started megabyte of message text."""
    final_dot: float = 600.0
    quit: float = 5.0


INTERACTIVE = Deadlines(connect=8, banner=8, command=8, data=8, body=8, final_dot=15, quit=2)
"""Deadlines while a person waits for a page."""


class PolicyPage(StrEnum):
    """The rights of the policy page. Settings in the configuration are always fixed."""

    SHOW = "show"
    """It only shows the current settings."""
    EDIT = "edit"
    """It can change settings that are not in the configuration, but open no networks, and only remove ports."""
    NETWORK = "network"
    """It can also open ports and private networks, and allow plain text."""


class ConfirmationRule(StrEnum):
    """The addresses that must confirm a mail server if another address than the sender's is entered for the
    confirmation.

    Without another address it is always the sender's.
    """

    SENDER = "sender"
    """Both."""
    DOMAIN = "domain"
    """Only the other one if it has the sender's organisational domain; otherwise both."""
    ANY = "any"
    """Only the other one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings of a platform's operator. Each field is read from the key `OWN_SMTP_` plus its name in capitals."""

    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    """Keys for stored passwords, each `id:base64`; the first encrypts, all decrypt."""
    public_url: str | None = None
    """The platform's public URL, for links in emails: `https://surveys.example.org`."""
    url_prefix: str = "/own-smtp"
    """The URL prefix of the pages."""
    platform_name: str = "Survey platform"
    """The platform's name in confirmation mails and alerts."""
    redis_url: str = "redis://localhost:6379/0"
    queue: str = "own-smtp"
    """The name of the RQ queue."""
    journal_dir: Path | None = None
    """The local folder of the workers' journals; `None` means `own-smtp` in the instance folder."""
    policy_page: PolicyPage = PolicyPage.EDIT
    """The rights of the policy page: `show`, `edit` or `network`."""
    allowed_tenants: frozenset[str] | None = None
    """The ids of the tenants that may use their own mail servers; `None` means all."""
    allowed_ports: frozenset[int] = frozenset({25, 465, 587, 2525})
    allowed_networks: tuple[Network, ...] = ()
    """Non-public networks that are allowed for relays, such as `10.1.0.0/16`."""
    allow_plaintext: bool = False
    """Whether a relay may be used without TLS. Passwords are never sent without TLS, even if this is set."""
    relays_per_tenant: int = 200
    ceiling_connections: int = 20
    """Maximum simultaneous connections to one relay; overrides the tenant's setting."""
    ceiling_per_second: float | None = None
    """Maximum messages per second through one relay; overrides the tenant's setting."""
    window: int = 1
    """Messages in flight on one connection that offers CHUNKING; a crash leaves at most so many of them `unknown`."""
    lease: timedelta = timedelta(seconds=30)
    """How long a worker keeps a relay without renewing its lease."""
    slice: timedelta = timedelta(seconds=60)
    """How long a relay is drained before other relays have their turn."""
    relays_per_worker: int = 64
    """The number of relays that one worker drains concurrently while it waits for slow servers."""
    dispatch_interval: timedelta = timedelta(seconds=2)
    """The interval at which the dispatcher checks for waiting invitations."""
    machine_grace: timedelta = timedelta(hours=1)
    """The time after which a lost machine's claims become `unknown`."""
    refusals_in_a_row: int = 5
    """The relay pauses after so many different recipients in a row were refused with the same text."""
    retry_horizon: timedelta = timedelta(days=3)
    """How long an invitation is retried after its first temporary failure."""
    first_retry: timedelta = timedelta(minutes=5)
    """The wait after an invitation's first temporary failure; it doubles with each further one."""
    longest_retry: timedelta = timedelta(hours=2)
    """The longest wait between two attempts."""
    reconnect: timedelta = timedelta(seconds=15)
    """The wait after a failed connection to a relay; it doubles up to `OWN_SMTP_LONGEST_RECONNECT`."""
    longest_reconnect: timedelta = timedelta(minutes=15)
    confirmation_lifetime: timedelta = timedelta(hours=24)
    confirmation_cooldown: timedelta = timedelta(minutes=1)
    confirmation_rule: ConfirmationRule = ConfirmationRule.DOMAIN
    """The addresses that must confirm a mail server if another one than the sender's is entered: `sender`, `domain`,
    `any`."""
    keep_content: timedelta = timedelta(days=30)
    """How long the content of a finished batch is kept after the last change in it."""
    keep_recipients: timedelta = timedelta(days=180)
    """How long the recipients' addresses of a finished batch are kept before they are shortened."""
    queue_warning: timedelta = timedelta(hours=24)
    """Alert a relay's owner when invitations have waited this long and none is sent."""
    failure_warning: timedelta = timedelta(minutes=15)
    """Alert a relay's owner when the relay has been unreachable for this long."""
    certificate_warning: timedelta = timedelta(days=14)
    """Alert a relay's owner this long before the server's certificate expires."""
    metrics_token: str | None = field(default=None, repr=False)
    """The bearer token for `/metrics`; `None` disables the page."""
    metrics_tenants: bool = False
    """Whether the metrics have labels for tenants and relays."""
    tests_per_tenant: int = 60
    """Maximum connection tests per tenant and hour."""
    tests_per_person: int = 40
    """Maximum connection tests per person and hour."""
    tests_per_target: int = 120
    """Connection tests of one server and port per hour by all tenants, above which each tenant must wait between tests.
    """
    test_mails_per_tenant: int = 20
    """Maximum test mails per tenant and hour."""
    test_mails_per_person: int = 10
    """Maximum test mails per person and hour."""
    notices_per_tenant: int = 20
    """Maximum notices of one cause per tenant and hour."""
    test_recipients: tuple[str, ...] = ()
    """Allowed recipients of test mails beside the person's own address: addresses, `@` and a domain, or `*` for any."""
    deadlines: Deadlines = Deadlines()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Settings:
        """Read a Flask configuration.

        Raises `ConfigurationError` for an unknown `OWN_SMTP_*` key and for a value of the wrong type: a misspelt key
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
    """Convert a configured value for the field `name` of `Settings`. Raises `ConfigurationError`."""
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
        raise TypeError("it must be True or False, in environment variables `true` or `false`")
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
    return _text_or_none(name, value) or None  # everybody could guess an empty one


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
