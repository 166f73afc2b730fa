"""Postfix's test server: accepts everything, or fails as configured."""

import os
import shutil
from pathlib import Path

from tests.servers.copies import Copy, split_fields
from tests.servers.process import Server, program


class SmtpSink(Server):
    """Postfix's smtp-sink: accepts and stores everything, or fails by its options (see smtp-sink(1)).

    `SmtpSink("-q", "rcpt")` closes the connection at RCPT; `-Q` answers 421, `-r` 4yz, `-f` 5yz, `-w`/`-W` wait.
    """

    host = "127.0.0.1"

    def __init__(self, *options: str) -> None:
        self.program = program("smtp-sink", package="postfix")
        super().__init__()
        self.options = options
        (self.folder / "dump").mkdir()
        if os.geteuid() == 0:
            self.folder.chmod(0o755)
            shutil.chown(self.folder / "dump", "nobody")

    def command(self) -> list[str]:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        dump = f"{self.folder}/dump/%H%M%S."
        return [self.program, *user, "-d", dump, *self.options, f"127.0.0.1:{self.port}", "128"]

    def copies(self) -> list[Copy]:
        """Return the accepted messages, oldest first."""
        paths = sorted((self.folder / "dump").iterdir(), key=lambda path: path.stat().st_mtime_ns)
        return [read_dump(path) for path in paths]


DUMP_FIELDS = frozenset({"X-Client-Addr", "X-Client-Proto", "X-Helo-Args", "X-Mail-Args", "X-Rcpt-Args", "Received"})


def read_dump(path: Path) -> Copy:
    """Read one file that smtp-sink wrote."""
    fields, data = split_fields(path.read_bytes(), DUMP_FIELDS)
    recipients = tuple(address_of(argument) for argument in fields["X-Rcpt-Args"])
    # Every dump ends with an empty line of its own.
    return Copy(sender=address_of(fields["X-Mail-Args"][0]), recipients=recipients, data=data.removesuffix(b"\n"))


def address_of(argument: str) -> str:
    """Return the address in an argument of MAIL or RCPT, such as `<a@example.org> SIZE=100`."""
    return argument.partition("<")[2].partition(">")[0]
