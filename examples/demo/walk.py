"""Sends a survey over HTTP as a person would, and checks the result."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

from demo.browser import Browser, BrowsingError, Page
from demo.catchall import PASSWORD, USERNAME
from demo.checks import Mail, Reported, problems_with_mails, problems_with_report, read_people
from demo.children import DemoError, ProcessGroup, last_lines
from demo.controls import NotOnPageError
from demo.launch import accounts, running_demo
from demo.mailbox import Mailbox
from demo.reading import participant_pages, read_report, report_table
from demo.recipients import REFUSED
from demo.stage import PARTICIPANTS, Stage

ROLE = "tenant admin"
SURVEY = "Student satisfaction"
RELAY = "Our mail server"
SENDER = "surveys@north.example"
SENDER_NAME = "North University, Enquêtes & Umfragen"
CONFIRM = "Yes, this server may send for us"
TEST_TIMEOUT = 60.0
CONFIRMATION_TIMEOUT = 60.0
DELIVERY_TIMEOUT = 180.0
"""Seconds. Half a minute is usual; the rest is for loaded machines."""
PAUSE = 0.5

T = TypeVar("T")


def walk(folder: Path) -> None:
    """Send a survey in a fresh demo and check the result. Raises `DemoError` on any failure."""
    with running_demo(folder, afresh=True) as (stage, processes):
        walker = Walker(stage, processes)
        print(flush=True)
        for number, step in enumerate(walker.steps, start=1):
            print(f"{number:>2}. {_done(step, stage, processes)}", flush=True)
        print(f"\nThe report:\n\n{report_table(walker.reported)}\n\nAll checks passed.", flush=True)


def _done(step: Callable[[], str], stage: Stage, processes: ProcessGroup) -> str:
    """Do one step. A failure becomes a `DemoError` that names the step, or the process that ended meanwhile."""
    try:
        return step()
    except (BrowsingError, NotOnPageError) as error:
        processes.check()
        what = step.__name__.replace("_", " ")
        log = stage.folder / "log" / "worker.log"
        where = f"The logs are in {log.parent}.{last_lines(log)}"
        raise DemoError(f"The walk could not {what}. {error}\n{where}") from error


class Walker:
    """One person's way through the platform. Each step returns a description of what it did."""

    def __init__(self, stage: Stage, processes: ProcessGroup) -> None:
        self.reported = Reported({}, {})
        """The last content of the report."""
        self._stage = stage
        self._processes = processes
        self._browser = Browser()
        self._mailbox = Mailbox(stage.inbox_url)
        self._people = read_people(PARTICIPANTS)
        self._links: dict[str, str] = {}
        self.steps = (
            self.sign_in,
            self.add_a_mail_server,
            self.confirm_the_mail_server,
            self.switch_a_project_on,
            self.import_the_participants,
            self.send_the_invitations,
            self.follow_the_delivery,
            self.check_the_report,
            self.check_the_inbox,
            self.open_every_link,
        )

    def sign_in(self) -> str:
        account = next(account for account in accounts(self._stage) if ROLE in account.role)
        page = self._browser.open(self._stage.platform_url)
        form = page.form("Sign in")
        form.fill("E-mail address", account.email)
        form.fill("Password", account.password)
        self._surveys = self._browser.press(page, form, "Sign in")
        self._surveys.link(SURVEY)
        return f"Signed in as {account.email}."

    def add_a_mail_server(self) -> str:
        page = self._browser.follow(self._own_smtp(), "Add a mail server")
        form = page.form("Test without saving")
        form.fill("Name of this server", RELAY)
        form.fill("Mail server", "localhost")
        form.tick("STARTTLS")
        form.fill("Port", str(self._stage.ports.smtp))
        form.tick("The server wants a user name and a password")
        form.fill("User name", USERNAME)
        form.fill("Password", PASSWORD)
        form.fill("Sender address", SENDER)
        form.fill("Sender name", SENDER_NAME)
        page = self._browser.press(page, form, "Test without saving")
        page = self._until(lambda: self._passed(page.url), TEST_TIMEOUT, "the test of the settings")
        form = page.form("Save and send the confirmation mail")
        self._relay = self._browser.press(page, form, "Save and send the confirmation mail")
        self._relay.expect("Not active")
        return f"Tested and added the mail server “{RELAY}”; it is not active yet."

    def _passed(self, url: str) -> Page | None:
        page = self._browser.open(url)
        return page if "All well" in page.text else None

    def confirm_the_mail_server(self) -> str:
        mail = self._until(self._confirmation_mail, CONFIRMATION_TIMEOUT, "the confirmation mail")
        owner = Browser()
        page = owner.open(self._link_in(mail))
        self._browser.open(self._relay.url).expect("Not active")
        owner.press(page, page.form(CONFIRM), CONFIRM).expect("Confirmed")
        self._browser.open(self._relay.url).expect("Confirmed on")
        return f"Read the confirmation mail to {SENDER}, opened its link, clicked the button: the server is active."

    def switch_a_project_on(self) -> str:
        self._project = self._browser.follow(self._own_smtp(), SURVEY)
        form = self._project.form("Save")
        form.tick(RELAY)
        self._browser.press(self._project, form, "Save").expect(f"invitations leave through “{RELAY}”")
        return f"Switched “{SURVEY}” to “{RELAY}”."

    def import_the_participants(self) -> str:
        self._survey = self._browser.follow(self._surveys, SURVEY)
        page = self._browser.follow(self._browser.follow(self._survey, "Participants"), "Import CSV")
        form = page.form("Import")
        form.attach("CSV file", PARTICIPANTS.name, PARTICIPANTS.read_bytes())
        self._browser.press(page, form, "Import").expect(f"{len(self._people)} participants imported")
        return f"Imported {len(self._people)} participants from {PARTICIPANTS.name}."

    def send_the_invitations(self) -> str:
        page = self._browser.follow(self._survey, "Send")
        form = page.form("Send now")
        form.tick("Invitation to those who are not invited yet")
        form.tick(RELAY)
        self._browser.press(page, form, "Send now").expect(f"Taken over {len(self._people)}")
        return f"Pressed “Send now”: {len(self._people)} invitations are in the outbox."

    def follow_the_delivery(self) -> str:
        begin = time.monotonic()
        self._until(self._nothing_waits, DELIVERY_TIMEOUT, "the end of the delivery")
        return f"Watched the report until nothing waited, {time.monotonic() - begin:.0f} s later."

    def check_the_report(self) -> str:
        _insist(problems_with_report(self._people, self.reported))
        return f"The report shows {len(self._people) - len(REFUSED)} accepted and {len(REFUSED)} refused, and why."

    def check_the_inbox(self) -> str:
        self._links = self._links_on_the_platform()
        mails = [mail for mail in self._mailbox.mails() if mail.recipients != (SENDER,)]
        _insist(problems_with_mails(self._people, self._links, mails))
        return f"The inbox has {len(mails)} invitations, each once, to the right person with the right link."

    def open_every_link(self) -> str:
        expected = [person.address for person in self._people if person.address not in REFUSED]
        owner = Browser()
        for address in expected:
            owner.open(self._links[address]).expect(SURVEY)
        return f"Opened the {len(expected)} links: each shows the survey."

    def _own_smtp(self) -> Page:
        return self._browser.follow(self._browser.follow(self._surveys, "Settings"), "Own SMTP server")

    def _confirmation_mail(self) -> Mail | None:
        return next((mail for mail in self._mailbox.mails() if mail.recipients == (SENDER,)), None)

    def _link_in(self, mail: Mail) -> str:
        links = re.findall(rf"{re.escape(self._stage.platform_url)}\S+", mail.text)
        if len(links) != 1:
            raise BrowsingError(f"The confirmation mail should have one link to the platform, and has {len(links)}.")
        return str(links[0])

    def _nothing_waits(self) -> bool:
        before = self.reported
        self.reported = read_report(self._browser.follow(self._project, "What became of the invitations"))
        if self.reported != before:
            known = [
                f"{number} {state.lower()}" for state, number in self.reported.numbers.items() if number is not None
            ]
            print(f"      {', '.join(known)}", flush=True)
        return self.reported.settled == len(self._people)

    def _links_on_the_platform(self) -> dict[str, str]:
        """Return each participant's own link, as the platform shows it to the survey's manager."""
        pages = participant_pages(self._browser, self._browser.follow(self._survey, "Participants"))
        return {address: self._browser.open(url).link(f"{self._stage.platform_url}/s/") for address, url in pages}

    def _until(self, look: Callable[[], T | None], seconds: float, what: str) -> T:
        """Return the first true result of `look`. Raises `BrowsingError` after the deadline."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            self._processes.check()
            time.sleep(PAUSE)
        raise BrowsingError(f"Waited {seconds:g} s for {what}, without success.")


def _insist(problems: Iterable[str]) -> None:
    found = list(problems)
    if found:
        raise BrowsingError("\n".join(["The result is wrong:", *(f"  - {text}" for text in found)]))
