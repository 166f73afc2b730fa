"""The preset of one mail provider, and the lists that are sources for many of them.

A preset's date is that of its newest source: a page's own date, or the day on which a maintained list was read. Its
sources are the provider's own pages, if there are any, then the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from own_smtp.i18n import Text
from own_smtp.states import Security

UNDATED = date(2025, 6, 1)
"""The date of presets whose sources have none: generally known at that time."""

THUNDERBIRD = "https://github.com/thunderbird/autoconfig"
THUNDERBIRD_READ = date(2026, 3, 12)

NODEMAILER = "https://github.com/nodemailer/nodemailer/blob/master/lib/well-known/services.json"
NODEMAILER_READ = date(2026, 8, 7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One provider."""

    key: str
    name: Text
    host: str = ""
    """Empty if each customer has a server of their own."""
    port: int = 587
    security: Security = Security.STARTTLS
    know: Text
    """Advice before filling in the form."""
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Published limits of the usual account, by field of the relay form."""
    as_of: date
    sources: tuple[str, ...]
    """The public pages with this information, which the form links to."""

    def values(self) -> dict[str, str | int]:
        """Return the values that it fills in, by field."""
        return {"host": self.host, "port": self.port, "security": self.security, "preset": self.key, **self.limits}

    def linked(self) -> dict[str, str]:
        """Return the sources by host name, which tells readers whose page it is."""
        return {source.split("/")[2]: source for source in self.sources}
