"""The frozen values that cross the contract between a host and Own SMTP.

No ORM row ever crosses it. Ids (`tenant_id`, `project_id`, `reference`, `user_id`) are the host's own and opaque
to Own SMTP: strings of 1 to 255 characters without surrounding white space. Times are aware datetimes. What a host
answers with is checked where the host makes it; what it sends, in `survey_send_invitations`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from own_smtp.states import State


class Action(StrEnum):
    """What a person wants to do, as asked of the host by `own_smtp_may`."""

    VIEW = "view"
    """See relays, projects and reports of the tenant."""
    EDIT = "edit"
    """Create, change, delete, pause and resume relays."""
    TEST = "test"
    """Test the settings of a relay, and send a test or a confirmation mail through it."""
    ENABLE = "enable"
    """Choose how one project's invitations leave; asked with the project's id."""
    ADMINISTER = "administer"
    """See and change the policy of the whole platform."""


def _check_texts(value: object, *names: str) -> None:
    """Raise `TypeError` for what is no text: a number for an id would find nothing, and nobody would know why."""
    for name in names:
        if not isinstance(given := getattr(value, name), str):
            raise TypeError(f"{name} of {type(value).__name__} must be text (str), not {type(given).__name__}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The person behind the current request."""

    user_id: str
    tenant_id: str
    name: str
    email: str

    def __post_init__(self) -> None:
        _check_texts(self, "user_id", "tenant_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One of a tenant's people, for whom a mail server may be suggested."""

    user_id: str
    """As in `Actor`."""
    name: str

    def __post_init__(self) -> None:
        _check_texts(self, "user_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer of the host, as shown in mails and pages."""

    tenant_id: str
    name: str
    locale: str = "en"
    """The language of mails to this tenant, as a BCP 47 or gettext tag; English where there are no texts in it."""
    timezone: str = "UTC"
    """An IANA name, for example `Europe/Berlin`."""

    def __post_init__(self) -> None:
        _check_texts(self, "tenant_id", "locale", "timezone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """One survey of a tenant."""

    project_id: str
    tenant_id: str
    title: str
    closes_at: datetime | None = None
    """When the survey stops taking responses; `None` means never."""

    def __post_init__(self) -> None:
        _check_texts(self, "project_id", "tenant_id")
        if self.closes_at is not None and self.closes_at.utcoffset() is None:
            raise ValueError(f"closes_at of Project {self.project_id!r} has no time zone: add it, such as UTC.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """A file sent with every invitation of a batch."""

    filename: str
    content_type: str
    data: bytes
    content_id: str | None = None
    """Given for an inline image: the HTML shows it by `cid:` and this id (RFC 2392)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the invitations of a batch say.

    `subject`, `text`, `html`, `list_unsubscribe` and the values of `headers` may hold placeholders: a name of
    capital letters, digits, `_` and `:` in braces, such as `{FIRSTNAME}`. Each is replaced by that invitation's own
    value, escaped where it lands in HTML. Inside a URL it is percent-encoded (in a link's `href` or `src`, and in
    text behind `https://` or `mailto:`): give such values as they are. One that is a whole URL, or all that
    follows its `?`, is left alone. A name that an invitation has no value for stays as it is written.
    """

    subject: str
    text: str
    """Where it is blank, it is taken from the HTML."""
    html: str | None = None
    """Blank HTML, or HTML that shows nothing, counts as none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers. Those that Own SMTP writes itself (From, To, Date, Message-ID ...) are refused, and so is what
    such a header cannot hold: only words are encoded, never an id; URLs in List-Help and the like are."""
    list_unsubscribe: str | None = None
    """A URL for List-Unsubscribe (RFC 2369), usually with a placeholder; several with commas between them. A value that
    stands for a whole URL is left alone, one inside a URL is percent-encoded."""
    one_click_unsubscribe: bool = False
    """Whether that URL takes the POST of RFC 8058."""
    attachments: Sequence[Attachment] = ()


class WholeMessage(Protocol):
    """A message made by the host: an `EmailMessage`, an `email.message.Message` or Flask-Mail's `Message`."""

    def as_bytes(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """One message to one recipient."""

    reference: str
    """The host's own id for it, unique within its batch."""
    address: str
    """The recipient's address, `local@domain`, without a display name."""
    name: str = ""
    """The recipient's display name."""
    values: Mapping[str, str] = field(default_factory=dict)
    """What the placeholders of the content stand for."""
    content: Content | None = None
    """Says something else to this recipient than the batch says; `None` means the batch's content."""
    message: WholeMessage | None = None
    """A whole message made by the host. Own SMTP sets From, To, Date and Message-ID, and keeps the rest; what is signed
    stays byte for byte. Refused with Cc or Bcc, because no copies are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationBatch:
    """One press of the host's "send" button."""

    tenant_id: str
    project_id: str
    content: Content
    invitations: Iterable[Invitation]
    """Read once, in chunks: a generator keeps memory flat however many there are."""
    kind: str = "invitation"
    """`invitation`, `reminder` or a word of the host's own; shown in reports."""
    idempotency_key: str | None = None
    """Sending again with the same key in the same project adds nothing and returns the first receipt."""
    sender: str | None = None
    """The `key` of a `SenderChoice`; `None` means what the project is set to."""
    created_by: str | None = None
    """The acting user's id."""
    expires_at: datetime | None = None
    """When to give up, usually the survey's closing time; `None` means the platform's retry horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRefusal:
    """An invitation that was not taken, because no mail server could deliver it."""

    reference: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of one `InvitationBatch`."""

    batch_id: int
    taken: int
    """How many invitations wait in the outbox because of this batch."""
    refused: Sequence[LocalRefusal] = ()
    """Those not taken and why; the first 1,000 of `refused_count`."""
    refused_count: int = 0
    passed_over: int = 0
    """How many came with a `reference` that an earlier one of the batch has, and were not added."""
    finishes_at: datetime | None = None
    """By when the last will have been offered to the relay at its pace; `None` when that cannot be said."""
    repeated: bool = False
    """Whether the idempotency key had been seen before, and nothing was added now."""
    waits_for: str | None = None
    """Why nothing leaves at the moment, in plain words; `None` when delivery can start."""
    url: str | None = None
    """The page that follows the sending by itself; `None` outside a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationStatus:
    """What is known of one invitation."""

    tenant_id: str
    project_id: str
    batch_id: int
    reference: str
    address: str
    state: State
    changed_at: datetime
    attempts: int
    message_id: str
    stage: str | None = None
    """Where in the conversation the last reply came: `connect`, `auth`, `rcpt`, `message` ..."""
    reply_code: int | None = None
    enhanced_code: str | None = None
    reply_text: str | None = None
    """The server's own words, ours where there is no `reply_code`. Without control characters, 500 at most."""
    route: str = "relay"
    """`relay` (the tenant's server) or `platform` (fallback to the host's own mail)."""
    invitation_id: int = 0
    """Own SMTP's id for it."""
    position: str = ""
    """Where it stands among those that were asked for, for `StatusFilter.after`; may be empty in news."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFilter:
    """Which invitations are asked for, in which order, and from where on. What is left out narrows nothing."""

    batch_id: int | None = None
    states: Collection[State] = ()
    """Any of these."""
    recipient: str = ""
    """A part of the recipient's address, in any case."""
    reply: str = ""
    """The last reply's code or its beginning (`550`, `5`), or its enhanced code (`5.1.1`)."""
    text: str = ""
    """A part of the server's last words, in any case."""
    since: datetime | None = None
    """Those whose state is from this moment or later."""
    until: datetime | None = None
    """Those whose state is from before this moment."""
    oldest_first: bool = False
    """Else the newest batch comes first, and in it what was due last."""
    after: str | None = None
    """The `position` of the last one seen: the answer begins behind it. The other fields must be the same as then."""
    limit: int | None = None
    """`None` means all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderChoice:
    """One line of the host's "send as" list."""

    key: str
    """What the host gives back in `InvitationBatch.sender`."""
    label: str
    address: str | None
    """The From address that recipients see; `None` for the platform's mail."""
    is_available: bool = True
    is_default: bool = False
    reason: str | None = None
    """Why it is not available, or why nothing leaves at the moment, in plain words."""
    summary: str | None = None
    """What recipients will see beside the address: the name, where replies go, through which server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportColumn:
    """One status that a project's report may show, and whether it can be known there."""

    key: str
    label: str
    is_known: bool
    reason: str | None = None
    """Why it is not known, in plain words."""


class Knowledge(StrEnum):
    """Whether a status of an invitation can be known on the platform."""

    REPORTED = "reported"
    """It is known here, and counted."""
    NOT_KNOWN = "not_known"
    """Nobody reports it."""
    ELSEWHERE = "elsewhere"
    """It is reported to the tenant's own server instead."""
    COUNTED = "counted"
    """It is known where the host counts it itself, whatever way the invitations leave."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStatus:
    """What can be known of one status where invitations leave by one route."""

    route: str
    """`platform`, `relay` (the tenant's server) or `relay_dsn` (the tenant's server, where it offers DSN)."""
    status: str
    """One of `State`, or `delivered`, `bounced_soft`, `bounced_hard`, `opened`, `clicked`."""
    label: str
    knowledge: Knowledge
    reason: str
    """Why, in plain words."""
    is_used: bool = False
    """Whether the project's invitations leave or left this way. What a server offers does not matter: it is `relay`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """By when invitations that are not sent yet would have left, as things stand now."""

    count: int
    text: str
    """In plain words: how many, how fast, from when on and until when, in the tenant's time zone."""
    per_minute: float | None = None
    """How many leave in a minute while they may; `None` when nothing limits them that is known."""
    finishes_at: datetime | None = None
    """`None` when that cannot be said."""
    is_late: bool = False
    """Whether that is after the time that the host gave, or more than a year ahead; and whether not even the first
    one leaves before that time, because the sending hours open later or a quota is used up."""
    waits_for: str | None = None
    """Why nothing leaves at the moment, in plain words; `None` when delivery can start."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A page of Own SMTP, for the host's navigation."""

    key: str
    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformMail:
    """A mail that the platform itself sends to one of its own people: an alert or a notice."""

    recipient: str
    subject: str
    text: str
    html: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayChange:
    """A relay was activated, paused or resumed."""

    relay_id: int
    tenant_id: str
    label: str
    state: str
    """`unconfirmed`, `active` or `paused`."""
    reason: str | None = None
    """Why it is paused: the server's reply with its codes in front, else our own words or a person's note."""
    pause_reason: str | None = None
    """The kind of that reason, one of `own_smtp.states.PauseReason`."""
    address: str | None = None
    """The person who last saved the relay, as `own_smtp_actor` named it then; `None` when that is not known.

    Not the sender address: nobody has proved to the platform that it is theirs.
    """
    is_automatic: bool = False
    """Whether the server's answers brought it about, and not a person."""
    is_falling_back: bool = False
    """Whether the platform's own mail has begun to send what the relay could not, as the project allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayAlert:
    """Something is wrong with a relay for a while, or is right again."""

    relay_id: int
    tenant_id: str
    label: str
    cause: str
    """`unreachable`, `queue` (invitations wait and none leaves) or `certificate` (it ends soon)."""
    at: datetime
    """Since when it is so; for a certificate, when it ends."""
    is_over: bool = False
    """Whether this is the all-clear."""
    reason: str | None = None
    """The last error: its stage, and the server's reply with its codes in front, else our own words."""
    address: str | None = None
    """The person who last saved the relay, as in `RelayChange`."""
