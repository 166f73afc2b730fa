"""A small browser for the walk: pages, links and forms over real HTTP, with cookies and redirects."""

from __future__ import annotations

from collections.abc import Mapping
from http.client import HTTPResponse
from http.cookiejar import CookieJar
from io import BytesIO
from types import MappingProxyType
from typing import cast
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urljoin
from urllib.request import HTTPCookieProcessor, ProxyHandler, Request, build_opener

from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.test import encode_multipart

from demo.controls import Form, NotOnPageError, pick_one
from demo.dom import Node, parse_html

TIMEOUT = 30.0
"""Timeout of a request, in seconds."""


class BrowsingError(Exception):
    """A page could not be read, or lacks expected content. The text names the page."""


class Page:
    """A parsed page."""

    def __init__(self, url: str, status: int, content: bytes) -> None:
        self.url = url
        self.status = status
        self.root: Node = parse_html(content.decode("utf-8", "replace"))

    @property
    def title(self) -> str:
        """The page's title."""
        return next((node.text for node in self.root.find("title")), "")

    @property
    def text(self) -> str:
        """The visible text."""
        return self.root.text

    def link(self, text: str) -> str:
        """Return the address of the link with this text. Raises `BrowsingError`."""
        links = {
            (node.text or node.attributes.get("aria-label", ""), urljoin(self.url, node.attributes["href"])): None
            for node in self.root.find("a")
            if "href" in node.attributes
        }
        try:
            return pick_one(text, list(links), "a link")
        except NotOnPageError as error:
            raise self.problem(str(error)) from error

    def form(self, button: str) -> Form:
        """Return the form that has a button with this text. Raises `BrowsingError`."""
        forms = [Form(node, self.root) for node in self.root.find("form")]
        try:
            return pick_one(button, [(item.text, form) for form in forms for item in form.buttons], "a button")
        except NotOnPageError as error:
            raise self.problem(str(error)) from error

    def tables(self) -> list[list[list[str]]]:
        """Return every table as rows of cells."""
        return [
            [[cell.text for cell in row.find("th", "td")] for row in table.find("tr")]
            for table in self.root.find("table")
        ]

    def expect(self, words: str) -> None:
        """Raise `BrowsingError` unless the page shows this text."""
        if words not in self.text:
            raise self.problem(f"“{words}” is not to be read there")

    def problem(self, what: str) -> BrowsingError:
        """Return an error that names the page and the errors that it shows."""
        alerts = [node.text for node in self.root.walk() if node.attributes.get("role") == "alert" and node.text]
        heard = f" The page says: {' / '.join(alerts)}" if alerts else ""
        return BrowsingError(f"On “{self.title}” ({self.url}): {what}.{heard}")


class Browser:
    """Keeps the cookies between pages."""

    def __init__(self) -> None:
        # No proxy, whatever the environment says: everything is on the loopback interface.
        self._opener = build_opener(ProxyHandler({}), HTTPCookieProcessor(CookieJar()))

    def open(self, url: str) -> Page:
        """Get a page. Raises `BrowsingError` on a failure or an error page."""
        return self._page(_request(url))

    def read(self, url: str) -> bytes:
        """Get a resource that is not a page. Raises `BrowsingError`."""
        return self._fetch(_request(url))[2]

    def follow(self, page: Page, link: str) -> Page:
        """Click a link."""
        return self.open(page.link(link))

    def press(self, page: Page, form: Form, text: str) -> Page:
        """Press a form's button and return the next page. Raises `BrowsingError`."""
        button = form.button(text)
        pairs = form.pairs(button)
        url = urljoin(page.url, button.action) if button.action else page.url
        if button.method == "get":
            query = urlencode([pair for pair in pairs if isinstance(pair[1], str)])
            return self.open(f"{url.partition('?')[0]}?{query}")
        content_type, body = _multipart(pairs) if form.is_multipart else _urlencoded(pairs)
        return self._page(_request(url, body, {"Content-Type": content_type, "Referer": page.url}))

    def _page(self, request: Request) -> Page:
        url, status, content = self._fetch(request)
        page = Page(url, status, content)
        if status >= 400:
            raise page.problem(f"the answer is {status}: {page.text[:300]}")
        return page

    def _fetch(self, request: Request) -> tuple[str, int, bytes]:
        try:
            with self._opener.open(request, timeout=TIMEOUT) as response:
                return _answer(cast(HTTPResponse, response))
        except HTTPError as error:
            with error:
                return error.url, error.code, error.read()
        except (URLError, OSError) as error:
            raise BrowsingError(f"{request.full_url} did not answer: {error}") from error


def _request(url: str, body: bytes | None = None, headers: Mapping[str, str] = MappingProxyType({})) -> Request:
    return Request(url, body, dict(headers))  # noqa: S310 - the demo opens its own pages only


def _answer(response: HTTPResponse) -> tuple[str, int, bytes]:
    return response.url, response.status, response.read()


def _urlencoded(pairs: list[tuple[str, str | tuple[str, bytes]]]) -> tuple[str, bytes]:
    return "application/x-www-form-urlencoded", urlencode(pairs).encode("ascii")


def _multipart(pairs: list[tuple[str, str | tuple[str, bytes]]]) -> tuple[str, bytes]:
    values: MultiDict[str, str | FileStorage] = MultiDict()
    for name, value in pairs:
        given = FileStorage(BytesIO(value[1]), value[0]) if isinstance(value, tuple) else value
        values.add(name, given)
    boundary, body = encode_multipart(values)
    return f"multipart/form-data; boundary={boundary}", body
