"""The frozen values of the contract between a host and Own SMTP.

ORM rows are never passed. Ids (`tenant_id`, `project_id`, `reference`, `user_id`) are the host's own and opaque to Own
SMTP: strings of 1 to 255 characters without surrounding white space. Times are aware datetimes. A host's answers are
checked when the host creates them; its batches, in `survey_send_invitations`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from own_smtp.states import State


class Action(StrEnum):
    """An action of a person, for which `own_smtp_may` asks the host's permission."""

    VIEW = "view"
    """See relays, projects and reports of the tenant."""
    EDIT = "edit"
    """Create, change, delete, pause and resume relays."""
    TEST = "test"
    """Test the settings of a relay, and send a test or a confirmation mail through it."""
    ENABLE = "enable"
    """Choose the sender of one project's invitations; asked with the project's id."""
    ADMINISTER = "administer"
    """See and change the policy of the whole platform."""


def _check_texts(value: object, *names: str) -> None:
    """Raise `TypeError` for values that are not text: a number as an id would silently match nothing."""
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
    """One of a tenant's people, to whom a mail server can be suggested."""

    user_id: str
    """As in `Actor`."""
    name: str

    def __post_init__(self) -> None:
        _check_texts(self, "user_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A customer of the host, as shown in emails and on pages."""

    tenant_id: str
    name: str
    locale: str = "en"
    """The language of emails to this tenant, as a BCP 47 or gettext tag; English if there is no translation."""
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
    """When the survey stops accepting responses; `None` means never."""

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
    """For an inline image, which the HTML shows by `cid:` and this id (RFC 2392)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """The content of a batch's invitations.

    `subject`, `text`, `html`, `list_unsubscribe` and the values of `headers` may contain placeholders: a name of
    capital letters, digits, `_` and `:` in braces, such as `{FIRSTNAME}`. Each is replaced by the invitation's own
    value, which is escaped in HTML. Inside a URL the value is percent-encoded (in a link's `href` or `src`, and in text
    behind `https://` or `mailto:`), so pass such values unencoded; a value that is the whole URL, or everything behind
    its `?`, stays unchanged. A placeholder without a value stays unchanged.
    """

    subject: str
    text: str
    """If it is blank, it is derived from the HTML."""
    html: str | None = None
    """Blank HTML, or HTML that shows nothing, counts as none."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Further headers. Headers that Own SMTP writes itself (From, To, Date, Message-ID ...) are refused, and so are
    invalid values. Non-ASCII text is encoded in free text, phrases, comments and URLs (List-Help and the like), never
    in ids."""
    list_unsubscribe: str | None = None
    """A URL for List-Unsubscribe (RFC 2369), usually with a placeholder; several are separated by commas. A value that
    replaces a whole URL stays unchanged, one inside a URL is percent-encoded."""
    one_click_unsubscribe: bool = False
    """Whether that URL accepts the POST of RFC 8058."""
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
    """The values of the content's placeholders."""
    content: Content | None = None
    """Another content for this recipient; `None` means the batch's content."""
    message: WholeMessage | None = None
    """A whole message made by the host. Own SMTP sets From, To, Date and Message-ID, and keeps the rest; signed parts
    stay unchanged byte for byte. Refused with Cc or Bcc, because no copies are sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationBatch:
    """One press of the host's "send" button."""

    tenant_id: str
    project_id: str
    content: Content
    invitations: Iterable[Invitation]
    """Read once, in chunks: a generator keeps memory flat."""
    kind: str = "invitation"
    """`invitation`, `reminder` or a word of the host's own; shown in reports."""
    idempotency_key: str | None = None
    """Sending again with the same key in the same project adds nothing and returns the first receipt."""
    sender: str | None = None
    """The `key` of a `SenderChoice`; `None` means the project's setting."""
    created_by: str | None = None
    """The acting user's id."""
    expires_at: datetime | None = None
    """When to stop trying, usually the survey's closing time; `None` means the platform's retry horizon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalRefusal:
    """An invitation that was not added, because no mail server could deliver it."""

    reference: str
    address: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The result of sending one `InvitationBatch`."""

    batch_id: int
    taken: int
    """The number of invitations added to the outbox."""
    refused: Sequence[LocalRefusal] = ()
    """Invitations that were not added, with the reason; the first 1,000 of `refused_count`."""
    refused_count: int = 0
    passed_over: int = 0
    """The number of invitations not added because an earlier one of the batch has the same `reference`."""
    finishes_at: datetime | None = None
    """Estimated time at which the last one will have been sent within the relay's limits; `None` if it cannot be
    estimated."""
    repeated: bool = False
    """Whether the idempotency key was used before, so that nothing was added."""
    waits_for: str | None = None
    """Why sending cannot start at the moment, as a text for people; `None` if it can."""
    url: str | None = None
    """The page with the batch's progress, which updates automatically; `None` outside a request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvitationStatus:
    """The status of one invitation."""

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
    """The stage of the last reply: `connect`, `auth`, `rcpt`, `message` ..."""
    reply_code: int | None = None
    enhanced_code: str | None = None
    reply_text: str | None = None
    """The text of the server's reply; our own text if there is no `reply_code`. No control characters, 500 characters
    at most."""
    route: str = "relay"
    """`relay` (the tenant's server) or `platform` (fallback to the platform's mail service)."""
    invitation_id: int = 0
    """Own SMTP's id for it."""
    position: str = ""
    """Its position in the result, for `StatusFilter.after`; may be empty in `own_smtp_invitations_changed`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusFilter:
    """A filter for invitations, with order and starting point. Omitted fields don't filter."""

    batch_id: int | None = None
    states: Collection[State] = ()
    """Any of these."""
    recipient: str = ""
    """A part of the recipient's address, in any case."""
    reply: str = ""
    """The last reply's code or the beginning of it (`550`, `5`), or its enhanced code (`5.1.1`)."""
    text: str = ""
    """A part of the last reply's text, in any case."""
    since: datetime | None = None
    """Only invitations whose state changed at this time or later."""
    until: datetime | None = None
    """Only invitations whose state changed before this time."""
    oldest_first: bool = False
    """Otherwise the newest batch comes first, and in it the invitations that were due last."""
    after: str | None = None
    """The `position` of the last one seen: the result begins behind it. The other fields must be the same as before."""
    limit: int | None = None
    """`None` means all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SenderChoice:
    """One line of the host's "send as" list."""

    key: str
    """The value for `InvitationBatch.sender`."""
    label: str
    address: str | None
    """The From address that recipients see; `None` for the platform's mail service."""
    is_available: bool = True
    is_default: bool = False
    reason: str | None = None
    """Why it is not available, or why it is not sending at the moment, as a text for people."""
    summary: str | None = None
    """Further details of the sender: name, reply-to address, server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportColumn:
    """One status that a project's report may show, and whether it is available there."""

    key: str
    label: str
    is_known: bool
    reason: str | None = None
    """Why it is not available, as a text for people."""


class Knowledge(StrEnum):
    """Whether a status of an invitation is available on the platform."""

    REPORTED = "reported"
    """It is reported to the platform, and counted."""
    NOT_KNOWN = "not_known"
    """It is never reported."""
    ELSEWHERE = "elsewhere"
    """It is reported to the tenant's own server instead."""
    COUNTED = "counted"
    """It is available if the host counts it itself, whatever the route."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownStatus:
    """The availability of one status for invitations sent by one route."""

    route: str
    """`platform`, `relay` (the tenant's server) or `relay_dsn` (the tenant's server, where it offers DSN)."""
    status: str
    """One of `State`, or `delivered`, `bounced_soft`, `bounced_hard`, `opened`, `clicked`."""
    label: str
    knowledge: Knowledge
    reason: str
    """Why, as a text for people."""
    is_used: bool = False
    """Whether the project's invitations are or were sent by this route. A server counts as `relay` even if it offers
    DSN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimate of when unsent invitations would be sent, under the current conditions."""

    count: int
    text: str
    """A text for people: number, speed, beginning and end, in the tenant's time zone."""
    per_minute: float | None = None
    """Invitations per minute during sending hours; `None` if no limit is known."""
    finishes_at: datetime | None = None
    """`None` if it cannot be estimated."""
    is_late: bool = False
    """Whether that is after the host's deadline, or more than a year ahead; also if not even the first one can be sent
    before the deadline, because the sending hours open later or a quota is used up."""
    waits_for: str | None = None
    """Why sending cannot start at the moment, as a text for people; `None` if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A page of Own SMTP, for the host's navigation."""

    key: str
    label: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformMail:
    """An email that the platform itself sends to one of its users: an alert or a notice."""

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
    """Why it is paused: the server's reply with its codes in front, else our own text or a person's note."""
    pause_reason: str | None = None
    """The kind of that reason, one of `own_smtp.states.PauseReason`."""
    address: str | None = None
    """The address of the person who last saved the relay, as given by `own_smtp_actor` then; `None` if it is not known.

    It is not the sender address, whose ownership the platform cannot verify.
    """
    is_automatic: bool = False
    """Whether the server's replies caused it, rather than a person."""
    is_falling_back: bool = False
    """Whether the platform's mail service has begun to send instead, as the project allows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayAlert:
    """A relay has had a problem for a while, or the problem is over."""

    relay_id: int
    tenant_id: str
    label: str
    cause: str
    """`unreachable`, `queue` (invitations wait and none is sent) or `certificate` (it expires soon)."""
    at: datetime
    """When the problem began; for a certificate, when it expires."""
    is_over: bool = False
    """Whether the problem is over."""
    reason: str | None = None
    """The last error: its stage, and the server's reply with its codes in front, else our own text."""
    address: str | None = None
    """The address of the person who last saved the relay, as in `RelayChange`."""
