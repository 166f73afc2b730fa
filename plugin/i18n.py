"""Texts in the reader's language, from a catalogue of our own: the host's catalogues are not used.

The language is the host's choice if the host uses Flask-Babel; else the tenant's, else the browser's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unicodedata import bidirectional
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel import Locale, UnknownLocaleError
from flask import Flask, has_request_context, request
from flask_babel import Babel, Domain, force_locale, format_date, format_decimal, get_locale
from flask_babel import format_time as format_hour
from flask_babel.speaklater import LazyString

CATALOGUES = Path(__file__).parent / "translations"
LANGUAGES = ("en", *sorted(path.parent.parent.name for path in CATALOGUES.glob("*/LC_MESSAGES/own_smtp.mo")))
"""All languages with a catalogue; English is in the code."""

_SUBTAGS = re.compile("[-_]")

_DOMAIN = Domain(str(CATALOGUES), "own_smtp")

Text = str | LazyString


_DIRECTION = re.compile("[\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
_FSI, _PDI = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"


def undirected(text: str) -> str:
    """Return a text without Unicode's directional formatting characters.

    An unclosed isolate, or a surplus end, affects the text outside any isolate around it (UAX #9, 3.3.2), so these must
    be removed even inside a `<bdi>`.
    """
    return _DIRECTION.sub("", text)


def isolated(text: str) -> str:
    """Return a name for use in a sentence, isolated so that it does not change the sentence's writing direction."""
    plain = undirected(text)
    if plain.isascii() or not any(bidirectional(character) in _RIGHT_TO_LEFT for character in plain):
        return plain
    return f"{_FSI}{plain}{_PDI}"


def _filled_in(values: dict[str, Any]) -> dict[str, Any]:
    return {name: isolated(value) if type(value) is str else value for name, value in values.items()}


def gettext(text: str, **values: Any) -> str:
    """Translate `text`, then fill in `%(name)s`. Values are directionally isolated.

    English outside a request where the host's locale selector needs one: a text may be read long after it was made.
    """
    if not has_request_context() and not _has_language():
        return text % _filled_in(values) if values else text
    return str(_DOMAIN.gettext(text, **_filled_in(values)))


def ngettext(singular: str, plural: str, num: int, **values: Any) -> str:
    """Translate the form for `num`; `%(num)s` in it is `num` as the reader writes numbers."""
    form: str = _DOMAIN.get_translations().ungettext(singular, plural, num)
    return form % {"num": format_decimal(num), **_filled_in(values)}


def lazy_gettext(text: str, **values: Any) -> LazyString:
    """Translate when the text is shown, not now."""
    return LazyString(gettext, text, **values)


@contextmanager
def with_language(fallback: Callable[[], str]) -> Iterator[None]:
    """Provide a language where the host's locale selector may fail, because many read the request.

    Outside a request, the language is the result of `fallback`, such as the tenant's.
    """
    if has_request_context() or _has_language():
        yield
        return
    with force_locale(_known_language(fallback())):
        yield


def _has_language() -> bool:
    try:
        get_locale()
    except Exception:  # noqa: BLE001 -- the host's own function, which may raise anything
        return False
    return True


def _known_language(name: str) -> str:
    try:
        return str(Locale.parse(name.replace("-", "_")))
    except (ValueError, UnknownLocaleError):
        return "en"


def list_some(items: Sequence[str], most: int, say: Callable[[str], str] = str) -> str:
    """List the first `most` items, formatted by `say`, and the number of the others."""
    said = [say(item) for item in items[:most]]
    more = len(items) - len(said)
    return ", ".join([*said, gettext("%(number)s more", number=format_decimal(more))] if more else said)


def format_time(moment: datetime, timezone: str) -> str:
    """Return date and time to the minute in the reader's format, in the given zone."""
    local = moment.astimezone(zone_of(timezone))
    return f"{format_date(local, 'medium', rebase=False)}, {format_hour(local, 'short', rebase=False)}"


def format_soon(moment: datetime, now: datetime, timezone: str) -> str:
    """Return a time today or tomorrow without its date, any other one as `format_time` does."""
    zone = zone_of(timezone)
    local = moment.astimezone(zone)
    hour = format_hour(local, "short", rebase=False)
    match (local.date() - now.astimezone(zone).date()).days:
        case 0:
            return str(hour)
        case 1:
            return gettext("%(time)s tomorrow", time=hour)
        case _:
            return format_time(moment, timezone)


def format_utc(moment: datetime) -> str:
    """Return a time to the second in ISO 8601, in UTC, for files."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def known_locale(tag: str) -> str:
    """Return a language tag (BCP 47 such as `de-CH`, gettext's such as `de_CH.UTF-8`) in Babel's notation; else `en`.

    Subtags that Babel does not know are removed from the right (RFC 4647, 3.4). A language without a catalogue becomes
    English completely, so that numbers and dates match the texts.
    """
    subtags = _SUBTAGS.split(re.split("[.@]", tag.strip())[0])
    while subtags:
        try:
            locale = Locale.parse("_".join(subtags))
        except (UnknownLocaleError, ValueError):
            subtags.pop()
            continue
        return str(locale) if locale.language in LANGUAGES else "en"
    return "en"


def zone_of(timezone: str) -> ZoneInfo:
    """Return the zone of an IANA name; UTC for an unknown name."""
    try:
        return ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a directory of zones, such as "Europe", is an OSError
        return ZoneInfo("UTC")


def ensure_babel(app: Flask) -> None:
    """Start Flask-Babel for a host that does not use it."""
    if "babel" not in app.extensions:
        # The host's Jinja environment is not changed: its own `gettext` and filters stay.
        Babel(app, locale_selector=_best_language, configure_jinja=False)


def _best_language() -> str | None:
    return request.accept_languages.best_match(LANGUAGES) if has_request_context() else None
