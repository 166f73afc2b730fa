"""Relays, replies, outcomes and messages as frozen values, without a database."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from own_smtp.states import PauseReason, Security, State

_CODE = re.compile(r"[2-5]\d\d ")


class Stage(StrEnum):
    """The stage of a session in which something happened."""

    LOCAL = "local"
    """Before any byte was sent: this server can never accept the message."""
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
"""Stages before the first invitation: failures there concern the relay."""

TRANSACTION = frozenset({Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.BODY, Stage.MESSAGE})

UNREACHED = frozenset({Stage.RESOLVE, Stage.CONNECT})
"""Stages before the connection: their technical texts are never shown, because they could help to scan a network."""

SPEECHLESS = UNREACHED | {Stage.LOCAL}
"""Stages without any reply: the stored texts are our own, not a server's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A username and its password, which `repr` does not show."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The sending limits of a relay. `None` means no limit."""

    max_connections: int = 4
    messages_per_connection: int | None = None
    min_interval: float | None = None
    """Minimum time between two messages, in seconds."""
    jitter: float = 0.0
    """Random extension of each interval, as a fraction of it at most."""
    per_second: float | None = None
    per_minute: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    sending_windows: tuple[dict[str, Any], ...] = ()
    """The hours in which it may send; empty means always."""
    timezone: str = "UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The sender that recipients see."""

    address: str
    name: str = ""
    reply_to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayProfile:
    """The settings of one relay that a drain needs: server, credentials, sender, limits."""

    relay_id: int
    tenant_id: str
    label: str
    host: str
    port: int
    security: Security
    credentials: Credentials | None
    fingerprint: str | None
    """SHA-256 of the one trusted certificate, in hex; `None` means the system's certificate authorities."""
    identity: Identity
    envelope_sender: str
    ehlo_name: str | None
    limits: Limits
    revision: int


class Reply(NamedTuple):
    """A server's reply (RFC 5321, 4.2)."""

    code: int
    text: str
    """The text of all lines without codes, control characters removed, 500 characters at most."""
    enhanced: str | None = None
    """The enhanced status code (RFC 3463), such as `5.1.1`."""
    lines: tuple[str, ...] = ()
    """The text of each line; empty for a reply of one line."""

    @property
    def is_positive(self) -> bool:
        return 200 <= self.code < 400


class Outcome(NamedTuple):
    """The result of one attempt, ready to be settled, shown and logged."""

    state: State
    """The invitation's state afterwards; `queued` means that it is retried."""
    stage: str
    """`resolve`, `connect`, `banner`, `ehlo`, `starttls`, `tls`, `auth`, `mail`, `rcpt`, `data`, `body`, `message`."""
    reply: Reply | None = None
    """`None` if there was none: then `text` describes the event."""
    text: str = ""
    server: str | None = None
    """The server's host name and connected address."""
    pause: PauseReason | None = None
    """Why the relay must pause, if the reply concerns the relay rather than the message."""
    slows_down: bool = False
    """Whether the relay asked for slower sending."""

    @property
    def words(self) -> str:
        """The text of the server's reply; our own text if there was none."""
        return self.reply.text if self.reply else self.text

    @property
    def said(self) -> str:
        """The server's reply with its codes, which `is_reply` recognises; our own text if there was none."""
        if self.reply is None:
            return self.text
        return " ".join(str(part) for part in (self.reply.code, self.reply.enhanced, self.reply.text) if part)


def is_reply(said: str) -> bool:
    """Return whether a stored text is a server's reply: our own texts do not begin with a reply code."""
    return _CODE.match(said) is not None


class Envelope(NamedTuple):
    """The envelope of one message, and the message itself."""

    sender: str
    """The envelope sender; empty for the null reverse-path."""
    recipient: str
    data: bytes
    """The message with CRLF line ends, not dot-stuffed."""
    envelope_id: str | None = None
    """ENVID for a relay that offers DSN (RFC 3461)."""
    invitation_id: int = 0
    """The invitation's id; 0 for other messages."""

    def __repr__(self) -> str:
        return f"<Envelope from {self.sender!r} to {self.recipient!r}, {len(self.data)} octets>"
