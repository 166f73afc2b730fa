"""TLS contexts with good and bad certificates, and the authority that a client may trust."""

from __future__ import annotations

import hashlib
import ssl
from datetime import UTC, datetime
from functools import cache

import trustme

NAMES = ("localhost", "127.0.0.1", "mail.example.test")
KINDS = ("good", "wrong_name", "expired", "other_ca")


class Authority:
    """A certificate authority of its own, with the server contexts `good`, `wrong_name`, `expired` and `other_ca`."""

    def __init__(self, *names: str) -> None:
        self._ca = trustme.CA()
        names = names or NAMES
        self._leaves = {
            "good": self._ca.issue_cert(*names),
            "wrong_name": self._ca.issue_cert("somewhere-else.example.test"),
            "expired": self._ca.issue_cert(*names, not_after=datetime(2001, 1, 1, tzinfo=UTC)),
            "other_ca": trustme.CA().issue_cert(*names),
        }

    def server_context(self, kind: str = "good") -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._leaves[kind].configure_cert(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        """Return a verifying context that trusts this authority only."""
        return ssl.create_default_context(cadata=self.pem)

    @property
    def pem(self) -> str:
        """The authority's own certificate, for a trust store."""
        return self._ca.cert_pem.bytes().decode()

    def certificate_pem(self, kind: str = "good") -> bytes:
        """Return a server certificate with its private key, for a real server's configuration."""
        return self._leaves[kind].private_key_and_cert_chain_pem.bytes()

    def fingerprint(self, kind: str = "good") -> str:
        """Return the SHA-256 of a server certificate in hex."""
        pem = self._leaves[kind].cert_chain_pems[0].bytes().decode()
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()


@cache
def authority() -> Authority:
    """Return the one authority of this test run: making keys takes time."""
    return Authority()
