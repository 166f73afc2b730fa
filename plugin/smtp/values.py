"""What a conversation must know of a relay, as frozen values without a database behind them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from own_smtp.states import PauseReason, Security, State

_CODE = re.compile(r"[2-5]\d\d ")


class Stage(StrEnum):
    """Where in a conversation something happened."""

    LOCAL = "local"
    """Before any byte was sent: the message cannot go to this server at all."""
    RESOLVE = "resolve"
    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    MESSAGE = "message"
    """From the final dot, or the last BDAT, to its reply."""


SETUP = frozenset({Stage.RESOLVE, Stage.CONNECT, Stage.BANNER, Stage.EHLO, Stage.STARTTLS, Stage.TLS, Stage.AUTH})
"""Stages in which no invitation was tried yet: what happens there is about the relay."""

TRANSACTION = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.MESSAGE})

UNREACHED = frozenset({Stage.RESOLVE, Stage.CONNECT})
"""Stages before a server spoke: their technical words are shown to nobody, as they could be used to scan a network."""

SPEECHLESS = UNREACHED | {Stage.LOCAL}
"""Stages in which no server spoke: what is kept of them is not a server's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A user name and its password, which `repr` does not show."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How fast a relay may be used. `None` means no limit."""

    max_connections: int = 4
    messages_per_connection: int | None = None
    min_interval: float | None = None
    """Least time between two messages, in seconds."""
    jitter: float = 0.0
    """By how much each spacing may grow at random, as a share of it."""
    per_second: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    sending_windows: tuple[dict[str, Any], ...] = ()
    """When it may send; empty means always."""
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who the recipient sees as the sender."""

    address: str
    name: str = ""
    reply_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayProfile:
    """One relay as a drain sees it: where to connect, as whom, for whom, how fast."""

    relay_id: int
    tenant_id: str
    label: str
    host: str
    port: int
    security: Security
    credentials: Credentials | None
    fingerprint: str | None
    """SHA-256 of the one certificate to trust, in hex; `None` means the system's authorities."""
    identity: Identity
    envelope_sender: str
    ehlo_name: str | None
    limits: Limits
    revision: int


class Reply(NamedTuple):
    """A server's answer (RFC 5321, 4.2)."""

    code: int
    text: str
    """The words of all lines without codes, control characters removed, 500 characters at most."""
    enhanced: str | None = None
    """The enhanced status code (RFC 3463), as `5.1.1`."""
    lines: tuple[str, ...] = ()
    """The words of each line of a reply with several lines."""

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code < 400


class Outcome(NamedTuple):
    """What one attempt came to, ready to be settled, shown and logged."""

    state: State
    """The invitation's state after it; `queued` means that it is tried again."""
    stage: str
    """`resolve`, `connect`, `banner`, `ehlo`, `starttls`, `tls`, `auth`, `mail`, `rcpt`, `data`, `body`, `message`."""
    reply: Reply | None = None
    """`None` when there was none: then `text` says what happened."""
    text: str = ""
    server: str | None = None
    """Host name and address that answered."""
    pause: PauseReason | None = None
    """Why the relay must pause, when this says more of the relay than of the message."""
    slows_down: bool = False
    """Whether the relay asked for a slower pace."""

    @property
    def words(self) -> str:
        """The server's own words, or ours where it said nothing."""
        return self.reply.text if self.reply else self.text

    @property
    def said(self) -> str:
        """The server's reply with its codes, by which `is_reply` knows it, or our words where it said nothing."""
        if self.reply is None:
            return self.text
        return " ".join(str(part) for part in (self.reply.code, self.reply.enhanced, self.reply.text) if part)


def is_reply(said: str) -> bool:
    """Tell whether a server said it: our own sentences do not begin with a reply code."""
    return _CODE.match(said) is not None


class Envelope(NamedTuple):
    """What MAIL and RCPT say of one message, and the message itself."""

    sender: str
    """The envelope sender; empty for the null reverse-path."""
    recipient: str
    data: bytes
    """The message with CRLF line ends, not dot-stuffed."""
    envelope_id: str | None = None
    """ENVID for a relay that offers DSN (RFC 3461)."""
    invitation_id: int = 0
    """Which invitation it is; 0 for a message that is none."""

    def __repr__(self) -> str:
        return f"<Envelope from {self.sender!r} to {self.recipient!r}, {len(self.data)} octets>"
