"""What is kept of one mail provider, and the lists that speak of many of them.

A preset's date is the day of the newest source that says so: of a page its own date, of a list that is kept up the day
of its state that was read. Its sources are the provider's own pages where there are any, then the list.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from types import MappingProxyType

from own_smtp.i18n import Text
from own_smtp.states import Security

UNDATED = date(2025, 6, 1)
"""Of a preset whose sources bear no date: what was generally known then."""

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
    """Empty where each customer has a server of their own."""
    port: int = 587
    security: Security = Security.STARTTLS
    know: Text
    """What to know before filling in the form."""
    limits: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Published limits of the usual account, by the field of the relay form that keeps to them."""
    as_of: date
    sources: tuple[str, ...]
    """The public pages that say so: the page of the form links to them."""

    def values(self) -> dict[str, str | int]:
        """Return what it fills in, by field."""
        return {"host": self.host, "port": self.port, "security": self.security, "preset": self.key, **self.limits}

    def linked(self) -> dict[str, str]:
        """Return the sources by the name of their site, by which a reader knows whose page it is."""
        return {source.split("/")[2]: source for source in self.sources}
