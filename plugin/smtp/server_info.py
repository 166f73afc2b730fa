"""What a conversation showed of a server: where it is, what it offers, and how TLS was. Noted once by each drain."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, Self

from own_smtp.smtp.capabilities import Capabilities
from own_smtp.smtp.certificates import Certificate
from own_smtp.smtp.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """A server as it was met."""

    server: str
    """Its name and the address that answered."""
    offers: tuple[str, ...]
    """What it said to EHLO that matters for sending, by its keywords."""
    protocol: str | None = None
    """`TLSv1.3`; `None` without TLS."""
    cipher: str | None = None
    certificate: Certificate | None = None
    seen_at: datetime | None = None

    @classmethod
    def of(cls, session: Session) -> Self:
        """Read them off a conversation that is open."""
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
        """Return what `as_json` gave."""
        certificate = Certificate.from_json(stored["certificate"]) if stored["certificate"] else None
        seen_at = datetime.fromisoformat(stored["seen_at"]) if stored["seen_at"] else None
        return cls(**{**stored, "offers": tuple(stored["offers"]), "certificate": certificate, "seen_at": seen_at})

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        certificate = self.certificate.as_json() if self.certificate else None
        seen_at = self.seen_at.isoformat() if self.seen_at else None
        return {**asdict(self), "offers": list(self.offers), "certificate": certificate, "seen_at": seen_at}

    def columns(self, now: datetime) -> dict[str, Any]:
        """Return the columns of the lease that keep it."""
        until = self.certificate.ends_at if self.certificate else None
        return {"facts": replace(self, seen_at=now).as_json(), "certificate_until": until}


def offers_of(capabilities: Capabilities) -> tuple[str, ...]:
    """Return the keywords of what is offered, as servers write them."""
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
