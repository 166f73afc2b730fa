"""Detects a blocked account without a list of phrases: identical refusals of several recipients in a row.

No list of phrases covers all texts of all providers. But a server that refuses recipients of several domains in the
same words, and accepts none between them, does not refuse because of these recipients. Pure functions and values; the
caller acts on the result.
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
"""One domain is not enough: its unknown mailboxes get identical refusals, too."""

ABOUT_RECIPIENT = frozenset({Topic.RECIPIENT, Topic.MAILBOX_FULL, Topic.RECIPIENT_RATE, Topic.REMOTE})
"""Topics that concern single mailboxes, although the text is the same each time."""

_URL = re.compile(r"\b(https?://|www\.)\S+", re.IGNORECASE)
_ADDRESS = re.compile(r"<?[^\s<>@]{1,64}@[^\s<>]{1,255}>?")
# Matches start only at the beginnings of words: a long word is scanned once, not once from each of its characters.
_WITH_DIGIT = re.compile(r"(?<!\S)\S*\d\S*")
_NAME = re.compile(r"(?<![\w-])[\w-]+(\.[\w-]+)+")
_SAID = re.compile(r"(\d{3}) (?:[245]\.\d+\.\d+ )?(.*)", re.DOTALL)
_MIXED = re.compile(r"\b(?=\w*[a-z][A-Z]\w*[a-z][A-Z])\w{8,}\b")
"""An id that consists of letters, such as `cNkjaDyzRwQ`."""


def normalise(text: str, recipient: str = "") -> str:
    """Return the part that refusals of one kind have in common: no addresses, names, links, ids, numbers or case."""
    text = _ADDRESS.sub("@", _URL.sub("@", text))
    local, _, domain = recipient.lower().partition("@")
    text = _WITH_DIGIT.sub("#", _MIXED.sub("#", _NAME.sub("#", text))).lower()
    for part in (domain, local):
        if part:
            text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "@", text)
    return " ".join(text.split())


def refusal_key(reply: Reply, recipient: str = "") -> str:
    """Return the key by which refusals are compared: the code and the normalised text."""
    return f"{reply.code} {normalise(reply.text, recipient)}"


def said_key(said: str | None) -> str | None:
    """Return the key of a refusal in the form of `Outcome.said`: code, enhanced code, text."""
    found = _SAID.match(said or "")
    return f"{found[1]} {normalise(found[2])}" if found else None


@dataclass(frozen=True, slots=True)
class _Held(Generic[T]):
    recipient: str
    item: T | None
    """`None` for a refusal of an earlier drain, which is settled."""

    @property
    def domain(self) -> str:
        return self.recipient.rpartition("@")[2].lower()


class RefusalStreak(Generic[T]):
    """Holds refusals back until it is clear whether they concern their recipients or the account.

    `need` different recipients in a row trip it. `accepted` is the `refusal_key` of a refusal that a person has already
    attributed to the recipients.
    """

    def __init__(self, need: int = 5, accepted: str | None = None) -> None:
        self.is_tripped = False
        """Whether the refusals that are held concern the account."""
        self._need = need
        self._accepted = accepted
        self._key = ""
        self._held: list[_Held[T]] = []

    @property
    def held(self) -> list[T]:
        """The items that are held back, in order."""
        return [held.item for held in self._held if held.item is not None]

    def recall(self, recipient: str, outcome: Outcome) -> None:
        """Take an outcome of an earlier drain into account, which is settled and cannot be held back."""
        self._judge(None, recipient, outcome)

    def take(self, item: T, recipient: str, outcome: Outcome) -> list[T]:
        """Take the outcome of an attempt; return the items, in order, whose outcomes are now final.

        A refusal that may concern the account is held back. An acceptance, or a different refusal, proves that the
        refusals before it concerned their recipients.
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
        """Return all held items, and start again."""
        items, self._held, self._key = self.held, [], ""
        return items

    def surrender(self) -> list[T]:
        """Return all held items, and stay tripped for later ones."""
        items, self._held = self.held, []
        return items

    @property
    def _most(self) -> int:
        """The number of items held at most; the oldest is released first."""
        return self._need - 1

    def _is_about_account(self) -> bool:
        recipients = {held.recipient.lower() for held in self._held}
        domains = {held.domain for held in self._held}
        return len(recipients) >= self._need and len(domains) >= min(FEWEST_DOMAINS, self._need)
