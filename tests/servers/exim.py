"""Exim on unprivileged ports, with its own configuration and spool, beside the installed mail server."""

import os
import pwd
import re
import shutil
import smtplib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Self

import psutil
import pytest
import trustme

from tests.servers.copies import Copy
from tests.servers.process import Server, answers, eventually, free_port, is_gone
from tests.setup.servers import EXIM, EXIM_PACKAGE, EXIM_USER

PROGRAM = EXIM / "usr/sbin/exim4"

CONFIGURATION = r"""
primary_hostname = mail.example.test
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
pid_file_path = {folder}/exim.pid
keep_environment =

local_interfaces = 127.0.0.1
daemon_smtp_ports = {plain} : {submission} : {implicit}
tls_on_connect_ports = {implicit}

tls_advertise_hosts = *
tls_certificate = {folder}/server.pem
tls_privatekey = {folder}/server.pem
auth_advertise_hosts = ${{if and{{{{def:tls_in_cipher}}{{!eq{{$received_port}}{{{plain}}}}}}}{{*}}}}
pipelining_advertise_hosts = *
chunking_advertise_hosts = *
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *

# What is accepted stays in the spool, as it was sent, and waits for a run of the queue that nobody asks for.
queue_only = true
received_header_text =
accept_8bitmime = true

rfc1413_hosts =
host_lookup =
log_selector = +all_parents +smtp_protocol_error +smtp_syntax_error +smtp_connection

acl_smtp_mail = acl_mail
acl_smtp_rcpt = acl_rcpt
acl_smtp_data = acl_data
acl_smtp_predata = acl_predata
{main}

begin acl

acl_mail:
  deny message = 530 5.7.0 Authentication required
       condition = ${{if !eq{{$received_port}}{{{plain}}}}}
       !authenticated = *
{mail}
  accept

acl_rcpt:
  warn set acl_c_reply = ${{lookup{{$local_part@$domain}}lsearch{{{folder}/replies}}}}
  deny condition = ${{if match{{$acl_c_reply}}{{^5}}}}
       message = $acl_c_reply
  defer condition = ${{if match{{$acl_c_reply}}{{^4}}}}
       message = $acl_c_reply
{rcpt}
  accept

acl_predata:
{predata}
  accept

acl_data:
{data}
  accept

begin authenticators

plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = {offers_plain}
  server_prompts = :
  server_condition = ${{if and{{{{!eq{{$auth3}}{{}}}}\
    {{eq{{$auth3}}{{${{lookup{{$auth2}}lsearch{{{folder}/users}}}}}}}}}}}}
  server_set_id = $auth2

login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${{if and{{{{!eq{{$auth2}}{{}}}}\
    {{eq{{$auth2}}{{${{lookup{{$auth1}}lsearch{{{folder}/users}}}}}}}}}}}}
  server_set_id = $auth1
"""


