"""The local record of what is about to be sent: one append-only file per drain, read again when a drain died.

A drain claims invitations in the database by the hundred, in one commit. Which of them had their final dot written
when it was killed, only this file knows: a line is written before the end of a message is, and another one with what
became of it. The kernel keeps what was written when the process dies, so nothing is flushed to disk; what a machine's
crash may have swallowed is not trusted, because the file carries the boot it was written in.

A lock on the file lives exactly as long as the drain's process. Whoever gets it knows that the drain sends no more.

`own_smtp.outbox.journal_lines` has the form of its lines.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import NamedTemporaryFile

from own_smtp.errors import JournalError
from own_smtp.outbox.journal_lines import Findings, ended_line, header_line, numbered, parse_journal
from own_smtp.smtp.values import Outcome

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NAME = re.compile(r"[0-9a-f]{32}")


FILLER = 64 * 1024
"""Octets by which a journal grows beyond what is written in it. A hole in the file: it takes no room."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A folder for journals, and the boot it is used in.

    The name belongs to the folder, not to the host: whoever has the folder can read what was written there.
    """

    folder: Path
    name: str
    boot: str

    @classmethod
    def at(cls, folder: Path) -> Machine:
        """Prepare `folder`, give it a name if it has none, and read the boot id. Raises `JournalError`."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return cls(folder, _read_name(folder / "machine"), _read_boot())
        except OSError as error:
            raise _unusable(folder, error) from error

    def ensure_usable(self) -> None:
        """Write a file as a drain does. A folder that was deleted is made anew. Raises `JournalError`.

        It keeps its name, so that journals that were lost with it are known as this machine's and settled at once.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _read_name(self.folder / "machine", self.name)
            with NamedTemporaryFile(dir=self.folder, prefix="probe.") as probe:
                probe.write(bytes(_PROBE_SIZE))
                probe.flush()
        except OSError as error:
            raise _unusable(self.folder, error) from error

    def path(self, name: str) -> Path:
        """Return the file of the journal with that name."""
        return self.folder / f"{name}.journal"

    @property
    def must_flush(self) -> bool:
        """Whether each line goes to the disk at once, because a crash of the machine would not be noticed."""
        return not self.boot


_PROBE_SIZE = 4096
"""Octets: a disk that is full takes the name of a file, and nothing into it."""


def _unusable(folder: Path, error: OSError) -> JournalError:
    return JournalError(
        f"The journal folder {folder} cannot be used: {error.strerror}. Set OWN_SMTP_JOURNAL_DIR to a local folder that"
        " workers may write to."
    )


def _read_name(path: Path, proposed: str | None = None) -> str:
    """Return the folder's name; one that has none is given `proposed`, or a random one."""
    if not path.exists():
        _write_name(path, proposed or secrets.token_hex(16))
    name = path.read_text().strip()
    if not _NAME.fullmatch(name):
        raise JournalError(f"{path} does not hold a folder's name. Delete it, and a new one is made.")
    return name


def _write_name(path: Path, name: str) -> None:
    # Written whole under another name first: a second worker must never read half a name.
    draft = path.with_name(f"machine.{secrets.token_hex(4)}")
    try:
        with draft.open("x") as stream:
            stream.write(name)
            stream.flush()
            os.fsync(stream.fileno())  # nor find an empty one after the machine crashed
        with suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _read_boot() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


class JournalWriter:
    """The journal of a running drain. Not for several threads at a time.

    Raises `JournalError` when a line could not be written whole: then nothing may be sent.
    """

    def __init__(self, machine: Machine, name: str) -> None:
        self._sync = machine.must_flush
        self._number = self._size = self._length = 0
        self.path = machine.path(name)
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused(error) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._write(header_line(name))
        except BaseException as error:
            self.close(delete=True)
            if isinstance(error, OSError):
                raise self._refused(error) from error
            raise

    def begin(self, invitation_id: int) -> None:
        """Put on record that the end of this message is about to be written."""
        self._append(b"B%d" % invitation_id)

    def end(self, invitation_id: int, outcome: Outcome, at: float) -> None:
        """Put on record what became of it. `at` is the time in seconds since 1970."""
        self._append(ended_line(invitation_id, outcome, at))

    def told(self, invitation_ids: Sequence[int]) -> None:
        """Put on record that the host knows what became of these."""
        self._append(b"T" + json.dumps(invitation_ids).encode())

    def close(self, *, delete: bool) -> None:
        """Let go of the file; delete it once all that it says is in the database."""
        try:
            if delete:
                with suppress(FileNotFoundError):
                    self.path.unlink()
        finally:
            os.close(self._file)

    def _append(self, body: bytes) -> None:
        try:
            self._write(numbered(self._number + 1, body))
        except OSError as error:
            raise self._refused(error) from error
        self._number += 1

    def _write(self, line: bytes) -> None:
        end = self._size + len(line)
        if end >= self._length:
            os.ftruncate(self._file, end + FILLER)
            self._length = end + FILLER
        written = os.pwrite(self._file, line, self._size)
        if written != len(line):
            # Half a line would join with the next one, and make the whole journal unreadable.
            os.pwrite(self._file, bytes(written), self._size)
            raise JournalError(f"The journal {self.path} cannot be written: the disk is full.")
        self._size = end
        if self._sync:
            os.fsync(self._file)

    def _refused(self, error: OSError) -> JournalError:
        return JournalError(f"The journal {self.path} cannot be written: {error.strerror}.")


def read_journal(machine: Machine, name: str) -> Findings | None:
    """Return what a drain left behind, or `None` while its process still lives.

    Raises `JournalError` when the file is missing or damaged: then any claimed message may have been sent.
    """
    path = machine.path(name)
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be read: {error.strerror}.") from error
    with os.fdopen(file, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        return parse_journal(stream, name)


def peek_journal(machine: Machine, name: str) -> Findings:
    """Return what a living drain's journal says, for its own bookkeeper. Raises `JournalError` as `read_journal`."""
    path = machine.path(name)
    try:
        with path.open("rb") as stream:
            return parse_journal(stream, name)
    except OSError as error:
        raise JournalError(f"The journal {path} cannot be read: {error.strerror}.") from error
