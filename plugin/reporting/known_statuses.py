"""What can be known of an invitation, and why: one table, by route and status.

With a tenant's own server the platform sees less: that server delivers the messages and receives the bounces. Pages,
columns and the hook `survey_known_statuses` all read this table, and none of them claims more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from own_smtp.hooks.events import Knowledge, KnownStatus
from own_smtp.i18n import Text, gettext
from own_smtp.i18n import lazy_gettext as _
from own_smtp.states import State


class RouteKnowledge(StrEnum):
    """The routes of an invitation, distinguished by what can be known on them."""

    PLATFORM = "platform"
    RELAY = "relay"
    RELAY_DSN = "relay_dsn"
    """The tenant's server, if it offers delivery status notifications (RFC 3461)."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What can be known of one status on one route."""

    knowledge: Knowledge
    reason: Text


DELIVERED, BOUNCED_SOFT, BOUNCED_HARD, OPENED, CLICKED = (
    "delivered",
    "bounced_soft",
    "bounced_hard",
    "opened",
    "clicked",
)

WAYS: Mapping[RouteKnowledge, Text] = MappingProxyType(
    {
        RouteKnowledge.PLATFORM: _("The platform's mail"),
        RouteKnowledge.RELAY: _("Your own server"),
        RouteKnowledge.RELAY_DSN: _("Your own server, with DSN"),
    }
)

STATUSES: Mapping[str, Text] = MappingProxyType(
    {
        State.QUEUED: _("Waiting"),
        State.SENDING: _("Being sent"),
        State.ACCEPTED: _("Accepted by the server"),
        State.REFUSED: _("Refused by the server"),
        State.FAILED: _("Given up"),
        State.UNKNOWN: _("Unknown"),
        State.CANCELLED: _("Cancelled"),
        DELIVERED: _("Delivered"),
        BOUNCED_SOFT: _("Bounced for now"),
        BOUNCED_HARD: _("Bounced for good"),
        OPENED: _("Opened"),
        CLICKED: _("Clicked"),
    }
)
"""Every status that a report may have, in the order of a report."""

KNOWLEDGE: Mapping[Knowledge, Text] = MappingProxyType(
    {
        Knowledge.REPORTED: _("Reported here"),
        Knowledge.NOT_KNOWN: _("Not known"),
        Knowledge.ELSEWHERE: _("Reported to your server"),
        Knowledge.COUNTED: _("If the platform counts it"),
    }
)


def _reported(reason: Text) -> Cell:
    return Cell(Knowledge.REPORTED, reason)


_EVERYWHERE: dict[str, Cell] = {
    State.QUEUED: _reported(_("It waits in the platform's own outbox.")),
    State.SENDING: _reported(_("The platform itself hands it over.")),
    State.FAILED: _reported(_("The platform itself gives up: after its time, or where it cannot be sent at all.")),
    State.UNKNOWN: _reported(_("The platform sees that a connection was lost before the server's answer.")),
    State.CANCELLED: _reported(_("It is withdrawn here, before it is sent.")),
    OPENED: Cell(
        Knowledge.COUNTED, _("Counted by the page or picture that is opened; the mail server has no part in it.")
    ),
    CLICKED: Cell(
        Knowledge.COUNTED, _("Counted by the survey that the link leads to; the mail server has no part in it.")
    ),
}

_OWN: dict[str, Cell] = {
    State.ACCEPTED: _reported(_("Your server took it over, and said so.")),
    State.REFUSED: _reported(_("Your server said no; the report has its words.")),
    DELIVERED: Cell(
        Knowledge.NOT_KNOWN,
        _("Your server delivers the invitation. It does not report back to this platform whether it arrived."),
    ),
    BOUNCED_SOFT: Cell(
        Knowledge.ELSEWHERE,
        _("Your server tries again by itself, and tells your envelope sender of a long delay."),
    ),
    BOUNCED_HARD: Cell(
        Knowledge.ELSEWHERE,
        _("Bounce messages go to your server's envelope sender, not to this platform."),
    ),
}

TABLE: Mapping[RouteKnowledge, Mapping[str, Cell]] = MappingProxyType(
    {
        RouteKnowledge.PLATFORM: _EVERYWHERE
        | {
            State.ACCEPTED: _reported(_("The platform's mail server took it over, and said so.")),
            State.REFUSED: _reported(_("The platform's mail server said no, and why.")),
            DELIVERED: Cell(
                Knowledge.NOT_KNOWN, _("Mail servers report what they could not deliver, not what they delivered.")
            ),
            BOUNCED_SOFT: Cell(
                Knowledge.COUNTED, _("Notices of a delay come back to the platform's own sender address.")
            ),
            BOUNCED_HARD: Cell(Knowledge.COUNTED, _("Bounce messages come back to the platform's own sender address.")),
        },
        RouteKnowledge.RELAY: _EVERYWHERE | _OWN,
        RouteKnowledge.RELAY_DSN: _EVERYWHERE
        | _OWN
        | {
            DELIVERED: Cell(
                Knowledge.NOT_KNOWN,
                _("Your server is asked for notices of failures and delays only, which go to your envelope sender."),
            ),
            BOUNCED_SOFT: Cell(
                Knowledge.ELSEWHERE,
                _(
                    "Your server is asked to tell of a delay. Its notice goes to your envelope sender and carries the"
                    " platform's id of the invitation (ENVID)."
                ),
            ),
            BOUNCED_HARD: Cell(
                Knowledge.ELSEWHERE,
                _(
                    "The bounce goes to your server's envelope sender and carries the platform's id of the invitation"
                    " (ENVID), so that your mail administrator can match it."
                ),
            ),
        },
    }
)


def known_statuses(used: Collection[RouteKnowledge], counted: Collection[str]) -> list[KnownStatus]:
    """Return the whole table in the reader's language; `counted` are the statuses that the host counts itself."""
    return list(_known(used, counted))


def _known(used: Collection[RouteKnowledge], counted: Collection[str]) -> Iterator[KnownStatus]:
    for way in RouteKnowledge:
        for status, label in STATUSES.items():
            cell = TABLE[way][status]
            knowledge, reason = cell.knowledge, str(cell.reason)
            if knowledge is Knowledge.COUNTED:
                is_counted = status in counted
                knowledge = Knowledge.REPORTED if is_counted else Knowledge.NOT_KNOWN
                reason = reason if is_counted else gettext("The platform does not count this.")
            yield KnownStatus(
                route=way,
                status=status,
                label=str(label),
                knowledge=knowledge,
                reason=reason,
                is_used=way in used,
            )


def hidden_by_own_server() -> dict[str, Cell]:
    """Return the statuses that the platform cannot see when a tenant's own server sends."""
    hidden = {Knowledge.NOT_KNOWN, Knowledge.ELSEWHERE}
    return {
        status: TABLE[RouteKnowledge.RELAY][status]
        for status in STATUSES
        if TABLE[RouteKnowledge.RELAY][status].knowledge in hidden
    }
