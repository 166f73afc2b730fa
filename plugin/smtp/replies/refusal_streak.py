"""A brake that needs no words: the same refusal of several different recipients in a row is about the account.

No list of phrases knows all of a provider's sentences. But a server that says the same to recipients of several
domains, and takes none between them, does not speak of any of them. Pure: what comes of it is the caller's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from own_smtp.smtp.replies.topics import Topic, topic_of
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import State

T = TypeVar("T")

FEWEST_DOMAINS = 2
"""A list of dead mailboxes of one domain gets one answer, too."""

ABOUT_RECIPIENT = frozenset({Topic.RECIPIENT, Topic.MAILBOX_FULL, Topic.RECIPIENT_RATE, Topic.REMOTE})
"""What a server says of mailboxes one by one, in the same words each time."""

_URL = re.compile(r"\b(https?://|www\.)\S+", re.IGNORECASE)
_ADDRESS = re.compile(r"<?[^\s<>@]{1,64}@[^\s<>]{1,255}>?")
# Words are looked at from their beginnings only: a long one is read once, and not once from each of its characters.
_WITH_DIGIT = re.compile(r"(?<!\S)\S*\d\S*")
_NAME = re.compile(r"(?<![\w-])[\w-]+(\.[\w-]+)+")
_SAID = re.compile(r"(\d{3}) (?:[245]\.\d+\.\d+ )?(.*)", re.DOTALL)
_MIXED = re.compile(r"\b(?=\w*[a-z][A-Z]\w*[a-z][A-Z])\w{8,}\b")
"""An id of letters, such as `cNkjaDyzRwQ`."""


def normalise(text: str, recipient: str = "") -> str:
    """Return what two refusals of the same kind have in common: no addresses, names, links, ids, numbers or case."""
    text = _ADDRESS.sub("@", _URL.sub("@", text))
    local, _, domain = recipient.lower().partition("@")
    text = _WITH_DIGIT.sub("#", _MIXED.sub("#", _NAME.sub("#", text))).lower()
    for part in (domain, local):
        if part:
            text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "@", text)
    return " ".join(text.split())


def refusal_key(reply: Reply, recipient: str = "") -> str:
    """Return what makes two refusals the same: the code and what their words have in common."""
    return f"{reply.code} {normalise(reply.text, recipient)}"


def said_key(said: str | None) -> str | None:
    """Return the key of a refusal as an outcome says it (`Outcome.said`): code, enhanced code, words."""
    found = _SAID.match(said or "")
    return f"{found[1]} {normalise(found[2])}" if found else None


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    recipient: str
    item: T | None
    """`None` for a refusal of an earlier time, which is settled."""

    @property
    def domain(self) -> str:
        return self.recipient.rpartition("@")[2].lower()


class RefusalStreak(Generic[T]):
    """Holds refusals back until it is known whether they are about their recipients.

    `need` different recipients in a row make it trip. `accepted` is a refusal, by its `refusal_key`,
    of which somebody has decided already that it is about the recipients.
    """

    def __init__(self, need: int = 5, accepted: str | None = None) -> None:
        self.is_tripped = False
        """Whether the refusals that are held are about the account."""
        self._need = need
        self._accepted = accepted
        self._key = ""
        self._held: list[_Held[T]] = []

    @property
    def held(self) -> list[T]:
        """What is held back, in order."""
        return [held.item for held in self._held if held.item is not None]

    def recall(self, recipient: str, outcome: Outcome) -> None:
        """Take an outcome of an earlier time into account, which nobody can hold back any more."""
        self._judge(None, recipient, outcome)

    def take(self, item: T, recipient: str, outcome: Outcome) -> list[T]:
        """Take what became of an attempt; return those, in order, of which no more is to be learned.

        A refusal that may be about the account is held back. An acceptance shows that those before it were not, and
        another refusal that they were not the same.
        """
        return self._judge(item, recipient, outcome)

    def _judge(self, item: T | None, recipient: str, outcome: Outcome) -> list[T]:
        itself = [] if item is None else [item]
        if outcome.state is State.ACCEPTED:
            return [*self.release(), *itself]
        if outcome.state is not State.REFUSED or outcome.reply is None or topic_of(outcome.reply) in ABOUT_RECIPIENT:
            return itself
        key = refusal_key(outcome.reply, recipient)
        if self._accepted in {key, refusal_key(outcome.reply)}:
            return itself
        final = [] if key == self._key or self.is_tripped else self.release()
        if self.is_tripped and key != self._key:
            return itself
        self._key = key
        self._held.append(_Held(recipient, item))
        self.is_tripped = self.is_tripped or self._is_about_account()
        if not self.is_tripped and len(self._held) > self._most:
            oldest = self._held.pop(0).item
            final += [] if oldest is None else [oldest]
        return final

    def release(self) -> list[T]:
        """Return all that is held, and begin anew."""
        items, self._held, self._key = self.held, [], ""
        return items

    def surrender(self) -> list[T]:
        """Return what is held, and stay tripped for those that are still to come."""
        items, self._held = self.held, []
        return items

    @property
    def _most(self) -> int:
        """So many are held; older ones of one domain are not waited for."""
        return self._need - 1

    def _is_about_account(self) -> bool:
        recipients = {held.recipient.lower() for held in self._held}
        domains = {held.domain for held in self._held}
        return len(recipients) >= self._need and len(domains) >= min(FEWEST_DOMAINS, self._need)
