"""The example platform as operators run it: pages and worker in separate processes, with Redis and Postfix."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import Page
from sqlalchemy import create_engine, update
from sqlalchemy.pool import NullPool

from demo.children import ProcessGroup, Program
from demo.programs import FLASK
from own_smtp.storage import schema
from own_smtp.storage.encryption import generate_key
from own_smtp.storage.models import Confirmation
from survey_host import seed
from tests.servers.copies import Copy
from tests.servers.postfix import Postfix
from tests.servers.process import answers, eventually, free_port
from tests.servers.redis import Redis
from tests.survey_host_kit import platform

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ADMIN, MANAGER = "admin@north.example", "manager@north.example"
USER, PASSWORD = "survey", "correct horse"


class SelfSignedPostfix(Postfix):
    """A Postfix with a self-signed certificate, as many on the premises have."""

    fingerprint: str
    """Its SHA-256 fingerprint, as pages write it."""

    def _write_certificate(self) -> None:
        key, name = ec.generate_private_key(ec.SECP256R1()), _named("mail.north.example")
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=365))
            .sign(key, hashes.SHA256())
        )
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        self.ca_file = self.folder / "ca.pem"
        self.ca_file.write_bytes(pem)
        (self.folder / "server.pem").write_bytes(private + pem)
        self.fingerprint = certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def _named(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)])


@dataclass(frozen=True)
class Running:
    """A running platform, and the mail servers that its tenants may use."""

    url: str
    database_url: str
    postfix: Postfix
    """Its authority is trusted by the platform's machine."""
    self_signed: SelfSignedPostfix

    def sign_in(self, page: Page, email: str) -> Page:
        page.goto(f"{self.url}/sign-in")
        page.get_by_label("E-mail address").fill(email)
        page.get_by_label("Password").fill(seed.PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{self.url}/surveys")
        return page

    def link_mailed_to(self, address: str, server: Postfix | None = None) -> str:
        """Wait for a confirmation mail in the server's mailbox, and return the newest one's link."""
        mails = eventually(lambda: self.mails_to(address, server), f"a mail to {address} arrived")
        text = mails[-1].message.get_body(("plain",)).get_content()
        (link,) = re.findall(rf"{re.escape(self.url)}/own-smtp/confirm/\S+", text)
        return str(link)

    def mails_to(self, address: str, server: Postfix | None = None) -> list[Copy]:
        return [copy for copy in (server or self.postfix).copies() if copy.recipient == address]

    def expire_links(self, address: str) -> None:
        """Expire the links that were mailed to an address."""
        engine = create_engine(self.database_url, poolclass=NullPool)
        over = datetime.now(UTC) - timedelta(seconds=1)
        with engine.begin() as connection:
            connection.execute(update(Confirmation).where(Confirmation.address == address).values(expires_at=over))


@contextmanager
def running(folder: Path) -> Iterator[Running]:
    """Run it in its own folder; all of it is deleted afterwards."""
    with Redis() as redis, Postfix() as postfix, SelfSignedPostfix() as self_signed, ProcessGroup(folder) as processes:
        port = free_port()
        site = Running(
            url=f"http://127.0.0.1:{port}",
            database_url=f"sqlite:///{folder / 'host.db'}",
            postfix=postfix,
            self_signed=self_signed,
        )
        _make_tables(folder, site.database_url)
        environment = _environment(site, folder, redis)
        processes.start(
            Program(
                name="worker",
                command=[*FLASK, "own-smtp", "worker"],
                environment=environment,
                is_ready=lambda: bool(redis.client().exists("rq:workers")),
            )
        )
        processes.start(
            Program(
                name="platform",
                command=[*FLASK, "run", "--no-reload", "--port", str(port)],
                environment=environment,
                is_ready=lambda: _listens(port),
            )
        )
        yield site


def _make_tables(folder: Path, database_url: str) -> None:
    with platform(folder):
        pass
    engine = create_engine(database_url, poolclass=NullPool)
    schema.upgrade(engine)


def _environment(site: Running, folder: Path, redis: Redis) -> dict[str, str]:
    ports = [port for one in (site.postfix, site.self_signed) for port in (one.submission_port, one.implicit_port)]
    return {
        "PYTHONPATH": os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")])),
        "PYTHONUNBUFFERED": "1",
        "SSL_CERT_FILE": str(site.postfix.ca_file),
        "SECRET_KEY": "for tests",
        "SQLALCHEMY_DATABASE_URI": site.database_url,
        "SURVEY_PUBLIC_URL": site.url,
        "OWN_SMTP_ENCRYPTION_KEYS": generate_key("tests"),
        "OWN_SMTP_REDIS_URL": redis.url,
        "OWN_SMTP_JOURNAL_DIR": str(folder / "journal"),
        "OWN_SMTP_ALLOWED_NETWORKS": "127.0.0.0/8",
        "OWN_SMTP_ALLOWED_PORTS": json.dumps(ports),
    }


def _listens(port: int) -> bool:
    try:
        return answers(port)
    except OSError:
        return False
