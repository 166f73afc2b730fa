"""Servers that accept everything at once."""

from __future__ import annotations

import os

import pytest

from benchmarks.measure import NotInstalledError
from tests.servers.process import Server, program

BACKLOG = 256


def find(*names: str, package: str, folders: tuple[str, ...] = ()) -> str:
    """Return a program's path. Raises `NotInstalledError`."""
    try:
        return program(*names, package=package, folders=folders)
    except pytest.skip.Exception as error:
        raise NotInstalledError(package) from error


class Sink(Server):
    """Postfix's smtp-sink, which accepts and discards messages. A context manager."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.program = find("smtp-sink", package="postfix")
        super().__init__()

    def command(self) -> list[str]:
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return [self.program, *user, f"{self.host}:{self.port}", str(BACKLOG)]
