"""Data that the demo keeps between runs: keys, ports and files, in one folder that git ignores."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from demo.authority import CertificateFiles, ensure_certificates
from demo.catchall import LOOPBACK, PASSWORD, USERNAME
from demo.children import DemoError

EXAMPLES = Path(__file__).resolve().parent.parent
PARTICIPANTS = EXAMPLES / "survey_host" / "data" / "participants.csv"
FIRST_RETRY = 3
"""Seconds until a deferred invitation is retried; other platforms wait half an hour."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Each server's port on the loopback interface."""

    platform: int
    inbox: int
    smtp: int
    redis: int


@dataclass(frozen=True, slots=True)
class Stage:
    """The configuration of all processes, and the folder of their data."""

    folder: Path
    ports: Ports
    secret_key: str
    encryption_key: str
    certificates: CertificateFiles

    @property
    def platform_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.platform}"

    @property
    def inbox_url(self) -> str:
        return f"http://{LOOPBACK}:{self.ports.inbox}"

    @property
    def redis_url(self) -> str:
        return f"redis://{LOOPBACK}:{self.ports.redis}/0"

    def environment(self) -> dict[str, str]:
        """Return the configuration of the platform and of its worker, as environment variables."""
        python_path = os.pathsep.join(filter(None, [str(EXAMPLES), os.environ.get("PYTHONPATH")]))
        common = {"PYTHONPATH": python_path, "PYTHONUNBUFFERED": "1", "SSL_CERT_FILE": str(self.certificates.authority)}
        return common | self._platform_settings() | self._mail_settings() | self._own_smtp_settings()

    def _platform_settings(self) -> dict[str, str]:
        return {
            "SECRET_KEY": self.secret_key,
            "SQLALCHEMY_DATABASE_URI": f"sqlite:///{self.folder / 'platform.sqlite3'}",
            "SURVEY_PUBLIC_URL": self.platform_url,
        }

    def _mail_settings(self) -> dict[str, str]:
        """Return the settings of the platform's own mail: it goes to the same inbox."""
        return {
            "MAIL_SERVER": "localhost",
            "MAIL_PORT": str(self.ports.smtp),
            "MAIL_USE_TLS": "true",
            "MAIL_USERNAME": USERNAME,
            "MAIL_PASSWORD": PASSWORD,
        }

    def _own_smtp_settings(self) -> dict[str, str]:
        return {
            "OWN_SMTP_ENCRYPTION_KEYS": self.encryption_key,
            "OWN_SMTP_PUBLIC_URL": self.platform_url,
            "OWN_SMTP_REDIS_URL": self.redis_url,
            "OWN_SMTP_JOURNAL_DIR": str(self.folder / "journal"),
            "OWN_SMTP_ALLOWED_NETWORKS": "127.0.0.0/8 ::1/128",
            "OWN_SMTP_ALLOWED_PORTS": json.dumps([self.ports.smtp]),
            "OWN_SMTP_FIRST_RETRY": str(FIRST_RETRY),
        }


@contextmanager
def prepared(folder: Path, *, afresh: bool = False) -> Iterator[Stage]:
    """Yield the stage kept in `folder`, locked against other runs; `afresh` deletes its data first.

    Raises `DemoError` when another demo runs there.
    """
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if afresh:
            _empty(folder)
        yield _load(folder)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            raise DemoError(
                f"A demo runs in {path.parent} already, as process {file.read().strip() or '?'}. "
                "Stop that one first, or give this one a folder of its own: --folder PATH."
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        # The lock is held, and the walk's folder is a stage of its own.
        if path.name in {"lock", "walk"}:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _load(folder: Path) -> Stage:
    kept = folder / "stage.json"
    settings = json.loads(kept.read_text("utf-8")) if kept.is_file() else {}
    stage = Stage(
        folder=folder,
        ports=choose_ports(settings.get("ports", {})),
        secret_key=settings.get("secret_key") or secrets.token_hex(32),
        encryption_key=settings.get("encryption_key") or _new_encryption_key(),
        certificates=ensure_certificates(folder / "certificates"),
    )
    _keep(kept, stage)
    return stage


def _new_encryption_key() -> str:
    return f"demo:{base64.urlsafe_b64encode(secrets.token_bytes(32)).decode('ascii')}"


def _keep(path: Path, stage: Stage) -> None:
    settings = {
        "ports": asdict(stage.ports),
        "secret_key": stage.secret_key,
        "encryption_key": stage.encryption_key,
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(settings, indent=2) + "\n", "utf-8")


def choose_ports(wanted: Mapping[str, int]) -> Ports:
    """Return the ports of the last run, so that links and relays stay valid, and free ones for the rest.

    Raises `DemoError` when another program uses a port of the last run.
    """
    names = [item.name for item in fields(Ports)]
    # All stay bound until the last one is found: otherwise the system may assign a port twice.
    with ExitStack() as bound:
        sockets = [bound.enter_context(_bound(name, wanted.get(name, 0))) for name in names]
        return Ports(*[int(item.getsockname()[1]) for item in sockets])


def _bound(name: str, port: int) -> socket.socket:
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        probe.bind((LOOPBACK, port))
    except OSError as error:
        probe.close()
        raise DemoError(
            f"Port {port}, which the {name} server of this demo has had so far, is taken: by another program, or by "
            "what a killed demo left running. Stop that, or start afresh with other ports: --fresh."
        ) from error
    return probe
