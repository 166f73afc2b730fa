"""Facts about a server, learned from a session: address, extensions, TLS. Each drain stores them once."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self

from own_smtp.smtp.capabilities import Capabilities
from own_smtp.smtp.certificates import Certificate
from own_smtp.smtp.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server as seen in one session."""

    server: str
    """Its name and the connected address."""
    offers: tuple[str, ...]
    """The EHLO keywords that matter for sending."""
    protocol: str | None = None
    """`TLSv1.3`; `None` without TLS."""
    cipher: str | None = None
    certificate: Certificate | None = None
    seen_at: datetime | None = None

    @classmethod
    def of(cls, session: Session) -> Self:
        """Return the facts that an open session shows."""
        tls = session.connection.tls
        found = cls(server=session.server, offers=tuple(map(session.hide, offers_of(session.capabilities))))
        if tls is None:
            return found
        der, cipher = tls.getpeercert(binary_form=True), tls.cipher()
        return replace(
            found,
            protocol=tls.version(),
            cipher=cipher[0] if cipher else None,
            certificate=Certificate.from_der(der).without(session.hide) if der else None,
        )

    @classmethod
    def from_json(cls, stored: dict[str, Any]) -> Self:
        """Restore the facts from the result of `as_json`."""
        certificate = Certificate.from_json(stored["certificate"]) if stored["certificate"] else None
        seen_at = datetime.fromisoformat(stored["seen_at"]) if stored["seen_at"] else None
        return cls(**{**stored, "offers": tuple(stored["offers"]), "certificate": certificate, "seen_at": seen_at})

    def as_json(self) -> dict[str, Any]:
        """Return them as JSON-compatible values."""
        certificate = self.certificate.as_json() if self.certificate else None
        seen_at = self.seen_at.isoformat() if self.seen_at else None
        return {**asdict(self), "offers": list(self.offers), "certificate": certificate, "seen_at": seen_at}

    def columns(self, now: datetime) -> dict[str, Any]:
        """Return the values of the lease's columns that store them."""
        until = self.certificate.ends_at if self.certificate else None
        return {"facts": replace(self, seen_at=now).as_json(), "certificate_until": until}


def offers_of(capabilities: Capabilities) -> tuple[str, ...]:
    """Return the keywords of the offered extensions, as servers write them."""
    size = f"SIZE {capabilities.max_size}" if capabilities.max_size else "SIZE"
    listed = {
        "STARTTLS": capabilities.starttls,
        f"AUTH {' '.join(sorted(capabilities.auth))}": bool(capabilities.auth),
        "PIPELINING": capabilities.pipelining,
        "CHUNKING": capabilities.chunking,
        "8BITMIME": capabilities.eight_bit,
        "SMTPUTF8": capabilities.smtputf8,
        "DSN": capabilities.dsn,
        size: capabilities.sized,
    }
    return tuple(keyword for keyword, is_offered in listed.items() if is_offered)
