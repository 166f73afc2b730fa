"""The states of an invitation, of a batch and of a relay, and the moves between them."""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType


class State(StrEnum):
    """What became of an invitation so far."""

    QUEUED = "queued"
    """Waiting, for the first time or again."""
    SENDING = "sending"
    """Claimed by a drain: its final dot may have been written."""
    ACCEPTED = "accepted"
    """The server answered 250 to the message. Nothing more is known."""
    REFUSED = "refused"
    """The server refused this message for good."""
    FAILED = "failed"
    """Given up: the retry horizon is over, or it cannot be sent at all."""
    UNKNOWN = "unknown"
    """The connection or the worker was lost between the final dot and its reply (RFC 1047)."""
    CANCELLED = "cancelled"
    """Withdrawn before its final dot."""


WAITING = frozenset({State.QUEUED, State.SENDING})
"""States that a drain still has to do with."""

FINAL = frozenset(State) - WAITING
"""States that only a person can leave again."""

RETRYABLE = frozenset({State.REFUSED, State.FAILED, State.CANCELLED})
"""States from which a person may queue again without the risk of a second copy."""

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
"""Every legal move. From the final states only a person's retry leads on, and from `unknown` the true outcome that a
drain brings which was taken for lost; from `accepted` nothing does. What waits becomes `unknown` by itself
when it comes from a backup."""


class BatchState(StrEnum):
    """Whether a batch has work for a drain."""

    OPEN = "open"
    PAUSED = "paused"
    DONE = "done"
    CANCELLED = "cancelled"


UNFINISHED = (BatchState.OPEN, BatchState.PAUSED)
"""States in which something of a batch may wait to be sent."""


class RelayState(StrEnum):
    """Whether a relay may send invitations."""

    UNCONFIRMED = "unconfirmed"
    """Saved or changed, and the link in its confirmation mail was not followed yet."""
    ACTIVE = "active"
    PAUSED = "paused"
    """Confirmed, but stopped by a person or by the server's answers; the reason is kept."""


class Security(StrEnum):
    """How the connection to a relay is protected."""

    STARTTLS = "starttls"
    """Upgraded by STARTTLS (RFC 3207), and never used without."""
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
    """The platform's policy refuses host or port. People read the same as of a server that cannot be reached."""
    FORBIDDEN = "forbidden"
    """The platform's policy refuses own servers of this tenant, or unencrypted ones."""
    SECRET_UNREADABLE = "secret_unreadable"
    REFUSES_ALL = "refuses_all"
    """It refused several recipients in a row in the same words: whether these are about them, a person decides."""


class RelayTestState(StrEnum):
    """How far the test of a relay's settings is."""

    WAITING = "waiting"
    """No worker has taken it up yet."""
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


TEST_PROJECT = "own-smtp:test"
"""Stands where a project's id would in the batch of a test mail: no host hears of it."""


class AlertCause(StrEnum):
    """What a relay's owner is alerted of, beside pauses."""

    UNREACHABLE = "unreachable"
    """There has been no usable connection for a while."""
    QUEUE = "queue"
    """Invitations are due for long and none leaves."""
    CERTIFICATE = "certificate"
    """The server's certificate ends soon, or has ended."""


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
"""Reasons for which no server said anything: what is kept as the reason is a person's note, or our own sentence."""


class Route(StrEnum):
    """Which way an invitation left."""

    RELAY = "relay"
    PLATFORM = "platform"
