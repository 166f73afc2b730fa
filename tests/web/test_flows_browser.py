"""People's tasks with mail servers, in Chromium: on the example platform as operators run it, with a real Postfix.

`test_overview_browser.py` has 200 servers; `test_pages_browser.py` and `test_trials_browser.py` have German;
`test_pages_browser.py` has axe, keyboard and telephone.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.servers.postfix import Postfix
from tests.servers.process import eventually
from tests.survey_host_running import ADMIN, MANAGER, PASSWORD, USER, Running, running

pytestmark = [pytest.mark.servers, pytest.mark.browser]

PEOPLE = ["anna@recipients.example", "bruno@recipients.example", "chloe@recipients.example"]
CONFIRM = "Yes, this server may send for us"


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Iterator[Running]:
    """One platform for all tests of this file: each has servers and a sender address of its own."""
    with running(tmp_path_factory.mktemp("site")) as started:
        # Workers in their own processes reply, and the machine may be busy.
        expect.set_options(timeout=20_000)
        yield started
        expect.set_options(timeout=5_000)


@pytest.fixture
def page(site, browser_page) -> Page:
    """A tenant's administrator, signed in."""
    return site.sign_in(browser_page, ADMIN)


@pytest.fixture
def somebody(browser: Browser) -> Iterator[Page]:
    """The owner of the sender's mailbox, without an account."""
    with browser.new_context(locale="en-GB", timezone_id="UTC") as context:
        yield context.new_page()


def fill(page: Page, server: Postfix, sender: str) -> None:
    typed = {
        "Name of this server": sender.partition("@")[0],
        "Mail server": "localhost",
        "User name": USER,
        "Password": PASSWORD,
        "Sender address": sender,
    }
    for label, text in typed.items():
        page.get_by_label(label, exact=True).fill(text)
    page.get_by_role("spinbutton", name="Port").fill(str(server.submission_port))


def press(page: Page, button: str) -> None:
    page.get_by_role("button", name=button).click()


def press_test(page: Page, heading: str) -> None:
    """Test the input, and wait for the result."""
    press(page, "Test without saving")
    expect(page.get_by_role("heading", name=heading)).to_be_visible()


def save(site: Running, page: Page, sender: str) -> str:
    """Enter a server and save it untested; return the link in the mail."""
    page.goto(f"{site.url}/own-smtp/servers/new")
    fill(page, site.postfix, sender)
    press(page, "Save and send the confirmation mail")
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()
    return site.link_mailed_to(sender)


def confirm(somebody: Page, link: str) -> None:
    somebody.goto(link)
    press(somebody, CONFIRM)
    expect(somebody.get_by_role("heading", name="Confirmed", exact=True)).to_be_visible()


def import_people(page: Page, survey: str, addresses: list[str]) -> None:
    """From the list of surveys to its participants, by a CSV file."""
    page.get_by_role("link", name="Surveys").first.click()
    page.get_by_role("link", name=survey).first.click()
    page.get_by_role("link", name="Participants").first.click()
    page.get_by_role("link", name="Import CSV").click()
    rows = "\n".join(["firstname;email", *(f"{address.partition('@')[0]};{address}" for address in addresses), ""])
    file = {"name": "people.csv", "mimeType": "text/csv", "buffer": rows.encode()}
    page.get_by_label("CSV file").set_input_files(file)
    press(page, "Import")
    expect(page.get_by_text(f"{len(addresses)} participants imported")).to_be_visible()


def choose(page: Page, survey: str, label: str) -> None:
    """Route a survey's invitations through a server."""
    page.get_by_role("link", name="Settings").first.click()
    page.get_by_role("link", name="Own SMTP server").first.click()
    page.get_by_role("link", name=survey).first.click()
    page.get_by_role("radio", name=label).check()
    press(page, "Save")
    expect(page.get_by_text(f"In force now: invitations leave through “{label}”.")).to_be_visible()


def send(page: Page, survey: str, label: str, number: int) -> None:
    page.get_by_role("link", name="Surveys").first.click()
    page.get_by_role("link", name=survey).first.click()
    page.get_by_role("navigation", name="This survey").get_by_role("link", name="Send").click()
    expect(page.get_by_role("radio", name=label)).to_be_checked()
    press(page, "Send now")
    expect(page.get_by_text("Taken over").locator("xpath=following-sibling::dd")).to_have_text(str(number))


