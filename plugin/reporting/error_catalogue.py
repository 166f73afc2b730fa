"""The error catalogue: explanations of servers' refusals, read from `error_catalogue.toml` beside this file.

The file's header documents the format of an entry; this module reads, checks and searches them. Fragments are matched
literally, and `own_smtp.smtp.replies.topics` finds a reply's topic. Its patterns are bounded: no server can make the
search slow.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from own_smtp.errors import ConfigurationError
from own_smtp.i18n import Text
from own_smtp.i18n import lazy_gettext as _
from own_smtp.smtp.replies.rules import Stage
from own_smtp.smtp.replies.topics import Topic, topic_of
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason, State

NAME = "error_catalogue.toml"
GAP = "…"
"""Stands between two parts of a fragment for any text."""
NO_REPLY = "none"
"""Stands in place of a code when the server gave no reply."""


class Who(StrEnum):
    """Who can fix the cause."""

    YOU = "you"
    ADMINISTRATOR = "administrator"
    """The administrator of the tenant's mail server."""
    RECIPIENT = "recipient"
    PLATFORM = "platform"
    NOBODY = "nobody"
    """The cause passes without anyone's help."""


WHO_LABELS: Mapping[Who, Text] = MappingProxyType(
    {
        Who.YOU: _("you"),
        Who.ADMINISTRATOR: _("your mail administrator"),
        Who.RECIPIENT: _("the recipient's side"),
        Who.PLATFORM: _("the platform"),
        Who.NOBODY: _("nobody needs to: it passes by itself"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. An empty condition matches everything."""

    id: str
    who: Who
    cause: str
    """In English, like `what_to_do`."""
    what_to_do: str
    field: str | None = None
    """The field of the relay form to check."""
    server: str | None = None
    """The server software or provider that uses these words; `None` means that they are common."""
    source: str | None = None
    """The public page that documents them."""
    stages: frozenset[Stage] = frozenset()
    codes: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    about: frozenset[Topic] = frozenset()
    """The topics of the words, as the reply rules classify them."""
    pause: PauseReason | None = None
    """Why a server with this reply is paused."""
    samples: tuple[str, ...] = ()

    def matches(self, stage: str, code: int | None, enhanced: str | None, words: str) -> bool:
        """Whether the entry matches a reply in that stage."""
        return (
            (not self.stages or stage in self.stages)
            and (not self.codes or (str(code) if code else NO_REPLY).startswith(self.codes))
            and (not self.enhanced or _is_one(enhanced or "", self.enhanced))
            and self.matches_words(words)
        )

    def matches_words(self, words: str) -> bool:
        """Whether the words match the entry's fragments and topics; without fragments or topics, all words match."""
        is_known = not self.says or any(_contains(words.lower(), fragment.lower()) for fragment in self.says)
        return is_known and (not self.about or topic_of(Reply(code=500, text=words)) in self.about)

    def agrees_with(self, outcome: Outcome) -> bool:
        """Whether the entry's advice agrees with the reply's outcome.

        1. The relay pauses: the entry has the same reason for the pause; or it has none, and the cause is neither the
        recipient's nor temporary. 2. Refused: the cause is not temporary, and the entry pauses no relay. 3. Deferred:
        any entry agrees.
        """
        if outcome.pause is not None:
            return self.pause is outcome.pause or (self.pause is None and self.who not in {Who.RECIPIENT, Who.NOBODY})
        if outcome.state is State.REFUSED:
            return self.pause is None and self.who is not Who.NOBODY
        return True


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All entries, in the order in which they are tried."""

    known: tuple[Entry, ...]
    pauses: Mapping[PauseReason, Entry]
    fallbacks: tuple[Entry, ...]

    def recognise(
        self, stage: str, code: int | None, enhanced: str | None, words: str, outcome: Outcome | None = None
    ) -> Entry | None:
        """Return the entry that matches the reply and agrees with its outcome; `None` when there is none."""
        fitting = (entry for entry in self.known if entry.matches(stage, code, enhanced, words))
        return next((entry for entry in fitting if outcome is None or entry.agrees_with(outcome)), None)

    def recognise_pause(self, reason: PauseReason, words: str) -> Entry:
        """Return the entry for a server that was paused for this reason with these words."""
        exact = (entry for entry in self.known if entry.pause is reason and entry.matches_words(words))
        return next(exact, self.pauses[reason])

    def fall_back(self, stage: str, code: int | None, enhanced: str | None) -> Entry:
        """Return the general entry for an unknown reply."""
        return next(entry for entry in self.fallbacks if entry.matches(stage, code, enhanced, ""))

    def __iter__(self) -> Iterator[Entry]:
        yield from (*self.known, *self.pauses.values(), *self.fallbacks)


def _is_one(code: str, wanted: Iterable[str]) -> bool:
    return any(code.startswith(item) if item.endswith(".") else code == item for item in wanted)


def _contains(words: str, fragment: str) -> bool:
    place = 0
    for part in fragment.split(GAP):
        found = words.find(part.strip(), place)
        if found < 0:
            return False
        place = found + len(part.strip())
    return True


@cache
def catalogue() -> Catalogue:
    """Return the catalogue that comes with the package."""
    return read_catalogue(files("own_smtp.reporting").joinpath(NAME).read_text(encoding="utf-8"))


def read_catalogue(text: str) -> Catalogue:
    """Read a catalogue. Raises `ConfigurationError`, naming the invalid entry."""
    data = tomllib.loads(text)
    pauses = {name: {"id": f"paused-{name}", **raw} for name, raw in data["pauses"].items()}
    read = Catalogue(
        known=tuple(map(_entry, data["known"])),
        pauses=MappingProxyType({PauseReason(name): _entry(raw) for name, raw in pauses.items()}),
        fallbacks=tuple(map(_entry, data["fallbacks"])),
    )
    ids = [entry.id for entry in read]
    if len(ids) != len(set(ids)) or set(read.pauses) != set(PauseReason):
        raise ConfigurationError(f"{NAME}: ids must be unique, and each reason for a pause needs an entry.")
    if not read.fallbacks or not read.fallbacks[-1].matches("", None, None, ""):
        raise ConfigurationError(f"{NAME}: the last fallback must match every reply.")
    return read


def _entry(raw: dict[str, Any]) -> Entry:
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in raw.items()}
    try:
        values["who"] = Who(values["who"])
        values["stages"] = frozenset(map(Stage, values.get("stages", ())))
        values["about"] = frozenset(map(Topic, values.get("about", ())))
        values["pause"] = PauseReason(values["pause"]) if "pause" in values else None
        return Entry(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigurationError(f"{NAME}, entry {raw.get('id', '?')}: {error}") from error


def extract_texts(
    file: Any, _keywords: object, _comments: object, options: object
) -> Iterator[tuple[int, None, str, list[str]]]:
    """Yield the texts to translate: Babel's extractor for the catalogue."""
    for entry in read_catalogue(file.read().decode("utf-8")):
        for text in (entry.cause, entry.what_to_do):
            yield 0, None, text, []
