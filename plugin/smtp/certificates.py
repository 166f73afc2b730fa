"""A server's certificate in the form that people compare: subject, issuer, validity and fingerprint."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Self, TypeVar

from cryptography import x509

from own_smtp.smtp.redaction import clean_reply

log = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A server's certificate. Texts that could not be read are empty; the fingerprint is always there."""

    fingerprint: str
    """SHA-256, in lower-case hex."""
    subject: str = ""
    issuer: str = ""
    names: tuple[str, ...] = ()
    """The DNS names and IP addresses that it is valid for."""
    starts_at: datetime | None = None
    ends_at: datetime | None = None

    @classmethod
    def from_der(cls, data: bytes) -> Self:
        """Parse a certificate as received; fields that cannot be read stay empty."""
        fingerprint = hashlib.sha256(data).hexdigest()
        found = _read(lambda: x509.load_der_x509_certificate(data))
        if found is None:
            return cls(fingerprint=fingerprint)
        return cls(
            fingerprint=fingerprint,
            subject=_read(lambda: clean_reply(found.subject.rfc4514_string())) or "",
            issuer=_read(lambda: clean_reply(found.issuer.rfc4514_string())) or "",
            names=_read(lambda: _names(found)) or (),
            starts_at=_read(lambda: found.not_valid_before_utc),
            ends_at=_read(lambda: found.not_valid_after_utc),
        )

    def without(self, hide: Callable[[str], str]) -> Self:
        """Return it with its texts passed through `hide`: the server's operator controls them."""
        names = tuple(map(hide, self.names))
        return replace(self, subject=hide(self.subject), issuer=hide(self.issuer), names=names)

    @property
    def is_readable(self) -> bool:
        """Whether any field besides the fingerprint could be read."""
        return bool(self.subject or self.issuer or self.names or self.ends_at)

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Restore a certificate from the result of `as_json`."""
        times = {name: stored[name] and datetime.fromisoformat(stored[name]) for name in ("starts_at", "ends_at")}
        return cls(**{**stored, **times, "names": tuple(stored["names"])})

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON-compatible values."""
        times = {"starts_at": self.starts_at, "ends_at": self.ends_at}
        texts = {name: moment and moment.isoformat() for name, moment in times.items()}
        return {**asdict(self), "names": list(self.names), **texts}

    def is_over(self, now: datetime) -> bool:
        """Whether it has expired."""
        return self.ends_at is not None and self.ends_at <= now

    def days_left(self, now: datetime, warning: timedelta) -> int | None:
        """Return the number of days until it expires, if that is within `warning`; else `None`."""
        if self.ends_at is None or not now < self.ends_at <= now + warning:
            return None
        return (self.ends_at - now).days


def _read(part: Callable[[], T]) -> T | None:
    """Return a part of a certificate, or `None` if it cannot be read.

    The server's operator controls its content: for invalid certificates (a duplicate extension, a name that is not
    text, an unknown version) the library raises many kinds of errors, and not all of them are `ValueError`.
    """
    try:
        return part()
    except Exception as error:  # noqa: BLE001 -- see above: a list of them would never be complete
        log.info("Cannot read a server's certificate: %s: %s", type(error).__name__, clean_reply(str(error)))
        return None


def spelt(fingerprint: str) -> str:
    """Return a fingerprint in the form that other programs show: `AB:CD:...`."""
    return ":".join(fingerprint[at : at + 2] for at in range(0, len(fingerprint), 2)).upper()


MOST_NAMES = 20


def _names(found: x509.Certificate) -> tuple[str, ...]:
    try:
        listed = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    names = [*listed.get_values_for_type(x509.DNSName), *map(str, listed.get_values_for_type(x509.IPAddress))]
    return tuple(clean_reply(name) for name in names[:MOST_NAMES])