class Exim(Server):
    """A mail server that accepts all messages for all recipients, and delivers none: they stay in the spool.

    Its ports are those of `Postfix`: `submission_port` offers STARTTLS and, after it, PLAIN and LOGIN; `implicit_port`
    speaks TLS from the first byte; both require a login. `plain_port` requires nothing and offers STARTTLS. `ca_file`
    names the authority that signed its certificate.

    `users` are its logins with their passwords; `replies` its replies to RCPT by address, such as `{"gone@example.org":
    "550 5.1.1 No such user"}`; `main` sets further main options; `acls` are statements of the access control lists
    `mail`, `rcpt`, `predata` (asked at DATA) and `data` (asked when the message is there). Without `offers_plain` there
    is only LOGIN.
    """

    host = "localhost"
    user = EXIM_USER

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        replies: Mapping[str, str] | None = None,
        main: Mapping[str, object] | None = None,
        acls: Mapping[str, str] | None = None,
        offers_plain: bool = True,
        authority: trustme.CA | None = None,
    ) -> None:
        check_installed()
        super().__init__()
        self.plain_port = self.port
        self.submission_port, self.implicit_port = free_port(), free_port()
        self._write_certificate(authority or trustme.CA())
        self._write_pairs("users", {"survey": "correct horse"} if users is None else users)
        self.set_replies(replies or {})
        self._write("mainlog", "")
        statements = dict.fromkeys(("mail", "rcpt", "predata", "data"), "") | dict(acls or {})
        options = "".join(f"{name} = {value}\n" for name, value in (main or {}).items())
        ports = {"plain": self.plain_port, "submission": self.submission_port, "implicit": self.implicit_port}
        values = {"folder": self.folder, "main": options, "offers_plain": str(offers_plain).lower()}
        self._write("exim.conf", CONFIGURATION.format(**values, **ports, **statements))

    def _write_certificate(self, authority: trustme.CA) -> None:
        self.ca_file = self.folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("localhost", "127.0.0.1")
        self._write("server.pem", issued.private_key_and_cert_chain_pem.bytes().decode())

    def _write_pairs(self, name: str, pairs: Mapping[str, str]) -> None:
        self._write(name, "".join(f"{key}: {value}\n" for key, value in pairs.items()))

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.write_text(text)
        shutil.chown(path, self.user, self.user)

    def command(self) -> list[str]:
        return [str(PROGRAM), "-C", str(self.folder / "exim.conf"), "-bdf"]

    def is_ready(self) -> bool:
        # One after the other: a server that accepts only one connection is ready, too.
        for port in (self.plain_port, self.submission_port):
            with smtplib.SMTP("127.0.0.1", port, timeout=5):
                pass
        return answers(self.implicit_port)

    def start(self) -> Self:
        super().start()
        eventually(self.is_idle, "Exim forgot how it was asked whether it is ready")
        return self

    def is_idle(self) -> bool:
        """Whether no conversation runs: each has a process of its own."""
        assert self.process is not None
        return all(map(is_gone, psutil.Process(self.process.pid).children()))

    @property
    def log(self) -> Path:
        return self.folder / "mainlog"

    def logged(self) -> str:
        """Wait until no conversation runs, and return Exim's log of them: it replies first, and logs then."""
        eventually(self.is_idle, "Exim ended all conversations")
        return self.log.read_text()

    def set_replies(self, replies: Mapping[str, str]) -> None:
        """Set the replies to RCPT for these addresses."""
        self._write_pairs("replies", replies)

    def copies(self) -> list[Copy]:
        """Return the accepted messages, oldest first: a message counts as soon as its envelope is in the spool."""
        paths = sorted((self.folder / "spool" / "input").glob("*-H"), key=lambda path: path.stat().st_mtime_ns)
        return [copy for path in paths for copy in read_spool(path)]

    def clear(self) -> None:
        """Delete the accepted messages."""
        self.logged()
        for path in (self.folder / "spool" / "input").glob("*-[HD]"):
            path.unlink()


def check_installed() -> None:
    """Skip the test, naming Debian's package, if Exim is missing or does not start."""
    if not PROGRAM.exists():
        pytest.skip(f"{PROGRAM} is not there; on Debian, tests/setup/servers.py unpacks {EXIM_PACKAGE} as root")
    if os.geteuid() != 0:
        pytest.skip("Exim starts only as root.")
    try:
        pwd.getpwnam(EXIM_USER)
    except KeyError:
        pytest.skip(f"There is no user {EXIM_USER}; on Debian, tests/setup/servers.py adds it as root")


def read_spool(path: Path) -> Iterator[Copy]:
    """Read one message of Exim's spool: envelope and header fields in one file, the text in another.

    `XX` says that no recipient is done yet. Their number and they themselves follow, then the header fields, each with
    its length and a letter for what it is; `*` is one that Exim does not send.
    """
    stored = path.read_bytes()
    sender = stored.splitlines()[2].decode().strip("<>")
    envelope = re.search(rb"\nXX\n\d+\n((?:.+\n)+)\n", stored)
    assert envelope is not None
    rest, fields = stored[envelope.end() :], []
    while start := re.match(rb"(\d{3,})(.) ", rest):
        end = start.end() + int(start[1])
        fields += [rest[start.end() : end]] if start[2] != b"*" else []
        rest = rest[end:]
    text = path.with_name(f"{path.name[:-1]}D").read_bytes().partition(b"\n")[2]
    for line in envelope[1].decode().splitlines():
        yield Copy(sender=sender, recipients=(line.split(" ")[0],), data=b"".join([*fields, b"\n", text]))
