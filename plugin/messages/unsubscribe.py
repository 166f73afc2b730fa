"""The List-Unsubscribe fields (RFC 2369, RFC 8058): URLs that must arrive byte for byte."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit

import idna

from own_smtp.errors import ContentError
from own_smtp.messages.headers import check_line, clean
from own_smtp.messages.placeholders import Template, split

SCHEMES = ("https:", "http:", "mailto:")
LONGEST_URL = 900
"""Longer URLs do not fit into the one line that they may take: a URL cannot be folded."""

_LEGAL = "!#$%&'()*+,-./:;=?@[]_~"
_CHARS = r"[A-Za-z0-9!#$%&'()*+,\-./:;=?@\[\]_~]"
_HOST = r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]+)?"
_URL = re.compile(rf"(?:https?://{_HOST}(?:[/?#]{_CHARS}*)?|mailto:{_CHARS}+)", re.IGNORECASE)
_WORD = re.compile(r"=\?[^?]*\?[bq]\?[^?]*\?=", re.IGNORECASE)


def check_unsubscribe(template: str, one_click: bool) -> None:
    """Raise `ContentError` for what cannot become a List-Unsubscribe URL, or not one that takes a POST."""
    check_line("The unsubscribe URL", template)
    if len(template) > LONGEST_URL:
        raise ContentError(f"The unsubscribe URL is longer than {LONGEST_URL} characters.")
    start = split(template.strip())[0].lower()
    schemes = SCHEMES[:1] if one_click else SCHEMES
    if start and not start.startswith(schemes):
        names = " or ".join(f"{scheme.removesuffix(':')}" for scheme in schemes)
        raise ContentError(f"The unsubscribe URL must begin with {names}{' to take one click' if one_click else ''}.")


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The fields as a template. An invitation whose values give no usable URL gets none of them."""

    template: Template
    one_click: bool

    def render(self, values: Mapping[str, str]) -> bytes:
        url = self.template.fill(values)
        if "=?" in url or not _URL.fullmatch(url):
            url = _mended(url)
        if not url or len(url) > LONGEST_URL:
            return b""
        line = f"List-Unsubscribe: <{url}>\r\n"
        if self.one_click and url[:6].lower() == "https:":
            line += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
        return line.encode("ascii")


def _mended(url: str) -> str:
    """Return what can be made of a URL that cannot be used as it is; nothing when that is no URL."""
    if not _URL.fullmatch(url):
        url = _legal(clean(url))
    url = _WORD.sub(_broken, url)
    return url if _URL.fullmatch(url) else ""


def _legal(url: str) -> str:
    """Percent-encode what no URL may hold (RFC 3986, 2.1), and turn an internationalised host into A-labels."""
    try:
        parts = urlsplit(url)
        if not parts.netloc.isascii():
            userinfo, at, host = parts.netloc.rpartition("@")
            name, colon, port = host.partition(":")
            netloc = f"{userinfo}{at}{idna.encode(name, uts46=True).decode('ascii')}{colon}{port}"
            url = urlunsplit(parts._replace(netloc=netloc))
    except (ValueError, UnicodeError):
        return ""
    return quote(url, safe=_LEGAL, errors="replace")


def _broken(match: re.Match[str]) -> str:
    """Keep readers that decode encoded words anywhere from doing so in a URL. The first `?` may start its query."""
    return "=?" + match[0][2:].replace("?", "%3F")
