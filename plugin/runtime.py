"""The runtime dependencies of drains, created once by the extension and passed in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sqlalchemy import Engine

from own_smtp.hooks.events import InvitationStatus, RelayAlert, RelayChange
from own_smtp.outbox.journal import Machine
from own_smtp.relays.policy import Policy
from own_smtp.relays.urgent_tasks import UrgentTasks
from own_smtp.settings import Settings
from own_smtp.smtp.network import Dialer, dial
from own_smtp.smtp.session import Resolve
from own_smtp.smtp.values import RelayProfile
from own_smtp.storage.encryption import Vault


class Listener(Protocol):
    """The host as the receiver of notifications. Called in a thread, outside transactions."""

    @property
    def wants_changes(self) -> bool:
        """Whether the host wants notifications of changed invitations at all."""

    def invitations_changed(self, changes: Sequence[InvitationStatus]) -> bool:
        """Notify the host; `False` if it raised and must be notified again."""

    def relay_changed(self, change: RelayChange) -> bool:
        """Notify the host; without an implementation, the relay's owner. `False` if it must be retried."""

    def relay_alerted(self, alert: RelayAlert) -> bool:
        """Notify the host; without an implementation, the relay's owner. `False` if it must be retried."""


steady_clock: Callable[[], float] = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""A monotonic clock in seconds, which also runs while the machine sleeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The database, the machine, the network, the host and the clock."""

    engine: Engine
    settings: Settings
    """As configured by the operator; a drain uses the current ones (`policy.in_force`)."""
    policy: Policy
    vault: Vault
    machine: Machine
    resolver: Callable[[Settings], Resolve]
    """Returns the function that finds relays' addresses, as far as the given settings allow."""
    listener: Listener
    context: Callable[[], AbstractContextManager[object]]
    """Creates the application context for calls of the host."""
    resolve_platform: Resolve
    """Finds the platform's own mail server, which may be in any network."""
    platform: Callable[[RelayProfile], RelayProfile | None]
    """Returns the profile of the platform's own mail server as a replacement for a relay; `None` if there is none."""
    urgent: UrgentTasks
    """Tests and confirmation mails. Called in threads of their own."""
    dialer: Dialer = dial
    clock: Callable[[], float] = steady_clock
    random: Callable[[], float] = random.random
