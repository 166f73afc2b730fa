"""TLS contexts with good and bad certificates, and the authority that a client may trust."""

from __future__ import annotations

import hashlib
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

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
    """Return the one authority of this test run: creating keys takes time."""
    return Authority()


class BrokenCertificate:
    """A certificate with a duplicate extension, which RFC 5280, 4.2 forbids. TLS itself accepts it."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "twice.example.test")])
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder(name, name, self._key.public_key(), x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for oid in ("1.3.6.1.4.1.55555.1", "1.3.6.1.4.1.55555.2"):
            value = x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), b"\x05\x00")
            builder = builder.add_extension(value, critical=False)
        der = builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)
        first, second = (b"\x2b\x06\x01\x04\x01\x83\xb2\x03" + bytes([number]) for number in (1, 2))
        assert first in der
        assert second in der
        self.der = der.replace(second, first)

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key = self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "both.pem"
            path.write_bytes(key + ssl.DER_cert_to_PEM_cert(self.der).encode())
            context.load_cert_chain(path)
        return context

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(self.der).hexdigest()
