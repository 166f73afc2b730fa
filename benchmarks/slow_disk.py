"""A PostgreSQL on a disk that may be slowed down."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks.measure import NotInstalledError
from benchmarks.sinks import find
from tests.servers.databases import PostgreSQL

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>

static int slowly(const char *name, int file) {
    static const struct timespec delay = {0, DELAY};
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    nanosleep(&delay, 0);
    return real(file);
}

int fsync(int file) { return slowly("fsync", file); }
int fdatasync(int file) { return slowly("fdatasync", file); }
"""


class BenchPostgreSQL(PostgreSQL):
    """PostgreSQL with its settings for production; each fsync takes `delay` seconds longer."""

    def __init__(self, delay: float = 0.0) -> None:
        try:
            super().__init__(is_durable=True)
        except pytest.skip.Exception as error:
            raise NotInstalledError("postgresql") from error
        self._library = build_shim(self.folder, delay) if delay else None

    def command(self) -> list[str]:
        command = super().command()
        return command if self._library is None else ["env", f"LD_PRELOAD={self._library}", *command]


def build_shim(folder: Path, delay: float) -> Path:
    """Compile the library that delays fsync. Raises `NotInstalledError` without a C compiler."""
    compiler = find("cc", "gcc", "clang", package="gcc")
    source, library = folder / "slow_fsync.c", folder / "slow_fsync.so"
    source.write_text(SHIM, encoding="utf-8")
    nanoseconds = f"-DDELAY={round(delay * 1e9)}"
    subprocess.run(
        [compiler, "-O2", "-shared", "-fPIC", nanoseconds, "-o", library, source, "-ldl"],
        check=True,
        capture_output=True,
    )
    library.chmod(0o755)
    return library
