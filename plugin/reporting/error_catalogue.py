"""The error catalogue: what servers' refusals mean, read from `error_catalogue.toml` beside this file.

That file says how an entry is written; here it is read, checked and searched. Words are looked for literally, and what
they are about is found by `own_smtp.smtp.replies.topics`. Its patterns are bounded: no server can make the search slow.
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
"""Between two parts of a fragment: whatever stands there."""
NO_REPLY = "none"
"""Instead of a code: the server gave no reply."""


class Who(StrEnum):
    """Who can mend it."""

    YOU = "you"
    ADMINISTRATOR = "administrator"
    """Of the tenant's mail server."""
    RECIPIENT = "recipient"
    PLATFORM = "platform"
    NOBODY = "nobody"
    """It passes by itself."""


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
    """One entry. A condition that is empty holds always."""

    id: str
    who: Who
    cause: str
    """In English; so is `what_to_do`."""
    what_to_do: str
    field: str | None = None
    """The field of the relay form to look at."""
    server: str | None = None
    """Whose words they are; `None` means that they are common."""
    source: str | None = None
    """The public page that they are from."""
    stages: frozenset[Stage] = frozenset()
    codes: tuple[str, ...] = ()
    enhanced: tuple[str, ...] = ()
    says: tuple[str, ...] = ()
    about: frozenset[Topic] = frozenset()
    """What the words are about, as the rules understand them."""
    pause: PauseReason | None = None
    """The reason for which a server that says so is paused."""
    samples: tuple[str, ...] = ()

    def fits(self, stage: str, code: int | None, enhanced: str | None, words: str) -> bool:
        """Whether a reply in that stage is meant."""
        return (
            (not self.stages or stage in self.stages)
            and (not self.codes or (str(code) if code else NO_REPLY).startswith(self.codes))
            and (not self.enhanced or _is_one(enhanced or "", self.enhanced))
            and self.is_said(words)
        )

    def is_said(self, words: str) -> bool:
        """Whether the words are among those that it knows, and about what it is about; also when it knows none."""
        is_known = not self.says or any(_contains(words.lower(), fragment.lower()) for fragment in self.says)
        return is_known and (not self.about or topic_of(Reply(code=500, text=words)) in self.about)

    def agrees_with(self, outcome: Outcome) -> bool:
        """Whether what it says is what comes of the reply.

        1. Where the relay pauses, it is not the recipient's matter and does not pass, and the reason is the same.
        2. What is refused does not pass, and the relay does not pause. 3. What is put off may be anything.
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
        """Return the entry for a reply that is known and has this outcome; `None` for others."""
        fitting = (entry for entry in self.known if entry.fits(stage, code, enhanced, words))
        return next((entry for entry in fitting if outcome is None or entry.agrees_with(outcome)), None)

    def recognise_pause(self, reason: PauseReason, words: str) -> Entry:
        """Return the entry for a server that is paused for this reason and said this."""
        exact = (entry for entry in self.known if entry.pause is reason and entry.is_said(words))
        return next(exact, self.pauses[reason])

    def fall_back(self, stage: str, code: int | None, enhanced: str | None) -> Entry:
        """Return what a reply means that is not known."""
        return next(entry for entry in self.fallbacks if entry.fits(stage, code, enhanced, ""))

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
    """Read a catalogue. Raises `ConfigurationError` that names the entry which is not as it must be."""
    data = tomllib.loads(text)
    pauses = {name: {"id": f"paused-{name}", **raw} for name, raw in data["pauses"].items()}
    read = Catalogue(
        known=tuple(map(_entry, data["known"])),
        pauses=MappingProxyType({PauseReason(name): _entry(raw) for name, raw in pauses.items()}),
        fallbacks=tuple(map(_entry, data["fallbacks"])),
    )
    ids = [entry.id for entry in read]
    if len(ids) != len(set(ids)) or set(read.pauses) != set(PauseReason):
        raise ConfigurationError(f"{NAME}: each id must stand once, and each reason for a pause must be there.")
    if not read.fallbacks or not read.fallbacks[-1].fits("", None, None, ""):
        raise ConfigurationError(f"{NAME}: the last fallback must fit everything.")
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
    """Yield the texts to be translated: Babel calls it when it gathers the texts of the code."""
    for entry in read_catalogue(file.read().decode("utf-8")):
        for text in (entry.cause, entry.what_to_do):
            yield 0, None, text, []
