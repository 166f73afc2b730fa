"""Checks after the walk: plain comparisons of the sent, received and reported invitations."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from demo.recipients import REFUSED

SURVEY_LINK = re.compile(r"https?://[^\s/]+/s/\d+/[\w-]+")
WAITING = ("Waiting", "Being sent")
SHOWN = 5
"""The maximum number of examples of one problem."""


@dataclass(frozen=True, slots=True)
class Person:
    """One row of the file that was imported."""

    address: str
    first_name: str
    last_name: str


@dataclass(frozen=True, slots=True)
class Mail:
    """One message in the catch-all."""

    recipients: tuple[str, ...]
    """The address in the envelope."""
    shown_to: tuple[str, ...]
    """The address in the header."""
    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class Reported:
    """The content of the report page."""

    numbers: Mapping[str, int | None]
    """Numbers by state; `None` where the page says that it is not known."""
    refusals: Mapping[str, str]
    """The server's reply, or our own text, by address."""

    @property
    def settled(self) -> int:
        """How many invitations are no longer waiting."""
        return sum(number or 0 for state, number in self.numbers.items() if state not in WAITING)


def read_people(path: Path) -> list[Person]:
    """Read the file that the walk imports."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return [Person(row["email"], row["firstname"], row["lastname"]) for row in rows]


def problems_with_mails(people: Sequence[Person], links: Mapping[str, str], mails: Sequence[Mail]) -> Iterator[str]:
    """Yield problems with the received mails; `links` has each address's own link, as shown by the platform."""
    expected = {person.address: person for person in people if person.address not in REFUSED}
    arrived = Counter(address for mail in mails for address in mail.recipients)
    wrong = [mail.recipients[0] for mail in mails if not _fits(mail, expected, links)]
    yield from _listed("never arrived", expected.keys() - arrived.keys())
    yield from _listed("arrived although nobody should get them", arrived.keys() - expected.keys())
    yield from _listed("arrived more than once", [address for address, count in arrived.items() if count > 1])
    yield from _listed("lack the right name, address or link", [address for address in wrong if address in expected])
    if len({mail.message_id for mail in mails}) != len(mails):
        yield f"{len(mails)} invitations have {len({mail.message_id for mail in mails})} distinct Message-IDs."
    if len(set(links.values())) != len(people):
        yield f"{len(people)} people have {len(set(links.values()))} distinct links."


def problems_with_report(people: Sequence[Person], reported: Reported) -> Iterator[str]:
    """Yield problems with the report: all must be accepted except the refused ones, which show the server's reply."""
    expected = {"accepted": len(people) - len(REFUSED), "refused": len(REFUSED)}
    for state, number in expected.items():
        found = [value for label, value in reported.numbers.items() if label.casefold().startswith(state)]
        if found != [number]:
            yield f"The report should say {number} {state}, and says {found[0] if found else 'nothing'}."
    for address, reply in REFUSED.items():
        words = reported.refusals.get(address)
        if words is None or reply.split(" ", 2)[2] not in words:
            yield f"The report should quote “{reply}” for {address}, and says “{words or ''}”."
    yield from _listed("are reported as not accepted", reported.refusals.keys() - REFUSED.keys())
    for state in ("Delivered", "Bounced for now", "Bounced for good"):
        if reported.numbers.get(state, 0) is not None:
            yield f"The report must not claim to know what was {state.casefold()}."


def _fits(mail: Mail, people: Mapping[str, Person], links: Mapping[str, str]) -> bool:
    """Whether a mail is to one person alone, in envelope, header, name and link."""
    person = people.get(mail.recipients[0])
    if person is None or mail.recipients != (person.address,) or mail.shown_to != mail.recipients:
        return False
    is_addressed = person.first_name in mail.text and person.last_name in mail.text
    return is_addressed and set(SURVEY_LINK.findall(mail.text)) == {links.get(person.address)}


def _listed(what: str, addresses: Iterable[str]) -> Iterator[str]:
    found = sorted(addresses)
    if found:
        more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
        yield f"{len(found)} invitations {what}: {', '.join(found[:SHOWN])}{more}."
