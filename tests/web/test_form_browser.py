"""The live messages of the mail server form, in Chromium."""

from __future__ import annotations

import pytest
from jinja2 import DictLoader
from playwright.sync_api import expect

pytestmark = pytest.mark.browser


@pytest.fixture
def page(person):
    return person.open("/servers/new")


def test_encryption_and_port_that_do_not_fit_are_said(page):
    """A selection fills in the port; an unusual port shows a warning, and a usual one hides it."""
    warning = page.get_by_text("Encryption and port rarely go together like this.")
    port = page.get_by_role("spinbutton", name="Port")
    page.get_by_label("Implicit TLS").check()
    expect(port).to_have_value("465")
    expect(warning).to_be_hidden()
    port.fill("587")
    expect(warning).to_be_visible()
    page.get_by_label("STARTTLS: begins").check()
    expect(port).to_have_value("587")
    expect(warning).to_be_hidden()


@pytest.mark.parametrize(
    ("pasted", "host", "port"),
    [
        ("  smtp://mail.abc.com:587/ ", "mail.abc.com", "587"),
        ("smtps://mail.abc.com:465", "mail.abc.com", "465"),
        ("mail.abc.com:2525", "mail.abc.com", "2525"),
        ("https://mail.abc.com/owa?x=1", "mail.abc.com", ""),
        ("[2001:db8::1]:25", "[2001:db8::1]:25", ""),
        ("someone@abc.com", "someone@abc.com", ""),
    ],
)
def test_a_pasted_address_becomes_name_and_port(page, pasted, host, port):
    """As soon as the field loses the focus; other input is left for the server to check."""
    field = page.get_by_label("Mail server", exact=True)
    field.fill(pasted)
    field.blur()
    expect(field).to_have_value(host)
    expect(page.get_by_role("spinbutton", name="Port")).to_have_value(port)


def test_a_port_that_was_typed_is_kept(page):
    """A typed port is not replaced by a pasted one."""
    page.get_by_role("spinbutton", name="Port").fill("2525")
    field = page.get_by_label("Mail server", exact=True)
    field.fill("mail.abc.com:587")
    field.blur()
    expect(page.get_by_role("spinbutton", name="Port")).to_have_value("2525")


@pytest.mark.parametrize(
    ("name", "typed", "meaning"),
    [
        ("Least time between two messages", "2", "one every 2 s, or 30 a minute, 1,800 an hour, 43,200 a day"),
        ("Messages per minute", "20", "one every 3 s, or 20 a minute, 1,200 an hour, 28,800 a day"),
        ("Messages per day", "2000", "one every 43.2 s, or 1.39 a minute, 83.3 an hour, 2,000 a day"),
    ],
)
def test_a_limit_is_said_as_what_it_means(page, name, typed, meaning):
    """While it is typed, and gone with it."""
    page.get_by_text("how fast your server may be used").click()
    page.get_by_label(name).fill(typed)
    expect(page.get_by_text(meaning)).to_be_visible()
    page.get_by_label(name).fill("")
    expect(page.get_by_text(meaning)).to_have_count(0)


def test_a_german_reads_german_numbers(person):
    """The conversion is in the reader's language and number format."""
    page = person.with_options(locale="de").open("/servers/new")
    page.locator("#min_interval").evaluate("field => { field.value = '0.5'; field.dispatchEvent(new Event('input')); }")
    assert "7.200 pro Stunde" in page.locator("[data-own-smtp-of=min_interval]").text_content()


@pytest.mark.parametrize(
    ("language", "said"), [('lang="de_DE"', "1.800"), ("", "1,800"), ('lang="no such one"', "1,800")]
)
def test_a_limit_is_said_in_whatever_way_the_layout_names_its_language(person, web_app, thin, language, said):
    """A host's layout may have `de_DE`, nothing, or nonsense: the script continues, in the browser's language."""
    layout = f"<html {language}><title>{{% block title %}}{{% endblock %}}</title>{{% block content %}}{{% endblock %}}"
    web_app.jinja_loader = DictLoader({"host.html": layout})
    thin.host.layout_name = "host.html"
    page = person.open("/servers/new")
    page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    page.locator("#min_interval").fill("2")
    expect(page.get_by_text(said).first).to_be_visible()
