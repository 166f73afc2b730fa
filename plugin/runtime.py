"""What drains need from outside, put together once by the extension and handed in."""

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
    """The host, as far as deliveries tell it anything. Called in a thread, outside transactions."""

    @property
    def wants_changes(self) -> bool:
        """Whether anybody listens to changes of invitations at all."""

    def invitations_changed(self, changes: Sequence[InvitationStatus]) -> bool:
        """Tell the host; `False` when it could not take it and must be told again."""

    def relay_changed(self, change: RelayChange) -> bool:
        """Tell the host, or the relay's owner where it does not listen; `False` when it must be told again."""

    def relay_alerted(self, alert: RelayAlert) -> bool:
        """Tell the host, or the relay's owner where it does not listen; `False` when it must be told again."""


steady_clock: Callable[[], float] = partial(time.clock_gettime, getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
"""Seconds that also pass while the machine sleeps, and that nobody can set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The database, the machine, the network, the host and the clock."""

    engine: Engine
    settings: Settings
    """As the operator configured them; a drain sees those that are in force (`policy`)."""
    policy: Policy
    vault: Vault
    machine: Machine
    resolver: Callable[[Settings], Resolve]
    """Returns what finds relays as far as the settings in force allow."""
    listener: Listener
    context: Callable[[], AbstractContextManager[object]]
    """Makes the application context in which the host is told things."""
    resolve_platform: Resolve
    """Finds the platform's own mail server, which its operator may have put anywhere."""
    platform: Callable[[RelayProfile], RelayProfile | None]
    """Returns the platform's own mail server in the place of a relay; `None` when the platform has none."""
    urgent: UrgentTasks
    """Tests and confirmation mails. Called in threads of their own."""
    dialer: Dialer = dial
    clock: Callable[[], float] = steady_clock
    random: Callable[[], float] = random.random
