"""The catch-all's replies to particular recipients, in the words of real servers."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

REFUSED = MappingProxyType(
    {
        "ingeborg.schmidt@former-staff.example": (
            "550 5.1.1 <ingeborg.schmidt@former-staff.example>: Recipient address rejected: "
            "User unknown in virtual mailbox table"
        ),
        "evdokia.vlastou@example.net": "550 5.1.1 This account has been closed by its owner",
        "hanako.yamada@kaisha.example": "550 5.1.1 No mailbox here by that name: hanako.yamada",
    }
)
"""Addresses that never exist, with the reply to each (RFC 5321 section 4.2.3, RFC 3463 section 3.2)."""

DELAYED = frozenset({"lucja.czekaj@poczta.example", "samer.albatee@example.org"})
"""Addresses that are greylisted."""

GREYLISTED = "451 4.7.1 Greylisted, please try again in a few seconds"


class Greylist:
    """Defers the first attempts for a sender and recipient, as RFC 6647 describes, and accepts them after `delay`."""

    def __init__(self, delay: float, clock: Callable[[], float]) -> None:
        """`delay` and the values of `clock` are in seconds; `clock` must not go backwards."""
        self._delay = delay
        self._clock = clock
        self._first_seen: dict[tuple[str, str], float] = {}

    def takes(self, sender: str, recipient: str) -> bool:
        """Whether this attempt is late enough; a first one never is."""
        now = self._clock()
        first = self._first_seen.setdefault((sender, recipient), now)
        return first < now and now - first >= self._delay


class RecipientPolicy:
    """Decides for each recipient whether mail is accepted."""

    def __init__(self, greylist: Greylist) -> None:
        self._greylist = greylist

    def refusal(self, sender: str, recipient: str) -> str | None:
        """Return the reply that refuses `recipient`, or `None` when it is accepted."""
        key = recipient.lower()
        if key in REFUSED:
            return REFUSED[key]
        if key in DELAYED and not self._greylist.takes(sender, key):
            return GREYLISTED
        return None
