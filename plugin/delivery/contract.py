"""What crosses between the process that sends and the one that keeps its records: plain values and two protocols.

The sending process calls a `Bookkeeper` through a `Channel`, and knows nothing else of the database and of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol, Self, TypeVar, TypeVarTuple

from own_smtp.messages.compiler import Frame, message_id
from own_smtp.outbox.journal import Machine
from own_smtp.outbox.values import Claimed, LastAnswer, Settlement, Taken
from own_smtp.relays.urgent_tasks import UrgentTask
from own_smtp.settings import Settings
from own_smtp.smtp.network import Dialer
from own_smtp.smtp.server_info import ServerInfo
from own_smtp.smtp.session import Resolve
from own_smtp.smtp.values import Outcome, RelayProfile
from own_smtp.states import Route

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


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
    """What a drain asks for in one turn, beside settling."""

    count: int = 0
    """How many invitations to claim."""
    after_batch: int = 0
    """The batch that was served last."""
    known: AbstractSet[int] = frozenset()
    """Batches whose content the drain has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """What one relay's drain has written and claimed in one transaction."""

    token: int
    """The drain's."""
    settlements: Sequence[Settlement]
    """What came back. Those that were written already, by a turn whose answer got lost, may stand among them again."""
    wanted: ClaimRequest
    pace: dict[str, Any] | None


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
    """Attempts that came to an end: each has a line in the journal, and each must be settled before that may go."""
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


class Bookkeeper(Protocol):
    """What a worker's drains need of the database and of the host. Every method blocks, and may raise anything.

    When a method raises, its transaction may have been committed all the same. So each may be called again with the
    same arguments, and does nothing twice. Methods about one token are called by one drain, one after the other, but
    for `notify_some`.
    """

    def open(self, relay_id: int, route: Route, journal: str) -> Opened | None:
        """Take the relay's lease. `None` when another worker has it, when it must rest, or when it cannot be used.

        `journal` is the name of the drain's journal, which is there already.
        """

    def write_turn(self, request: TurnRequest) -> Turn:
        """Renew the lease, settle and claim. Raises `LeaseLostError` when another drain took over."""

    def write_end(self, token: int, settlements: Sequence[Settlement], closing: Closing) -> bool:
        """Settle all, and give back the relay and the rest.

        Return whether every line of the journal is known to be settled; if not, it is left to a recovery.
        """

    def notify_some(self, token: int) -> list[int] | None:
        """Tell the host some of what was settled. Return the ids it heard of; `None` when nothing waits.

        May run beside all other calls.
        """

    def notify_rest(self, token: int) -> None:
        """Tell the host and the relay's owner what the end of the drain is to them."""

    def close(self, token: int) -> None:
        """Forget a drain. The last call for it."""

    def find_due(self, most: int) -> list[int]:
        """Return relays that are due and that nobody drains."""

    def find_urgent(self, passed_over: frozenset[str]) -> list[UrgentTask]:
        """Return tests and confirmation mails that are due. See `UrgentTasks.find`."""

    def run_urgent(self, task: UrgentTask) -> None:
        """Run one of them. Waits for a mail server."""


class Channel(Protocol):
    """Takes calls for a bookkeeper. An asynchronous context manager."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_error: object) -> None: ...

    async def call(self, method: Callable[[Bookkeeper, *Ts], T], *arguments: *Ts) -> T:
        """Run a method of the bookkeeper, and return what it returns.

        Raises the errors of Own SMTP as they are, any other as `BookkeepingError` (`DatabaseError` when it is the
        database's), and `BookkeepingLostError` when the bookkeeper is gone. After any of them but `LeaseLostError`,
        what was to be written may have been written.
        """


class SenderRuntime(Protocol):
    """What the sending process needs from outside: files, the network and a clock, but no database."""

    @property
    def settings(self) -> Settings: ...

    @property
    def machine(self) -> Machine: ...

    @property
    def resolver(self) -> Callable[[Settings], Resolve]: ...

    @property
    def resolve_platform(self) -> Resolve: ...

    @property
    def dialer(self) -> Dialer: ...

    @property
    def clock(self) -> Callable[[], float]: ...

    @property
    def random(self) -> Callable[[], float]: ...
