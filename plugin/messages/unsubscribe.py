"""The List-Unsubscribe fields (RFC 2369, RFC 8058): URLs that must arrive byte for byte."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import quote, urlsplit, urlunsplit

import idna

from own_smtp.errors import ContentError
from own_smtp.messages.headers import FOLD, check_line, clean
from own_smtp.messages.placeholders import Template, split
from own_smtp.messages.url_values import encoder_behind

SCHEMES = ("https:", "http:", "mailto:")
LONGEST_URL = 900
"""A URL cannot be folded, so it must fit on one line."""

_LEGAL = "!#$%&'()*+,-./:;=?@[]_~"
_CHARS = r"[A-Za-z0-9!#$%&'()*+,\-./:;=?@\[\]_~]"
_USER = r"(?:[A-Za-z0-9!$%&'()*+,\-.:;=_~]*@)?"
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_URL = re.compile(rf"(?:https?://{_USER}{_HOST}(?:[/?#]{_CHARS}*)?|mailto:{_CHARS}+)", re.IGNORECASE)
_WORD = re.compile(r"=\?[^?]*\?[bq]\?[^?]*\?=", re.IGNORECASE)
_BETWEEN = re.compile(r",\s*(?=(?:https?://|mailto:))|,\s+(?=\{)", re.IGNORECASE)
_ONLY_A_PLACEHOLDER = re.compile(r"\{[A-Z][A-Z0-9_:]*\}")


def check_unsubscribe(template: str, one_click: bool) -> None:
    """Raise `ContentError` for invalid List-Unsubscribe URLs, and for `one_click` without an https URL."""
    check_line("The unsubscribe URL", template)
    targets = _BETWEEN.split(template.strip())
    for target in targets:
        if len(target) > LONGEST_URL:
            raise ContentError(f"The unsubscribe URL is longer than {LONGEST_URL} characters.")
        start = split(target)[0].lower()
        if start and not start.startswith(SCHEMES):
            raise ContentError("The unsubscribe URL must begin with https or http or mailto.")
        if len(split(target)) == 1 and not usable_url(target):
            raise ContentError(f"The unsubscribe URL cannot be used: {target}")
    if one_click and not any(target.lower().startswith(("https:", "{")) for target in targets):
        raise ContentError("One-click unsubscription needs an unsubscribe URL that begins with https.")


def url_filler(text: str) -> Callable[[Mapping[str, str]], str]:
    """Return a function that fills in a text with URLs: values inside a URL are percent-encoded for their position."""
    parts = split(text)
    escapes = [encoder_behind("".join(parts[:index])) for index in range(1, len(parts), 2)]
    template, uses = Template(text), list(zip(parts[1::2], escapes, strict=True))
    if not any(escapes):
        return template.fill  # for most hosts, the whole URL is one value

    def fill(values: Mapping[str, str]) -> str:
        given = []
        for name, escape in uses:
            value = values.get(name)
            given.append(value if value is None or escape is None else escape(value))
        return template.fill_each(given)

    return fill


class Unsubscribe:
    """The fields as a template. Invitations without a usable URL get no such field.

    `https://..., mailto:...` are several URLs, the preferred one first (RFC 2369, 2). A value that replaces a whole URL
    may contain several as well.
    """

    def __init__(self, template: str, one_click: bool) -> None:
        targets = _BETWEEN.split(clean(template))
        self._targets = [(url_filler(target), _ONLY_A_PLACEHOLDER.fullmatch(target) is not None) for target in targets]
        self._one_click = one_click

    def render(self, values: Mapping[str, str]) -> bytes:
        urls: list[str] = []
        for fill, may_be_several in self._targets:
            url = fill(values)
            if may_be_several and "," in url:
                urls += map(usable_url, _BETWEEN.split(url))
            else:
                urls.append(usable_url(url))
        urls = [url for url in urls if url]
        if not urls:
            return b""
        line = f"List-Unsubscribe: <{f'>,{FOLD}<'.join(urls)}>\r\n"
        if self._one_click and any(url[:6].lower() == "https:" for url in urls):
            line += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        return line.encode("ascii")


def usable_url(url: str) -> str:
    """Return a URL that is valid in a header; an empty text if no client could open it."""
    if "=?" in url or not _URL.fullmatch(url):
        url = _repaired(url)
    return url if len(url) <= LONGEST_URL else ""


def _repaired(url: str) -> str:
    """Return a valid form of a URL that cannot be used unchanged; an empty text if there is none."""
    if not _URL.fullmatch(url):
        url = _legal(clean(url))
    url = _WORD.sub(_broken, url)
    return url if _URL.fullmatch(url) else ""


def _legal(url: str) -> str:
    """Percent-encode invalid characters (RFC 3986, 2.1), and turn an internationalised host into A-labels."""
    try:
        parts = urlsplit(url)
        if not parts.netloc.isascii():
            userinfo, at, host = parts.netloc.rpartition("@")
            name, colon, port = host.partition(":")
            if not name.isascii():
                name = idna.encode(name, uts46=True).decode("ascii")
            url = urlunsplit(parts._replace(netloc=f"{userinfo}{at}{name}{colon}{port}"))
    except (ValueError, UnicodeError):
        return ""
    return quote(url, safe=_LEGAL, errors="replace")


def _broken(match: re.Match[str]) -> str:
    """Prevent readers from decoding an encoded word in a URL. The first `?` may begin the query, and is kept."""
    return "=?" + match[0][2:].replace("?", "%3F")
