"""Numbers of invitations by state and route, and the states' texts."""

from __future__ import annotations

from dataclasses import dataclass, field

from flask_babel import format_decimal

from own_smtp.i18n import Text, gettext, ngettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.reporting.known_statuses import STATUSES
from own_smtp.states import WAITING, Route, State

STATE_LABELS: dict[State, Text] = {
    State.QUEUED: _("Waiting"),
    State.SENDING: _("Being sent"),
    State.ACCEPTED: _("Accepted by your server"),
    State.REFUSED: _("Refused by your server"),
    State.FAILED: _("Given up"),
    State.UNKNOWN: _("Unknown"),
    State.CANCELLED: _("Cancelled"),
}

ANY_ROUTE_LABELS: dict[State, Text] = {state: STATUSES[state] for state in STATE_LABELS}
"""Labels for filters that cover both routes."""

BY_PLATFORM_LABELS: dict[State, Text] = {
    State.ACCEPTED: _("Accepted by the platform's mail"),
    State.REFUSED: _("Refused by the platform's mail"),
}
"""Labels for invitations that the platform's mail server tried: the tenant's server had no part in their state."""

BY_PLATFORM_MEANINGS: dict[State, Text] = {
    State.ACCEPTED: _("Your server had not taken it in time, so the platform's mail server did."),
    State.REFUSED: _("Your server had not taken it in time, and the platform's mail server said no for good."),
}

STATE_MEANINGS: dict[State, Text] = {
    State.QUEUED: _("Not sent yet, or to be tried again."),
    State.SENDING: _("A worker of the platform has taken it up: it leaves now, or as soon as its turn comes."),
    State.ACCEPTED: _("Your server took it over. What it did with it then is known only there."),
    State.REFUSED: _("Your server said no for good; the report has its words."),
    State.FAILED: _("Tried until its time was over, or impossible to send."),
    State.UNKNOWN: _("The connection was lost just before your server's answer. It may have arrived."),
    State.CANCELLED: _("Withdrawn before it was sent."),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class CountLine:
    """The number of invitations in one state by one route."""

    state: State
    label: Text
    meaning: Text
    number: int


@dataclass(frozen=True, slots=True)
class Counts:
    """How many invitations are in each state."""

    by_state: dict[State, int] = field(default_factory=dict)
    by_platform: dict[State, int] = field(default_factory=dict)
    """Invitations that the platform's mail server tried, for the states that follow from a server's reply."""

    def __getitem__(self, state: State) -> int:
        return self.by_state.get(state, 0)

    @property
    def total(self) -> int:
        return sum(self.by_state.values())

    @property
    def waiting(self) -> int:
        """Invitations that a drain still has to send."""
        return sum(self[state] for state in WAITING)

    @property
    def version(self) -> str:
        """Changes whenever one of the numbers changes."""
        numbers = [*sorted(self.by_state.items()), *sorted(self.by_platform.items())]
        return "|".join(f"{state}={number}" for state, number in numbers)

    def by_server(self, state: State) -> int:
        """Return how many are in a state by the tenant's own server, or without any server."""
        return self[state] - self.by_platform.get(state, 0)

    @property
    def lines(self) -> list[CountLine]:
        """One line for each state that occurs; the platform's mail server has lines of its own."""
        found = []
        for state in State:
            if number := self.by_server(state):
                line = CountLine(state=state, label=STATE_LABELS[state], meaning=STATE_MEANINGS[state], number=number)
                found.append(line)
            if number := self.by_platform.get(state, 0):
                labels, meanings = BY_PLATFORM_LABELS, BY_PLATFORM_MEANINGS
                found.append(CountLine(state=state, label=labels[state], meaning=meanings[state], number=number))
        return found


SENTENCE: dict[State, Text] = {
    State.ACCEPTED: _("%(num)s accepted by your server"),
    State.REFUSED: _("%(num)s refused"),
    State.FAILED: _("%(num)s given up"),
    State.UNKNOWN: _("%(num)s unknown"),
    State.CANCELLED: _("%(num)s cancelled"),
    State.SENDING: _("%(num)s being sent"),
    State.QUEUED: _("%(num)s waiting"),
}


BY_PLATFORM_SENTENCE: dict[State, Text] = {
    State.ACCEPTED: _("%(num)s accepted by the platform's mail"),
    State.REFUSED: _("%(num)s refused by the platform's mail"),
}


def state_label(state: State, route: str) -> Text:
    """Return a state's label for a known route: it names the server that accepted or refused."""
    if route == Route.PLATFORM and state in BY_PLATFORM_LABELS:
        return BY_PLATFORM_LABELS[state]
    return STATE_LABELS[state]


def status_sentence(counts: Counts) -> str:
    """Describe the results of a batch in one sentence."""
    if not counts.total:
        return gettext("Nothing was sent through your server yet.")
    said = [(text, counts.by_server(state)) for state, text in SENTENCE.items()]
    said[1:1] = [(text, counts.by_platform.get(state, 0)) for state, text in BY_PLATFORM_SENTENCE.items()]
    parts = [str(text) % {"num": format_decimal(number)} for text, number in said if number]
    return ngettext("%(num)s invitation", "%(num)s invitations", counts.total) + ": " + ", ".join(parts) + "."
