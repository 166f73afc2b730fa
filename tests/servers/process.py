"""The common parts of all servers of the tests: a folder, a process, a port, and waiting until it answers."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import psutil
import pytest


def free_port() -> int:
    """Return a loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def eventually(check: Callable[[], Any], what: str, seconds: float = 30.0) -> Any:
    """Return the first true result of `check`; raise `TimeoutError` with `what` after the deadline.

    For events in another process. An `OSError` counts as "not yet", but not a `ChildProcessError`.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if answer := check():
                return answer
        except ChildProcessError:
            raise
        except OSError:
            pass
        time.sleep(0.02)
    raise TimeoutError(f"Not within {seconds:g} s: {what}")


def answers(port: int) -> bool:
    """Whether a program accepts connections on the loopback port."""
    with socket.create_connection(("127.0.0.1", port), timeout=1):
        return True


def program(*names: str, package: str, folders: tuple[str, ...] = ()) -> str:
    """Return the path of the first of `names` that exists; skip the test, naming Debian's `package`, if none does."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *folders])
    for name in names:
        if found := shutil.which(name, path=path):
            return found
    pytest.skip(f"{names[0]} is not installed; on Debian: apt-get install {package}")


def is_gone(process: psutil.Process) -> bool:
    """Whether a process has ended, even if it was not reaped yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def kill_those_in(folder: Path) -> list[psutil.Process]:
    """Kill the processes whose working directory is this folder, and return them."""
    found = [process for process in psutil.process_iter() if works_in(process, folder) and not is_gone(process)]
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    return found


def works_in(process: psutil.Process, folder: Path) -> bool:
    try:
        return Path(process.cwd()).is_relative_to(folder)
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return False


class Server:
    """One server process in a temporary folder. A context manager.

    `stop` asks it to end, `kill` ends it at once (SIGKILL to it and to its children); `start` brings it back on the
    same port with the same data.
    """

    user: str | None = None
    """The user of the process when the tests run as root; `None` means root."""
    stop_signal = signal.SIGTERM

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=f"own-smtp-{type(self).__name__.lower()}-"))
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        if self.run_as:
            shutil.chown(self.folder, self.user, self.user)

    @property
    def run_as(self) -> dict[str, Any]:
        """Arguments for `subprocess` that drop root's rights, which some servers refuse."""
        if self.user is None or os.geteuid() != 0:
            return {}
        return {"user": self.user, "group": self.user, "extra_groups": []}

    def command(self) -> list[str]:
        """Return the command that runs the server in the foreground."""
        raise NotImplementedError

    def is_ready(self) -> bool:
        """Whether the server is ready. An `OSError` means no."""
        return answers(self.port)

    @property
    def log(self) -> Path:
        """Its standard output and error."""
        return self.folder / "output.log"

    def start(self) -> Self:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self.run_as,
            )
        try:
            eventually(self._is_up, "ready")
        except (ChildProcessError, TimeoutError) as error:
            raise RuntimeError(f"{' '.join(self.command())} did not start: {error}\n{self._last_words()}") from error
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise ChildProcessError(f"it ended with {self.process.returncode}")
        return self.is_ready()

    def _last_words(self) -> str:
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""

    def stop(self) -> None:
        self._end(self.stop_signal)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def restart(self) -> None:
        self.stop()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(number)
        self.process.wait(timeout=60)
        if number == signal.SIGKILL:
            for child in children:
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            eventually(lambda: not kill_those_in(self.folder), "what it began at that moment is gone, too")
        eventually(lambda: all(map(is_gone, children)), "the server's children ended")

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """End the server and delete its folder."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
