"""TLS contexts: made once per process, always verifying, resuming sessions where a server offers it.

A verifying context costs 16 to 18 ms to make, a handshake about 1 ms: neither is paid per message.
"""

from __future__ import annotations

import hashlib
import ssl
from collections import OrderedDict
from functools import lru_cache
from typing import Any, Self

from own_smtp.errors import OwnSMTPError

LARGEST_RECORD = 16 * 1024
"""Octets of plain text in a TLS record, at most (RFC 8446, 5.1)."""
MOST_SESSIONS = 1000
"""Servers whose last session is kept, in each context."""


class CertificateError(OwnSMTPError):
    """The server's certificate is not the one that was trusted by its fingerprint."""


class ListeningTLS(ssl.SSLObject):
    """A TLS object that can be handed what arrived when its transport is gone."""

    incoming: ssl.MemoryBIO

    def decrypt(self, data: bytes) -> bytes:
        """Return the plain text in `data`. Raises `ssl.SSLError` where there is none."""
        self.incoming.write(data)
        return self.read(LARGEST_RECORD)


class ResumingContext(ssl.SSLContext):
    """A client context that hands the last session of each server back to it (RFC 8446, 2.2).

    asyncio has no argument for it, but makes its TLS objects through `wrap_bio`.
    """

    def __new__(cls) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context._sessions = OrderedDict()
        return context

    _sessions: OrderedDict[str, ssl.SSLSession]

    sslobject_class = ListeningTLS

    def wrap_bio(self, incoming: ssl.MemoryBIO, *args: Any, **options: Any) -> ssl.SSLObject:
        """Make a TLS object that begins with the session kept for this server, if there is one."""
        name = options.get("server_hostname")
        if name is not None and name in self._sessions:
            options["session"] = self._sessions[name]
        made = super().wrap_bio(incoming, *args, **options)
        assert isinstance(made, ListeningTLS)
        made.incoming = incoming
        return made

    def keep_session(self, tls: ssl.SSLObject) -> None:
        """Remember the session of a connection that is about to end. With TLS 1.3 it comes with the first data."""
        if tls.server_hostname and tls.session is not None and tls.session.has_ticket:
            self._sessions[tls.server_hostname] = tls.session
            self._sessions.move_to_end(tls.server_hostname)
            if len(self._sessions) > MOST_SESSIONS:
                self._sessions.popitem(last=False)


@lru_cache(maxsize=1)
def verifying_context() -> ResumingContext:
    """Return the context that trusts what the system's authorities vouch for, and checks the name (RFC 7817)."""
    context = ResumingContext()
    context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    return context


@lru_cache(maxsize=256)
def pinning_context(fingerprint: str) -> ResumingContext:
    """Return the context for the one certificate with this fingerprint: `check_fingerprint` decides on it.

    Each has its own sessions: a resumed one shows the certificate that it began with, not the server's present one.
    """
    context = ResumingContext()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def context_for(fingerprint: str | None) -> ResumingContext:
    """Return the context for a relay with or without a trusted fingerprint."""
    return pinning_context(fingerprint) if fingerprint else verifying_context()


def fingerprint_of(tls: ssl.SSLObject) -> str:
    """Return the SHA-256 of the server's certificate, in lower-case hex."""
    certificate = tls.getpeercert(binary_form=True)
    return hashlib.sha256(certificate or b"").hexdigest()


def check_fingerprint(tls: ssl.SSLObject, trusted: str | None) -> None:
    """Raise `CertificateError` when a fingerprint is trusted and the certificate is another one."""
    if trusted is not None and fingerprint_of(tls) != trusted.lower():
        raise CertificateError("The server shows another certificate than the one that was trusted.")
