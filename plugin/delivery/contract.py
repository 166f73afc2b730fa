"""What crosses between the process that sends and the one that keeps its records: plain values and a protocol."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from own_smtp.messages.compiler import Frame, message_id
from own_smtp.outbox.settlements import Claimed
from own_smtp.outbox.values import LastAnswer, Taken
from own_smtp.settings import Settings
from own_smtp.smtp.server_info import ServerInfo
from own_smtp.smtp.values import Outcome, RelayProfile


@dataclass(frozen=True, slots=True)
class BatchInfo:
    """What the invitations of a batch share, but for the content."""

    tenant_id: str
    project_id: str
    message_key: str
    message_domain: str
    expires_at: float | None
    """When the host gives up, in seconds since 1970."""
    problem: str
    """Why the content cannot become a message; empty when it can."""

    def message_id(self, invitation_id: int) -> str:
        """Return the Message-ID, the same in every attempt."""
        return message_id(self.message_key, invitation_id, self.message_domain)


class Learned(NamedTuple):
    """What a composer must know of a batch."""

    info: BatchInfo
    frame: Frame | None
    """`None` when the content cannot become a message."""


class AddressedInvitation(NamedTuple):
    """An invitation that may be sent now, with all that is personal in it."""

    id: int
    batch_id: int
    address: str
    attempts: int
    first_failure_at: datetime | None
    parts: list[bytes]
    """What `Personal.render` returned."""
    own: Claimed | None = None
    """The invitation itself when it has a content of its own: that is composed only when it leaves."""
    problem: str = ""
    """Why it cannot become a message."""


@dataclass(frozen=True, slots=True)
class ClaimRequest:
    """What a drain asks of its books in one turn, beside settling."""

    count: int = 0
    """How many invitations to claim."""
    after_batch: int = 0
    """The batch that was served last."""
    known: AbstractSet[int] = frozenset()
    """Batches whose content the drain has."""


@dataclass(frozen=True, slots=True)
class Load:
    """What was claimed in a turn."""

    letters: list[AddressedInvitation]
    learned: dict[int, Learned]
    """Batches of the letters that the drain did not know."""
    revision: int
    """The relay's; another one than before means that its configuration changed."""
    is_active: bool
    """Whether the relay may be used."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What one transaction brought."""

    asked_at: float
    """The machine's clock before it."""
    at: datetime
    """The database's clock in it."""
    load: Load | None
    """`None` when nothing was asked for."""
    has_events: bool
    """Whether something waits to be told to the host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What a drain leaves behind, beside its last settlements."""

    released: Sequence[int]
    """Invitations that were claimed and not sent."""
    ended: int
    """Attempts that came to an end."""
    pace: dict[str, Any] | None
    wake_at: float | None
    """When the relay's limits allow the next message; `None` when they do not matter."""
    last_success_at: float | None
    failure: Outcome | None
    """Why there was no usable connection, or why the relay must pause."""
    is_unreachable: bool
    """Whether `failure` is for want of a connection."""
    pause: Outcome | None
    """Why the relay must pause; `None` when it need not."""
    facts: ServerInfo | None = None
    """What a conversation showed of the server; `None` when there was none."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A relay that a drain may serve now."""

    asked_at: float
    """The machine's clock before the lease was taken."""
    taken: Taken
    profile: RelayProfile
    """Where to connect: the relay, or the platform's own server in its place."""
    settings: Settings
    """Those in force: an administrator's policy holds from the next drain on, a slice later at most."""
    last_answers: Sequence[LastAnswer] = ()
    """What the relay answered before, the oldest first."""
    accepted_refusal: str | None = None
    """A refusal in a server's words of which somebody decided that it is about the recipients."""
