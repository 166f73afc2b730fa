"""Explanations of failures in plain words: the cause, who can fix it, what to do, and the form field to check.

The texts are the error catalogue's. A reply that it does not know is explained by its outcome under the reply rules,
and then by its stage and the class of its code.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from own_smtp.i18n import Text, lazy_gettext
from own_smtp.reporting.error_catalogue import WHO_LABELS, Entry, Who, catalogue
from own_smtp.smtp.replies.outcomes import Stage, classify
from own_smtp.smtp.values import Outcome, Reply
from own_smtp.states import PauseReason


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation of a failure, for a survey manager."""

    cause: Text
    what_to_do: Text
    field: str | None = None
    """The field of the relay form to check."""
    who: Who = Who.YOU
    """Who can fix it."""
    key: str = ""
    """The id of the catalogue entry: failures with the same id have the same cause."""
    source: str | None = None
    """A public page with more information."""

    @property
    def who_label(self) -> Text:
        """The text for `who`."""
        return WHO_LABELS[self.who]


def explain(
    stage: str, code: int | None, enhanced: str | None, pause: PauseReason | None, text: str = ""
) -> Explanation:
    """Explain a failure in `stage` with the server's reply, if there was one. `text` is the server's reply text.

    With a `pause` it explains why a relay is paused: stage and codes may then be unknown.
    """
    if pause is not None:
        return _explanation(catalogue().recognise_pause(pause, text))
    outcome = _outcome_of(stage, code, enhanced, text)
    entry = catalogue().recognise(stage, code, enhanced, text, outcome)
    if entry is None and outcome is not None and outcome.pause is not None:
        entry = catalogue().pauses[outcome.pause]
    return _explanation(entry or catalogue().fall_back(stage, code, enhanced))


def _outcome_of(stage: str, code: int | None, enhanced: str | None, text: str) -> Outcome | None:
    """Return the reply's outcome under the reply rules; `None` without a reply, or for a stage without rules."""
    if code is None or stage not in set(Stage):
        return None
    return classify(Stage(stage), Reply(code=code, text=text, enhanced=enhanced))


@cache
def _explanation(entry: Entry) -> Explanation:
    return Explanation(
        cause=lazy_gettext(entry.cause),
        what_to_do=lazy_gettext(entry.what_to_do),
        field=entry.field,
        who=entry.who,
        key=entry.id,
        source=entry.source,
    )


BY_PAUSE = MappingProxyType({reason: _explanation(entry) for reason, entry in catalogue().pauses.items()})
"""General explanations of each reason for a pause."""
