"""Chromium and a server for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask, Response
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page
from werkzeug.serving import make_server

POLICY = "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
"""A strict Content-Security-Policy."""


@dataclass
class Visit:
    """A person with a browser on the pages."""

    browser: Browser
    base: str
    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)
    """Console messages of the browser, and requests to other hosts."""

    def open(self, path: str) -> Page:
        self.page.goto(self.base + path)
        return self.page

    def with_options(self, **options: object) -> Visit:
        """Return the same person with another window size, colour scheme, language or without scripts."""
        return visit(self.browser, self.base, **options)

    def violations(self) -> str:
        """Return axe's findings on the page as text; empty without any."""
        results = Axe().run(self.page)
        return results.generate_report() if results.violations_count else ""

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def visit(browser: Browser, base: str, **options: object) -> Visit:
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, "locale": "en", **options})  # type: ignore[arg-type]
    context.set_default_timeout(15_000)
    page = context.new_page()
    person = Visit(browser, base, context, page)

    def on_console(message: ConsoleMessage) -> None:
        # The browser reports responses 401, 404 and 422 of a page as failed loads.
        if message.type in {"error", "warning"} and "status of 4" not in message.text:
            person.complaints.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: person.complaints.append(str(error)))
    page.on("request", lambda request: _same_host(request.url, base) or person.complaints.append(request.url))
    return person


def _same_host(address: str, base: str) -> bool:
    return urlsplit(address).netloc in {"", urlsplit(base).netloc}


@pytest.fixture
def person(browser: Browser, web_app: Flask) -> Iterator[Visit]:
    """A browser on the pages, which are served under a strict Content-Security-Policy."""

    @web_app.after_request
    def be_strict(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        return response

    server = make_server("127.0.0.1", 0, web_app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    someone = visit(browser, f"http://127.0.0.1:{server.port}/own-smtp")
    yield someone
    for context in browser.contexts:
        context.close()
    server.shutdown()
    thread.join()
    server.server_close()
    assert someone.complaints == []