def test_from_the_preset_to_the_report(site, page, somebody):
    """Selected, filled in, tested, saved, confirmed, chosen, sent: the report and Postfix's mailbox agree."""
    sender, survey = "complete@north.example", "Student satisfaction"
    page.get_by_role("link", name="Settings").first.click()
    page.get_by_role("link", name="Own SMTP server").first.click()
    page.get_by_role("link", name="Add a mail server").first.click()
    page.get_by_label("Is your provider among these?").select_option(label="Postfix on the premises")
    press(page, "Fill in")
    expect(page.get_by_text("What to know of Postfix on the premises:")).to_be_visible()
    expect(page.get_by_role("spinbutton", name="Port")).to_have_value("587")
    fill(page, site.postfix, sender)
    press_test(page, "All well")
    press(page, "Save and send the confirmation mail")
    expect(page.get_by_text(f"A mail went to {sender}")).to_be_visible()

    somebody.goto(site.link_mailed_to(sender))
    expect(somebody.get_by_role("heading", name="Confirm a mail server")).to_be_visible()
    expect(somebody.get_by_role("definition").filter(has_text=sender)).to_be_visible()
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()
    press(somebody, CONFIRM)
    expect(somebody.get_by_role("heading", name="Confirmed", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()

    import_people(page, survey, PEOPLE)
    choose(page, survey, "complete")
    site.postfix.clear()
    send(page, survey, "complete", len(PEOPLE))
    eventually(lambda: len(site.postfix.copies()) == len(PEOPLE), "all invitations arrived")
    page.get_by_role("link", name="Follow it").click()
    expect(page.get_by_text("3 accepted by your server").first).to_be_visible()
    page.goto(f"{site.url}/surveys/1/report")
    # The platform receives the event a moment later, and its page does not update.
    accepted = page.get_by_role("row").filter(has_text="accepted").first.get_by_role("cell").first
    eventually(lambda: page.reload() and accepted.inner_text() == "3", "the platform's report says so, too")
    copies = site.postfix.copies()
    assert sorted(copy.recipient for copy in copies) == PEOPLE
    assert {copy.sender for copy in copies} == {sender}
    assert all(f"{site.url}/s/" in copy.message.get_body(("plain",)).get_content() for copy in copies)


def test_a_wrong_password(site, page):
    """Cause, field and the server's reply; only the password is typed again."""
    page.goto(f"{site.url}/own-smtp/servers/new")
    fill(page, site.postfix, "password@north.example")
    page.get_by_label("Password", exact=True).fill("battery staple")
    press_test(page, "It does not work like this yet")
    expect(page.get_by_text("refuses the user name or the password")).to_be_visible()
    expect(page.get_by_text("The server's own words:").locator("xpath=..")).to_contain_text("535 5.7.8")
    expect(page.get_by_text("The server's own words:").locator("xpath=..")).to_contain_text("authentication failed")
    assert "battery staple" not in page.content()
    page.get_by_role("link", name="Go to the field").click()
    assert page.url.endswith("#password")
    expect(page.get_by_label("Sender address")).to_have_value("password@north.example")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press_test(page, "All well")


def test_encryption_and_port_that_do_not_fit(site, page):
    """The page leads to the encryption field; with the other one the test passes."""
    page.goto(f"{site.url}/own-smtp/servers/new")
    fill(page, site.postfix, "encryption@north.example")
    page.get_by_label("Implicit TLS").check()
    press_test(page, "It does not work like this yet")
    expect(page.get_by_text("No encrypted connection could be made.")).to_be_visible()
    expect(page.get_by_text("Encryption and port may not fit")).to_be_visible()
    page.get_by_role("link", name="Go to the field").click()
    assert page.url.endswith("#security")
    page.get_by_label("STARTTLS: begins").check()
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    press_test(page, "All well")


def test_a_self_signed_certificate_is_trusted_by_its_fingerprint(site, page, somebody):
    """Shown, compared, trusted, saved; the mail is sent with it, and its link activates the server."""
    server, sender = site.self_signed, "fingerprint@north.example"
    page.goto(f"{site.url}/own-smtp/servers/new")
    fill(page, server, sender)
    press_test(page, "The certificate that the server shows")
    expect(page.get_by_text("(by itself)")).to_be_visible()
    expect(page.locator("code").filter(has_text=server.fingerprint)).to_be_visible()
    press(page, "trust this certificate")
    expect(page.get_by_role("heading", name="All well")).to_be_visible()
    expect(page.get_by_text("Trusted by its fingerprint.")).to_be_visible()
    press(page, "Save and send the confirmation mail")
    confirm(somebody, site.link_mailed_to(sender, server))
    page.reload()
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()
    expect(page.get_by_text("only the one with the fingerprint")).to_be_visible()


def test_another_host_locks_the_server_and_invitations_wait(site, page, somebody):
    """Until the new link is clicked only that mail is sent; the password is required, because it goes to another
    server.
    """
    sender, survey, people = "moved@north.example", "Working here", PEOPLE[:2]
    confirm(somebody, save(site, page, sender))
    page.reload()
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()
    address = page.url
    import_people(page, survey, people)
    choose(page, survey, "moved")
    page.goto(address)
    press(page, "Pause")
    expect(page.get_by_role("heading", name="Paused")).to_be_visible()
    send(page, survey, "moved", len(people))

    page.goto(f"{address}/edit")
    page.get_by_label("Mail server", exact=True).fill("127.0.0.1")
    press(page, "Save")
    expect(page.get_by_role("alert")).to_contain_text("Type the password again")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    site.postfix.clear()
    press(page, "Save")
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()
    link = site.link_mailed_to(sender)
    assert [copy.recipient for copy in site.postfix.copies()] == [sender]
    confirm(somebody, link)
    page.reload()
    expect(page.get_by_role("heading", name="Active", exact=True)).to_be_visible()
    for recipient in people:
        eventually(lambda recipient=recipient: site.mails_to(recipient), f"what waited for {recipient} arrived")
    assert sorted(copy.recipient for copy in site.postfix.copies()) == sorted([*people, sender])


def test_an_expired_link(site, page, somebody):
    """It says until when it was valid, and confirms nothing; the server's page offers a new mail."""
    link = save(site, page, "expired@north.example")
    site.expire_links("expired@north.example")
    answer = somebody.goto(link)
    assert answer.status == 410
    expect(somebody.get_by_role("heading", name="This link has expired")).to_be_visible()
    expect(somebody.get_by_text("It was valid until")).to_be_visible()
    expect(somebody.get_by_role("button", name=CONFIRM)).to_have_count(0)
    page.reload()
    expect(page.get_by_text("is no longer valid")).to_be_visible()
    expect(page.get_by_role("button", name="Send the mail again")).to_be_visible()


def test_a_used_and_an_invented_link(site, page, somebody):
    """Each has its own text, and neither has the button."""
    link = save(site, page, "used@north.example")
    confirm(somebody, link)
    for address, heading, status in ((link, "Confirmed already", 410), (f"{link}x", "This link is not known", 404)):
        assert somebody.goto(address).status == status
        expect(somebody.get_by_role("heading", name=heading)).to_be_visible()
        expect(somebody.get_by_role("button", name=CONFIRM)).to_have_count(0)


def test_a_mail_scanner_confirms_nothing(site, page, somebody):
    """However often a program or a browser fetches the link, only the button counts."""
    link = save(site, page, "scanned@north.example")
    for method in ("HEAD", "GET", "GET"):
        assert somebody.request.fetch(link, method=method).status == 200
    somebody.goto(link)
    page.reload()
    expect(page.get_by_role("heading", name="Not active")).to_be_visible()
    press(somebody, CONFIRM)
    expect(somebody.get_by_role("heading", name="Confirmed", exact=True)).to_be_visible()


def test_a_role_without_the_permission(site, page, browser):
    """A survey manager sees the server without buttons; its address leads to a page that says why."""
    save(site, page, "seen@north.example")
    server = page.url
    with browser.new_context(locale="en-GB") as context:
        manager = site.sign_in(context.new_page(), MANAGER)
        manager.get_by_role("link", name="Own SMTP server").first.click()
        expect(manager.get_by_role("link", name="Add a mail server")).to_have_count(0)
        manager.get_by_role("link", name="seen", exact=True).click()
        expect(manager.get_by_role("heading", name="Not active")).to_be_visible()
        expect(manager.locator("main").get_by_role("button")).to_have_count(0)
        expect(manager.get_by_role("link", name="Change the settings")).to_have_count(0)
        for address in (f"{server}/edit", f"{server}/delete", f"{site.url}/own-smtp/servers/new"):
            assert manager.goto(address).status == 403
            expect(manager.get_by_role("heading", name="Not for you")).to_be_visible()
