"""The states of invitations, batches and relays, and the legal moves of invitations."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """The state of an invitation."""

    QUEUED = "queued"
    """Waiting, for the first time or again."""
    SENDING = "sending"
    """Claimed by a drain: its final dot may have been written."""
    ACCEPTED = "accepted"
    """The server accepted the message (250). Nothing more is known."""
    REFUSED = "refused"
    """The server refused this message for good."""
    FAILED = "failed"
    """Sending has stopped: the retry horizon is over, or it cannot be sent at all."""
    UNKNOWN = "unknown"
    """The connection or the worker was lost between the final dot and its reply (RFC 1047)."""
    CANCELLED = "cancelled"
    """Cancelled before its final dot."""


WAITING = frozenset({State.QUEUED, State.SENDING})
"""States in which an invitation is not finished."""

FINAL = frozenset(State) - WAITING
"""States that an invitation leaves only by a person's decision."""

RETRYABLE = frozenset({State.REFUSED, State.FAILED, State.CANCELLED})
"""States from which a person may send again without the risk of a second copy."""

MOVES = MappingProxyType(
    {
        State.QUEUED: frozenset(
            {State.SENDING, State.FAILED, State.CANCELLED, State.ACCEPTED, State.REFUSED, State.UNKNOWN}
        ),
        State.SENDING: frozenset(
            {State.ACCEPTED, State.REFUSED, State.QUEUED, State.UNKNOWN, State.FAILED, State.CANCELLED}
        ),
        State.ACCEPTED: frozenset(),
        State.REFUSED: frozenset({State.QUEUED}),
        State.FAILED: frozenset({State.QUEUED}),
        State.UNKNOWN: frozenset({State.QUEUED, State.ACCEPTED, State.REFUSED, State.FAILED}),
        State.CANCELLED: frozenset({State.QUEUED}),
    }
)
"""Every legal move. An invitation leaves a final state only by a person's retry, or leaves `unknown` by the true
outcome if a drain returns that counted as lost; it never leaves `accepted`. After a restore from a backup, waiting
invitations become `unknown`."""


class BatchState(StrEnum):
    """The state of a batch."""

    OPEN = "open"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


UNFINISHED = (BatchState.OPEN, BatchState.PAUSED)
"""States in which a batch may have waiting invitations."""


class RelayState(StrEnum):
    """The state of a relay, which decides whether it may send."""

    UNCONFIRMED = "unconfirmed"
    """Saved or changed, and not confirmed yet by the link in its confirmation mail."""
    ACTIVE = "active"
    PAUSED = "paused"
    """Confirmed, but stopped by a person or by the server's replies; the reason is kept."""


class Security(StrEnum):
    """The encryption of the connection to a relay."""

    STARTTLS = "starttls"
    """Upgraded by STARTTLS (RFC 3207), and never used without TLS."""
    IMPLICIT = "implicit"
    """TLS from the first byte (RFC 8314)."""
    NONE = "none"
    """Plain text. Allowed only where the platform allows it, and never with a password."""


class PauseReason(StrEnum):
    """Why a relay was paused."""

    PERSON = "person"
    CREDENTIALS = "credentials"
    SENDER = "sender"
    CERTIFICATE = "certificate"
    NO_TLS = "no_tls"
    NO_AUTH = "no_auth"
    BLOCKED = "blocked"
    QUOTA = "quota"
    NO_SUCH_HOST = "no_such_host"
    UNREACHABLE = "unreachable"
    NOT_ALLOWED = "not_allowed"
    """The platform's policy refuses host or port. Pages show the same as for a server that cannot be reached."""
    FORBIDDEN = "forbidden"
    """The platform's policy refuses this tenant's own servers, or unencrypted ones."""
    SECRET_UNREADABLE = "secret_unreadable"
    REFUSES_ALL = "refuses_all"
    """It refused several recipients in a row with the same text: a person decides whether it concerns them."""


class RelayTestState(StrEnum):
    """The state of a connection test."""

    WAITING = "waiting"
    """No worker has claimed it yet."""
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


TEST_PROJECT = "own-smtp:test"
"""Replaces the project's id in the batch of a test mail: hosts are not notified about it."""


class AlertCause(StrEnum):
    """The causes of alerts to a relay's owner, beside pauses."""

    UNREACHABLE = "unreachable"
    """There has been no usable connection for `failure_warning`."""
    QUEUE = "queue"
    """Invitations have been due for `queue_warning`, and none is sent."""
    CERTIFICATE = "certificate"
    """The server's certificate expires soon, or has expired."""


WITHOUT_WORDS = frozenset(
    {
        PauseReason.PERSON,
        PauseReason.FORBIDDEN,
        PauseReason.NOT_ALLOWED,
        PauseReason.NO_SUCH_HOST,
        PauseReason.UNREACHABLE,
        PauseReason.SECRET_UNREADABLE,
    }
)
"""Reasons without a server's reply: the stored text is a person's note, or our own."""


class Route(StrEnum):
    """The route by which an invitation was sent."""

    RELAY = "relay"
    PLATFORM = "platform"
