"""Postfix on unprivileged ports, with its own configuration, queue and mailbox."""

import os
import pwd
import re
import shutil
import smtplib
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import pytest
import trustme

from tests.servers.copies import Copy, split_fields
from tests.servers.policy import Policy, PolicyServer
from tests.servers.process import Server, answers, eventually, free_port, program

MASTER = """\
127.0.0.1:{plain} inet n - n - - smtpd
127.0.0.1:{submission} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=$own_authenticated
127.0.0.1:{implicit} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes -o smtpd_sasl_auth_enable=yes -o smtpd_relay_restrictions=$own_authenticated
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""

SASL = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {folder}/sasldb2
mech_list: PLAIN LOGIN
"""

MAILBOX_USER = "nobody"
TRACE_FIELDS = frozenset({"Return-Path", "X-Original-To", "Delivered-To", "Received"})


class Postfix(Server):
    """A mail server that accepts all messages for all recipients, and stores them in one mailbox.

    It listens on three ports of `localhost`: `submission_port` requires STARTTLS and a login (PLAIN or LOGIN),
    `implicit_port` speaks TLS from the first byte and requires a login, `plain_port` requires nothing and offers
    STARTTLS. `ca_file` names the authority that signed its certificate, for `localhost` and `127.0.0.1`.

    `users` are its logins with their passwords; `replies` its replies to RCPT by address, such as `{"gone@example.org":
    "550 5.1.1 No such user"}`; `policy` decides the same by a function, at each stage; `main` sets further parameters
    of main.cf, and `services` adds lines to master.cf.
    """

    host = "localhost"

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        replies: Mapping[str, str] | None = None,
        policy: Policy | None = None,
        main: Mapping[str, object] | None = None,
        services: Sequence[str] = (),
        authority: trustme.CA | None = None,
    ) -> None:
        self.program = program("postfix", package="postfix")
        if os.geteuid() != 0:
            pytest.skip("Postfix starts only as root.")
        super().__init__()
        self.users = dict({"survey": "correct horse"} if users is None else users)
        self.authority = authority or trustme.CA()
        self.policy = PolicyServer(policy or (lambda _attributes: "DUNNO"))
        self.plain_port = self.port
        self.submission_port, self.implicit_port = free_port(), free_port()
        self.folder.chmod(0o755)
        self._write_certificate()
        self._write_users()
        self._write_mailbox()
        self._write("replies", "".join(f"{address} {reply}\n" for address, reply in (replies or {}).items()))
        self._write(
            "main.cf", "".join(f"{key} = {value}\n" for key, value in (self._main() | dict(main or {})).items())
        )
        ports = {"plain": self.plain_port, "submission": self.submission_port, "implicit": self.implicit_port}
        self._write("master.cf", MASTER.format(**ports) + "".join(f"{line}\n" for line in services))

    def _main(self) -> dict[str, object]:
        policy = f"check_policy_service {{ inet:127.0.0.1:{self.policy.port}, timeout=10 }}"
        mailbox = pwd.getpwnam(MAILBOX_USER)
        return {
            "compatibility_level": "3.6",
            "queue_directory": self.folder / "queue",
            "data_directory": self.folder / "data",
            "maillog_file": self.folder / "mail.log",
            "maillog_file_prefixes": self.folder,
            "myhostname": "mail.example.test",
            "mydestination": "",
            "mynetworks": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "smtpd_peername_lookup": "no",
            # Fields that the client omits are not added.
            "local_header_rewrite_clients": "",
            "alias_maps": "",
            "alias_database": "",
            # Every address is local, and delivered to one mailbox.
            "virtual_mailbox_domains": "static:all",
            "virtual_mailbox_maps": "static:mailbox/",
            "virtual_mailbox_base": self.folder,
            "virtual_uid_maps": f"static:{mailbox.pw_uid}",
            "virtual_gid_maps": f"static:{mailbox.pw_gid}",
            "virtual_mailbox_limit": "0",
            "message_size_limit": "60000000",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": self.folder / "server.pem",
            "smtpd_tls_auth_only": "yes",
            "cyrus_sasl_config_path": self.folder / "sasl",
            "smtpd_sasl_local_domain": "$myhostname",
            "own_authenticated": "permit_sasl_authenticated, reject",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_recipient_restrictions": f"check_recipient_access texthash:{self.folder}/replies, {policy}",
            "smtpd_data_restrictions": policy,
            "smtpd_end_of_data_restrictions": policy,
            "smtpd_hard_error_limit": "1000",
            "smtpd_soft_error_limit": "1000",
            "default_process_limit": "200",
        }

    def _write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    def _write_certificate(self) -> None:
        self.ca_file = self.folder / "ca.pem"
        self.authority.cert_pem.write_to_path(self.ca_file)
        issued = self.authority.issue_cert("localhost", "127.0.0.1")
        issued.private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")

    def _write_users(self) -> None:
        self._write("sasl/smtpd.conf", SASL.format(folder=self.folder))
        saslpasswd = program("saslpasswd2", package="sasl2-bin")
        for name, password in self.users.items():
            user, _, realm = name.partition("@")
            command = [saslpasswd, "-f", "sasldb2", "-c", "-p", "-u", realm or "mail.example.test", user]
            subprocess.run(command, input=password.encode(), check=True, cwd=self.folder, capture_output=True)
        if self.users:
            shutil.chown(self.folder / "sasldb2", "postfix")

    def _write_mailbox(self) -> None:
        for name in ("mailbox", "mailbox/new", "mailbox/cur", "mailbox/tmp"):
            (self.folder / name).mkdir()
            shutil.chown(self.folder / name, MAILBOX_USER)
        (self.folder / "queue").mkdir()
        (self.folder / "data").mkdir()
        shutil.chown(self.folder / "data", "postfix")

    def command(self) -> list[str]:
        return [self.program, "-c", str(self.folder), "start-fg"]

    def is_ready(self) -> bool:
        # All of its ports open at once, but an invalid parameter shows only in a conversation.
        with (
            smtplib.SMTP("127.0.0.1", self.plain_port, timeout=5),
            smtplib.SMTP("127.0.0.1", self.submission_port, timeout=5),
        ):
            return answers(self.implicit_port)

    @property
    def log(self) -> Path:
        return self.folder / "mail.log"

    @property
    def failed_logins(self) -> list[str]:
        """Return the results of conversations with failed sign-ins, as logged at their end: `auth=0/2` after two
        attempts.

        The log is written a little later than the replies.
        """
        return re.findall(r"disconnect from .* (auth=0/\d+)", self.log.read_text(errors="replace"))

    def set_replies(self, replies: Mapping[str, str]) -> None:
        """Set the replies to RCPT for these addresses, for sessions that begin from now on."""
        self._write("replies", "".join(f"{address} {reply}\n" for address, reply in replies.items()))
        self.reload()

    def reload(self) -> None:
        """Reload the configuration; running sessions keep the old one."""
        subprocess.run([self.program, "-c", self.folder, "reload"], check=True, capture_output=True)

    def copies(self) -> list[Copy]:
        """Wait until the queue is empty, and return the delivered messages, oldest first."""
        eventually(lambda: not any(self._queued()), "Postfix delivered all that it took", 60)
        paths = sorted((self.folder / "mailbox" / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [read_copy(path) for path in paths]

    def _queued(self) -> list[Path]:
        # In the order in which a message passes through them, so that none is missed.
        folders = [self.folder / "queue" / name for name in ("maildrop", "incoming", "active", "deferred")]
        return [path for folder in folders for path in folder.rglob("*") if path.is_file()]

    def clear(self) -> None:
        """Delete the delivered messages."""
        self.copies()
        for path in (self.folder / "mailbox" / "new").iterdir():
            path.unlink()

    def start(self) -> Self:
        self.policy.start()
        return super().start()

    def close(self) -> None:
        super().close()
        self.policy.stop()


def read_copy(path: Path) -> Copy:
    """Read one file of a mailbox that Postfix's virtual(8) wrote."""
    fields, data = split_fields(path.read_bytes(), TRACE_FIELDS)
    recipient = fields.get("X-Original-To", fields["Delivered-To"])[0]
    return Copy(sender=fields["Return-Path"][0].strip("<>"), recipients=(recipient,), data=data)
